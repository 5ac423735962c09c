import { createPublicKey, type KeyObject, type webcrypto } from 'node:crypto'
import { InmeshError } from '../../src/errors.ts'
import { createPrivateKey } from '../../src/identity/csr.ts'
import { sha256Hex } from '../../src/identity/join-token.ts'
import { controlPlaneSpiffeId, type SpiffeId } from '../../src/identity/spiffe-id.ts'
import { certificatesToPem, trustBundles } from '../../src/identity/trust-bundle.ts'
import { type WorkloadIdentity, workloadIdentity } from '../../src/identity/workload-identity.ts'
import type { TrustBundles } from '../../src/model/snapshot.ts'
import { loadOrCreateRoot, newSerial, type Root, type SigningAlgorithm, SKEW, signingAlgorithm } from './root-files.ts'
import { x509 } from './x509.ts'

export interface AuthorityOptions {
  /** The control plane's data directory; root and key lie in its `ca` folder. */
  readonly dataDir: string
  readonly trustDomain: string
  /** Lifetime of a certificate when nobody wishes for another, ms; default 24 h. */
  readonly defaultTtlMs?: number
  /** Longest lifetime that is given, ms; default 24 h. */
  readonly maxTtlMs?: number
  /** Wall clock ms; default Date.now. */
  readonly now?: () => number
}

export interface LeafRequest {
  readonly spiffeId: SpiffeId
  /** Common name; left out when longer than the 64 characters that X.520 allows. */
  readonly service: string
  /** Subject public key info, DER. Its kind was checked by the caller. */
  readonly spki: Uint8Array
  /** Wished lifetime, ms. */
  readonly ttlMs?: number | undefined
}

export interface Leaf {
  readonly der: Buffer
  readonly serialNumber: string
  /** Wall clock ms. */
  readonly notBefore: number
  readonly notAfter: number
}

const DAY = 86_400_000
const SHORTEST_TTL = 1_000

/** Signs with the root of the mesh. Who gets what is decided before; this writes one fixed profile. */
export class Authority {
  readonly trustDomain: string
  readonly rootDer: Buffer
  readonly rootPem: string
  /** SHA-256 of the DER root, hex: what join tokens carry. */
  readonly rootSha256: string
  readonly bundles: TrustBundles
  readonly now: () => number
  private readonly rootNotAfter: number
  private readonly issuer: x509.X509Certificate
  private readonly signingKey: webcrypto.CryptoKey
  private readonly signingAlgorithm: SigningAlgorithm
  private readonly defaultTtlMs: number
  private readonly maxTtlMs: number

  /** @throws InmeshError ERR_INMESH_IDENTITY as loadOrCreateRoot */
  static async open(options: AuthorityOptions): Promise<Authority> {
    const now = options.now ?? Date.now
    return new Authority(await loadOrCreateRoot(options.dataDir, options.trustDomain, now()), { ...options, now })
  }

  private constructor(root: Root, options: AuthorityOptions & { now: () => number }) {
    this.trustDomain = options.trustDomain
    this.now = options.now
    this.rootDer = root.certificate.raw
    this.rootPem = certificatesToPem([this.rootDer])
    this.rootSha256 = sha256Hex(this.rootDer)
    this.bundles = trustBundles([[options.trustDomain, [this.rootDer]]], 'root')
    this.rootNotAfter = Date.parse(root.certificate.validTo)
    this.issuer = new x509.X509Certificate(this.rootDer)
    this.signingAlgorithm = signingAlgorithm(root.key)
    this.signingKey = root.key.toCryptoKey(this.signingAlgorithm, false, ['sign']) as webcrypto.CryptoKey
    this.defaultTtlMs = options.defaultTtlMs ?? DAY
    this.maxTtlMs = options.maxTtlMs ?? DAY
  }

  /** Certificates that go with every leaf; empty while leaves are signed by the root itself. */
  get intermediates(): readonly Uint8Array[] {
    return []
  }

  /**
   * One leaf: v3, CN=<service>, the id as the only name, digitalSignature, server and client, 128-bit serial, valid from
   * five minutes ago, never longer than the root.
   */
  async sign(request: LeafRequest): Promise<Leaf> {
    const now = this.now()
    const ttl = Math.max(SHORTEST_TTL, Math.min(request.ttlMs ?? this.defaultTtlMs, this.maxTtlMs))
    const notBefore = Math.floor((now - SKEW) / 1000) * 1000
    const notAfter = Math.min(Math.floor((now + ttl) / 1000) * 1000, this.rootNotAfter)
    if (notAfter <= now) throw new InmeshError('ERR_INMESH_IDENTITY', 'the root of the mesh has expired')
    const serialNumber = newSerial()
    const named = request.service !== '' && request.service.length <= 64
    const publicKey = new x509.PublicKey(request.spki as Uint8Array<ArrayBuffer>)
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber,
      subject: named ? [{ CN: [request.service] }] : [],
      issuer: this.issuer.subjectName,
      notBefore: new Date(notBefore),
      notAfter: new Date(notAfter),
      signingAlgorithm: this.signingAlgorithm,
      publicKey,
      signingKey: this.signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        // RFC 5280 4.2.1.6: critical if and only if the subject is empty.
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: request.spiffeId.text }], !named),
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(this.issuer.publicKey),
      ],
    })
    return { der: Buffer.from(certificate.rawData), serialNumber, notBefore, notAfter }
  }

  /** A fresh certificate for the control plane itself; its chain holds the root, so that a join token can be compared with it. */
  async ownIdentity(ttlMs?: number): Promise<WorkloadIdentity> {
    const spiffeId = controlPlaneSpiffeId(this.trustDomain)
    if ('failure' in spiffeId) throw new InmeshError('ERR_INMESH_IDENTITY', spiffeId.message)
    const key = await createPrivateKey()
    const leaf = await this.sign({ spiffeId, service: 'inmesh', spki: spkiOf(key), ttlMs })
    return workloadIdentity([leaf.der, this.rootDer], key, this.now())
  }
}

export function spkiOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' })
}
