import { createHash, randomBytes } from 'node:crypto'
import { type IdentityFailure, identityFailure } from './identity-failure.ts'

/** A one-time proof of identity that also says which root to trust: `inmesh1.<secret>.<SHA-256 of the DER root>`. */
export interface JoinToken {
  /** The whole text, as it is sent to the authority. */
  readonly text: string
  /** SHA-256 of the secret, hex: what the store knows of it. */
  readonly secretHash: string
  /** SHA-256 of the mesh's root certificate, hex. */
  readonly rootSha256: string
}

const PREFIX = 'inmesh1'
const SECRET_BYTES = 32

/** Makes a token with a fresh 256-bit secret for the mesh of this root. */
export function newJoinToken(rootDer: Uint8Array): JoinToken {
  const secret = randomBytes(SECRET_BYTES)
  const rootSha256 = sha256Hex(rootDer)
  return { text: `${PREFIX}.${secret.toString('base64url')}.${rootSha256}`, secretHash: sha256Hex(secret), rootSha256 }
}

/** Reads a token; space around it (files end with a newline) is ignored. The failure never repeats the text. */
export function parseJoinToken(given: string): JoinToken | IdentityFailure {
  const text = given.trim()
  const parts = text.split('.')
  const [prefix, encoded, rootSha256] = parts
  if (parts.length !== 3 || prefix !== PREFIX || encoded === undefined || rootSha256 === undefined) {
    return identityFailure('TOKEN', `join token is not of the form ${PREFIX}.<secret>.<sha256 of the root>`)
  }
  const secret = Buffer.from(encoded, 'base64url')
  if (secret.length !== SECRET_BYTES || secret.toString('base64url') !== encoded) {
    return identityFailure('TOKEN', `secret of the join token is not ${SECRET_BYTES} bytes of base64url`)
  }
  if (!/^[0-9a-f]{64}$/.test(rootSha256)) {
    return identityFailure('TOKEN', 'join token does not end with the SHA-256 of the root in hexadecimal')
  }
  return { text, secretHash: sha256Hex(secret), rootSha256 }
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
