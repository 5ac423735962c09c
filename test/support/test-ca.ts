/** A certificate authority for tests: a root of one trust domain, and leaves of any profile, made in well under a millisecond. */
import { type KeyObject, randomBytes } from 'node:crypto'
import { type CertificateRecipe, type KeyType, makeCertificate, makeKey, pem } from './certificate.ts'

export interface TestLeaf {
  /** Leaf only; add `TestCa.rootPem` where a chain with the root is needed. */
  certPem: string
  certDer: Buffer
  keyPem: string
  key: KeyObject
}

/** Departures from the good profile (security of the leaf: SPIFFE URI SAN, digitalSignature, server and client EKU, 1 hour). */
export interface TestLeafOptions extends Partial<Omit<CertificateRecipe, 'key' | 'issuer' | 'notBefore' | 'notAfter'>> {
  keyType?: KeyType
  /** ms from now; default -60 000. */
  notBefore?: number
  /** ms from now; default 3 600 000. */
  notAfter?: number
}

export interface TestCa {
  readonly trustDomain: string
  readonly rootPem: string
  readonly rootDer: Buffer
  readonly rootKey: KeyObject
  /** Trust domain -> roots, as the identity layer wants it. */
  readonly bundles: ReadonlyMap<string, readonly Uint8Array[]>
  issue(spiffeId: string, options?: TestLeafOptions): TestLeaf
}

/**
 *     const ca = createTestCa('cluster.local')
 *     const { certPem, keyPem } = ca.issue('spiffe://cluster.local/ns/default/sa/orders')
 */
export function createTestCa(trustDomain: string): TestCa {
  const rootKey = makeKey()
  const subject = `CN=${trustDomain} test root ${randomBytes(4).toString('hex')}`
  const rootDer = makeCertificate({
    subject,
    uris: [`spiffe://${trustDomain}`],
    ca: true,
    keyUsage: ['keyCertSign', 'cRLSign'],
    eku: null,
    notBefore: Date.now() - 3_600_000,
    notAfter: Date.now() + 30 * 86_400_000,
    key: rootKey,
  })
  return {
    trustDomain,
    rootDer,
    rootPem: pem(rootDer),
    rootKey,
    bundles: new Map([[trustDomain, [rootDer]]]),
    issue(spiffeId, options = {}) {
      const { keyType, notBefore, notAfter, ...recipe } = options
      const key = makeKey(keyType)
      const certDer = makeCertificate({
        subject: '',
        uris: [spiffeId],
        ca: false,
        keyUsage: ['digitalSignature'],
        eku: ['serverAuth', 'clientAuth'],
        ...recipe,
        notBefore: Date.now() + (notBefore ?? -60_000),
        notAfter: Date.now() + (notAfter ?? 3_600_000),
        key,
        issuer: { subject, key: rootKey },
      })
      return { certDer, certPem: pem(certDer), key, keyPem: key.export({ type: 'pkcs8', format: 'pem' }) as string }
    },
  }
}
