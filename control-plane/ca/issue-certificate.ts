import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { InmeshError } from '../../src/errors.ts'
import { createPrivateKey, type KeyAlgorithm } from '../../src/identity/csr.ts'
import { workloadSpiffeId } from '../../src/identity/spiffe-id.ts'
import { certificatesToPem } from '../../src/identity/trust-bundle.ts'
import { type Authority, spkiOf } from './authority.ts'
import { type RecordStore, recordIssued } from './records.ts'
import { KeyEncryptionKey, sealKey } from './sealed-key.ts'
import { loadOrCreateSecret } from './secret-file.ts'

export interface IssuedCertificate {
  readonly certPem: string
  /** PKCS#8. Returned once; the record holds it sealed. */
  readonly privateKeyPem: string
  readonly spiffeUri: string
}

export interface IssueCertificateOptions {
  readonly authority: Authority
  readonly store: RecordStore
  readonly kek: KeyEncryptionKey
  /** Default ec-p256. */
  readonly keyAlgorithm?: KeyAlgorithm
  /** ms; default 24 h. */
  readonly ttlMs?: number
  /** For the record; default "admin". */
  readonly requester?: string
}

/** Columns of the mission's table are VARCHAR(128). */
const LONGEST_NAME = 128

/**
 * Certificate and key made by the control plane itself, for those that cannot make a CSR. The key is on record only under
 * AES-256-GCM.
 *
 * @throws InmeshError ERR_INMESH_INVALID_OPTION when a name cannot stand in a SPIFFE id
 */
export async function issueCertificate(
  service: string,
  namespace: string,
  serviceAccount: string,
  options: IssueCertificateOptions,
): Promise<IssuedCertificate> {
  const { authority, store, kek } = options
  const spiffeId = workloadSpiffeId(authority.trustDomain, namespace, serviceAccount)
  if ('failure' in spiffeId) throw new InmeshError('ERR_INMESH_INVALID_OPTION', spiffeId.message)
  if (!/^[A-Za-z0-9._-]+$/.test(service) || service.length > LONGEST_NAME) {
    throw new InmeshError(
      'ERR_INMESH_INVALID_OPTION',
      `service ${JSON.stringify(service.slice(0, 200))}: expected letters, digits, ".", "_" and "-", at most ${LONGEST_NAME}`,
    )
  }
  const key = await createPrivateKey(options.keyAlgorithm)
  const leaf = await authority.sign({ spiffeId, service, spki: spkiOf(key), ttlMs: options.ttlMs })
  const row = { service, namespace, serviceAccount, serial: leaf.serialNumber }
  const sealed = sealKey(key.export({ type: 'pkcs8', format: 'der' }), row, kek)
  const attestation = { spiffeId, service, requester: options.requester ?? 'admin' }
  await recordIssued(store, leaf, attestation, sealed, authority.now())
  return {
    certPem: certificatesToPem([leaf.der, ...authority.intermediates]),
    privateKeyPem: key.export({ type: 'pkcs8', format: 'pem' }) as string,
    spiffeUri: spiffeId.text,
  }
}

/** The key-encryption key of a data directory, ca/kek.key (0600); made on first use. */
export async function loadKeyEncryptionKey(dataDir: string): Promise<KeyEncryptionKey> {
  const directory = join(dataDir, 'ca')
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, 'kek.key')
  const text = await loadOrCreateSecret(path, () => `${randomBytes(32).toString('hex')}\n`)
  if (!/^[0-9a-f]{64}\s*$/.test(text)) {
    throw new InmeshError('ERR_INMESH_IDENTITY', `${path} holds no key: expected 64 hexadecimal digits`)
  }
  return new KeyEncryptionKey(Buffer.from(text.trim(), 'hex'))
}
