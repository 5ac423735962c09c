/** Makes certificates of any profile, good and bad, from a description: a few hundred microseconds each. */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import {
  bitString,
  boolean,
  commonNameOnly,
  implicit,
  integer,
  octetString,
  oid,
  sequence,
  tagged,
  time,
} from '../../src/identity/der-write.ts'

export type KeyType = 'ec256' | 'ec384' | 'rsa2048'
export type KeyUsage = 'digitalSignature' | 'keyEncipherment' | 'keyAgreement' | 'keyCertSign' | 'cRLSign'
export type ExtendedKeyUsage = 'serverAuth' | 'clientAuth' | 'codeSigning'

export interface CertificateRecipe {
  /** "CN=x", or '' for the empty subject. */
  subject: string
  uris: readonly string[]
  dns?: readonly string[]
  ips?: readonly string[]
  sanCritical?: boolean
  /** null: no basicConstraints extension. */
  ca: boolean | null
  pathLen?: number
  keyUsage: readonly KeyUsage[] | null
  eku: readonly ExtendedKeyUsage[] | null
  /** Wall clock ms. */
  notBefore: number
  notAfter: number
  key: KeyObject
  nameConstraints?: { permittedUriHosts?: readonly string[]; excludedUriHosts?: readonly string[] }
  unknownExtension?: 'critical' | 'noncritical'
  /** Absent: self-signed. */
  issuer?: Issuer
  /** Leaves out SKI and AKI. */
  bare?: boolean
}

export interface Issuer {
  subject: string
  key: KeyObject
}

const keyUsageBits: Readonly<Record<KeyUsage, number>> = {
  digitalSignature: 0,
  keyEncipherment: 2,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
}
const purposes: Readonly<Record<ExtendedKeyUsage, string>> = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  codeSigning: '1.3.6.1.5.5.7.3.3',
}

export function makeKey(type: KeyType = 'ec256'): KeyObject {
  if (type === 'rsa2048') return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  return generateKeyPairSync('ec', { namedCurve: type === 'ec256' ? 'P-256' : 'P-384' }).privateKey
}

/** DER. */
export function makeCertificate(recipe: CertificateRecipe): Buffer {
  const issuer = recipe.issuer ?? { subject: recipe.subject, key: recipe.key }
  const algorithm =
    issuer.key.asymmetricKeyType === 'rsa'
      ? sequence(oid('1.2.840.113549.1.1.11'), Buffer.from([5, 0]))
      : sequence(oid('1.2.840.10045.4.3.2'))
  const serial = randomBytes(16)
  serial[0] = 0x40 | (serial[0]! & 0x3f)
  const tbs = sequence(
    tagged(0, integer(2)),
    integer(serial),
    algorithm,
    name(issuer.subject),
    sequence(time(recipe.notBefore), time(recipe.notAfter)),
    name(recipe.subject),
    spkiOf(recipe.key),
    tagged(3, sequence(...extensions(recipe, issuer))),
  )
  return sequence(tbs, algorithm, bitString(sign('sha256', tbs, issuer.key)))
}

function extensions(recipe: CertificateRecipe, issuer: Issuer): Buffer[] {
  const list: Buffer[] = []
  const add = (id: string, critical: boolean, value: Uint8Array) =>
    list.push(sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(value)))
  const names = [
    ...recipe.uris.map((u) => implicit(6, Buffer.from(u, 'latin1'))),
    ...(recipe.dns ?? []).map((d) => implicit(2, Buffer.from(d, 'latin1'))),
    ...(recipe.ips ?? []).map((ip) => implicit(7, Buffer.from(ip.split('.').map(Number)))),
  ]
  if (names.length > 0) add('2.5.29.17', recipe.sanCritical ?? recipe.subject === '', sequence(...names))
  if (recipe.ca !== null) {
    const parts = recipe.ca ? [boolean(true)] : []
    if (recipe.pathLen !== undefined) parts.push(integer(recipe.pathLen))
    add('2.5.29.19', true, sequence(...parts))
  }
  if (recipe.keyUsage !== null) {
    const bits = recipe.keyUsage.reduce((all, usage) => all | (0x80 >> keyUsageBits[usage]), 0)
    let unused = 0
    while (bits !== 0 && ((bits >> unused) & 1) === 0) unused++
    add('2.5.29.15', true, bits === 0 ? bitString(new Uint8Array()) : bitString(Buffer.from([bits]), unused))
  }
  if (recipe.eku !== null) add('2.5.29.37', false, sequence(...recipe.eku.map((p) => oid(purposes[p]))))
  if (recipe.bare !== true) {
    add('2.5.29.14', false, octetString(keyId(recipe.key)))
    add('2.5.29.35', false, sequence(implicit(0, keyId(issuer.key))))
  }
  if (recipe.nameConstraints !== undefined) {
    const trees = (hosts: readonly string[] | undefined, n: number) =>
      hosts === undefined || hosts.length === 0
        ? []
        : [tagged(n, ...hosts.map((h) => sequence(implicit(6, Buffer.from(h, 'latin1')))))]
    const { permittedUriHosts, excludedUriHosts } = recipe.nameConstraints
    add('2.5.29.30', true, sequence(...trees(permittedUriHosts, 0), ...trees(excludedUriHosts, 1)))
  }
  if (recipe.unknownExtension !== undefined) {
    add('1.3.6.1.4.1.55555.1.1', recipe.unknownExtension === 'critical', octetString(Buffer.from('?')))
  }
  return list
}

function name(subject: string): Buffer {
  if (subject !== '' && !subject.startsWith('CN=')) throw new Error(`only CN= subjects: ${subject}`)
  return commonNameOnly(subject.slice(3))
}

function spkiOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' })
}

function keyId(key: KeyObject): Buffer {
  return createHash('sha1').update(spkiOf(key)).digest()
}

export function pem(der: Uint8Array, label = 'CERTIFICATE'): string {
  const lines = Buffer.from(der)
    .toString('base64')
    .replace(/(.{64})/g, '$1\n')
    .trimEnd()
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}
