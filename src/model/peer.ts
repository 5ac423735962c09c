/** A verified peer: read once per connection, never from a header. */
export interface Peer {
  /** spiffe://<trust domain>/<path> */
  readonly spiffeId: string
  readonly trustDomain: string
  /** Of /ns/<namespace>/sa/<serviceAccount>; empty for ids of another shape and for foreign trust domains. */
  readonly namespace: string
  readonly serviceAccount: string
  /** Hexadecimal, lower case, no separators. */
  readonly serialNumber: string
  /** Wall clock ms. */
  readonly notAfter: number
  /** "TLSv1.3" */
  readonly tlsVersion: string
}
