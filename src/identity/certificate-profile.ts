import { type DerElement, DerError, DerReader, readTime, Tag } from './der.ts'
import { type IdentityFailure, identityFailure } from './identity-failure.ts'

/** Bits of keyUsage (RFC 5280 4.2.1.3), as a mask. */
export const KeyUsage = {
  digitalSignature: 1 << 0,
  keyEncipherment: 1 << 2,
  keyAgreement: 1 << 4,
  keyCertSign: 1 << 5,
  cRLSign: 1 << 6,
} as const

export const ExtendedKeyUsage = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' } as const

/** What a certificate says about itself. Nothing here is verified. */
export interface CertificateProfile {
  /** Hexadecimal, lower case, no leading zero bytes. */
  readonly serialNumber: string
  /** Wall clock ms. */
  readonly notBefore: number
  readonly notAfter: number
  /** URI subject alternative names, each byte one character, in order. */
  readonly uris: readonly string[]
  /** basicConstraints cA; absent means false. */
  readonly ca: boolean
  readonly pathLength: number | undefined
  /** Mask of KeyUsage; undefined = no extension = unrestricted. */
  readonly keyUsage: number | undefined
  /** Object identifiers; undefined = no extension = unrestricted. */
  readonly extendedKeyUsage: readonly string[] | undefined
}

const SAN = '2.5.29.17'
const BASIC_CONSTRAINTS = '2.5.29.19'
const KEY_USAGE = '2.5.29.15'
const EXTENDED_KEY_USAGE = '2.5.29.37'

/** Largest certificate that is looked at. OpenSSL bounds the whole chain to 100 KiB. */
const MAX_SIZE = 64 * 1024

type Draft = { -readonly [K in keyof CertificateProfile]: CertificateProfile[K] }

/**
 * Reads a DER certificate (RFC 5280 4.1). Node shows neither the plain key usage nor a trustworthy cA flag, and prints
 * alternative names as text that a hostile name can imitate; so the bytes themselves are read, once per connection.
 * Never throws: what is not a certificate gives a failure.
 */
export function readCertificateProfile(der: Uint8Array): CertificateProfile | IdentityFailure {
  if (der.length > MAX_SIZE) return identityFailure('MALFORMED', `certificate larger than ${MAX_SIZE} bytes`)
  try {
    return read(der)
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    return identityFailure('MALFORMED', `not a DER certificate: ${error.message}`)
  }
}

function read(der: Uint8Array): CertificateProfile {
  const file = new DerReader(der)
  const certificate = file.enter(Tag.sequence)
  file.finish()
  const tbs = certificate.enter(Tag.sequence)
  if (tbs.peek() !== 0xa0) throw new DerError('version 1 certificate')
  tbs.next()
  const serial = tbs.expect(Tag.integer)
  const serialNumber = Buffer.from(tbs.content(serial))
    .toString('hex')
    .replace(/^(?:00)+(?=..)/, '')
  tbs.expect(Tag.sequence) // signature algorithm
  tbs.expect(Tag.sequence) // issuer
  const validity = tbs.enter(Tag.sequence)
  const notBefore = readTime(validity)
  const notAfter = readTime(validity)
  validity.finish()
  tbs.expect(Tag.sequence) // subject
  tbs.expect(Tag.sequence) // key
  const draft: Draft = {
    serialNumber,
    notBefore,
    notAfter,
    uris: [],
    ca: false,
    pathLength: undefined,
    keyUsage: undefined,
    extendedKeyUsage: undefined,
  }
  while (!tbs.done) {
    const element = tbs.next()
    if (element.tag === 0xa3) readExtensions(tbs.within(element), draft)
    else if (element.tag !== 0x81 && element.tag !== 0x82) throw new DerError('unknown field in the certificate')
  }
  return draft
}

function readExtensions(wrapper: DerReader, draft: Draft): void {
  const list = wrapper.enter(Tag.sequence)
  wrapper.finish()
  const seen = new Set<string>()
  while (!list.done) {
    const extension = list.enter(Tag.sequence)
    const id = extension.oid()
    // RFC 5280 4.2: at most one instance. Two would let two readers see two different certificates.
    if (seen.has(id)) throw new DerError(`extension ${id} twice`)
    seen.add(id)
    if (extension.peek() === Tag.boolean) extension.boolean()
    const value = extension.expect(Tag.octetString)
    extension.finish()
    readExtension(id, extension.within(value), draft)
  }
}

function readExtension(id: string, value: DerReader, draft: Draft): void {
  if (id === SAN) draft.uris = readUris(value.enter(Tag.sequence))
  else if (id === BASIC_CONSTRAINTS) readBasicConstraints(value.enter(Tag.sequence), draft)
  else if (id === KEY_USAGE) draft.keyUsage = readKeyUsage(value.content(value.expect(Tag.bitString)))
  else if (id === EXTENDED_KEY_USAGE) draft.extendedKeyUsage = readOids(value.enter(Tag.sequence))
  else return
  value.finish()
}

/** uniformResourceIdentifier [6] of GeneralNames; all other kinds never name a peer. */
function readUris(names: DerReader): string[] {
  const uris: string[] = []
  while (!names.done) {
    const name: DerElement = names.next()
    if ((name.tag & 0x1f) !== 6) continue
    if (name.tag !== 0x86) throw new DerError('URI name in constructed form')
    uris.push(Buffer.from(names.content(name)).toString('latin1'))
  }
  return uris
}

function readBasicConstraints(constraints: DerReader, draft: Draft): void {
  if (constraints.peek() === Tag.boolean) draft.ca = constraints.boolean()
  if (constraints.peek() === Tag.integer) {
    const bytes = constraints.content(constraints.next())
    if (bytes.length === 0 || bytes.length > 3 || bytes[0]! >= 0x80) throw new DerError('path length out of range')
    draft.pathLength = bytes.reduce((n, byte) => n * 256 + byte, 0)
  }
  constraints.finish()
}

function readKeyUsage(bits: Uint8Array): number {
  const [unused, ...bytes] = bits
  if (unused === undefined || unused > 7 || bytes.length > 2 || (bytes.length === 0 && unused !== 0)) {
    throw new DerError('broken key usage')
  }
  let mask = 0
  bytes.forEach((byte, at) => {
    for (let bit = 0; bit < 8; bit++) if ((byte & (0x80 >> bit)) !== 0) mask |= 1 << (at * 8 + bit)
  })
  return mask
}

function readOids(list: DerReader): string[] {
  const oids: string[] = []
  while (!list.done) oids.push(list.oid())
  return oids
}
