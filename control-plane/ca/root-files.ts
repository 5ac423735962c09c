import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  webcrypto,
  X509Certificate,
} from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InmeshError } from '../../src/errors.ts'
import { readCertificateProfile } from '../../src/identity/certificate-profile.ts'
import { maySignCertificates } from '../../src/identity/leaf-profile.ts'
import { certificatesFromPem } from '../../src/identity/trust-bundle.ts'
import { createWhole, loadOrCreateSecret } from './secret-file.ts'
import { x509 } from './x509.ts'

/** The root of a mesh as it lies in the data directory: ca/root.crt and ca/root.key. */
export interface Root {
  readonly certificate: X509Certificate
  readonly key: KeyObject
}

const TEN_YEARS = 10 * 365 * 86_400_000
/** Clocks of workloads may be this much behind, ms. */
export const SKEW = 5 * 60_000

/**
 * Loads the root of a data directory, or makes one if there is none.
 *
 * @throws InmeshError ERR_INMESH_IDENTITY when the files are of another mesh, do not belong together, have expired, or the
 *   key is readable by others
 */
export async function loadOrCreateRoot(dataDir: string, trustDomain: string, now: number): Promise<Root> {
  const directory = join(dataDir, 'ca')
  const certificateFile = join(directory, 'root.crt')
  const keyFile = join(directory, 'root.key')
  await mkdir(directory, { recursive: true, mode: 0o700 })
  if (existsSync(certificateFile) && !existsSync(keyFile)) {
    throw new InmeshError('ERR_INMESH_IDENTITY', `${certificateFile} is there but its key ${keyFile} is not`)
  }
  const key = await loadOrCreateSecret(keyFile, () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  }).then((pem) => parseKey(pem, keyFile))
  if (!existsSync(certificateFile)) {
    await createWhole(certificateFile, await selfSigned(key, trustDomain, now), 0o644)
  }
  const [der] = certificatesFromPem(await readFile(certificateFile, 'utf8'))
  if (der === undefined) throw new InmeshError('ERR_INMESH_IDENTITY', `${certificateFile} holds no certificate`)
  const problem = whyUnusable(der, key, trustDomain, now)
  if (problem !== undefined) throw new InmeshError('ERR_INMESH_IDENTITY', `${certificateFile} ${problem}`)
  return { certificate: new X509Certificate(der), key }
}

function parseKey(pem: string, path: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new InmeshError('ERR_INMESH_IDENTITY', `${path} holds no private key`, { cause })
  }
}

/** Unique subject and key identifiers: two roots of one name without them make OpenSSL choose by order. */
async function selfSigned(key: KeyObject, trustDomain: string, now: number): Promise<string> {
  const algorithm = signingAlgorithm(key)
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const keys = {
    privateKey: key.toCryptoKey(algorithm, false, ['sign']) as webcrypto.CryptoKey,
    publicKey: await webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify']),
  }
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: [{ O: ['inmesh'] }, { CN: [`inmesh root ${randomBytes(8).toString('hex')}`] }],
    notBefore: new Date(now - SKEW),
    notAfter: new Date(now + TEN_YEARS),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return `${certificate.toString('pem')}\n`
}

/** 128 random bits with top bits 01: positive, and always of the same length. */
export function newSerial(): string {
  const bytes = randomBytes(16)
  bytes[0] = 0x40 | (bytes[0]! & 0x3f)
  return bytes.toString('hex')
}

function whyUnusable(der: Buffer, key: KeyObject, trustDomain: string, now: number): string | undefined {
  const profile = readCertificateProfile(der)
  if ('failure' in profile) return `cannot be read: ${profile.message}`
  if (!maySignCertificates(profile)) return 'is not a CA certificate'
  if (now > profile.notAfter) return `expired at ${new Date(profile.notAfter).toISOString()}`
  if (!new X509Certificate(der).checkPrivateKey(key)) return 'does not belong to the key beside it'
  const [uri] = profile.uris
  if (uri !== undefined && uri !== `spiffe://${trustDomain}`) {
    return `is the root of ${uri}, but the trust domain is ${trustDomain}: use another data directory`
  }
  return undefined
}

export interface SigningAlgorithm {
  readonly name: string
  readonly hash: string
  readonly namedCurve?: string
}

/** How a key of an authority signs; SHA-256 throughout. @throws InmeshError ERR_INMESH_IDENTITY for other kinds of keys */
export function signingAlgorithm(key: KeyObject): SigningAlgorithm {
  if (key.asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (curve === 'prime256v1') return { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  if (curve === 'secp384r1') return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-256' }
  throw new InmeshError('ERR_INMESH_IDENTITY', 'the key of the root is none of P-256, P-384 and RSA')
}
