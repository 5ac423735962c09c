/** Why a certificate, an id, a token or a peer was refused. Values, not exceptions: a peer must never be able to throw. */
export type IdentityFailureCode =
  /** The text is not a SPIFFE id. */
  | 'SPIFFE_ID'
  /** The bytes are not a DER certificate, or an extension is not what RFC 5280 says. */
  | 'MALFORMED'
  /** The connection was resumed: the identity of a resumed session is the old one. */
  | 'RESUMED'
  /** The connection speaks something older than TLS 1.3. */
  | 'TLS_VERSION'
  /** The peer showed no certificate. */
  | 'NO_CERTIFICATE'
  /** Not exactly one URI subject alternative name. */
  | 'URI_COUNT'
  /** The certificate is a signing certificate, or the key usage forbids to authenticate with it. */
  | 'KEY_USAGE'
  /** The extended key usage does not hold the purpose of the peer's role. */
  | 'EXTENDED_KEY_USAGE'
  /** There is no trust bundle for the trust domain, or it is empty. */
  | 'NO_BUNDLE'
  /** No path from the certificate to an anchor of the bundle of its own trust domain. */
  | 'UNTRUSTED'
  /** Outside its period of validity. */
  | 'EXPIRED'
  /** A good peer, but not one of those that are allowed here. */
  | 'NOT_ALLOWED'
  /** On the deny list. */
  | 'DENIED'
  /** A join token that cannot be read. */
  | 'TOKEN'
  /** A file of the state directory that cannot be used. */
  | 'FILE'

export interface IdentityFailure {
  readonly failure: IdentityFailureCode
  /** For the reader: what is wrong, and what was expected. */
  readonly message: string
}

export function identityFailure(failure: IdentityFailureCode, message: string): IdentityFailure {
  return { failure, message }
}

export function isFailure(value: unknown): value is IdentityFailure {
  return typeof value === 'object' && value !== null && 'failure' in value
}
