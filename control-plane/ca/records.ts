import { certificatesToPem } from '../../src/identity/trust-bundle.ts'
import type { Store } from '../store/store.ts'
import type { Attestation } from './attest/attestor.ts'
import type { Leaf } from './authority.ts'

export type RecordStore = Pick<Store, 'certificates' | 'audit'>

/** Stands in CertificateRecord.privateKey when the key never left the workload. */
export const CSR_MARKER = 'csr'

/** Writes what was issued, to whom, and on what proof; `privateKey` is CSR_MARKER or a sealed key, never a key. */
export async function recordIssued(
  store: RecordStore,
  leaf: Leaf,
  attestation: Attestation,
  privateKey: string,
  now: number,
): Promise<void> {
  const { spiffeId, service, requester } = attestation
  await store.certificates.record({
    serial: leaf.serialNumber,
    service,
    spiffeId: spiffeId.text,
    certificatePem: certificatesToPem([leaf.der]),
    privateKey,
    issuedAt: now,
    expiresAt: leaf.notAfter,
    requester,
  })
  await store.audit.append({
    at: now,
    actor: requester,
    verb: 'issue',
    subject: spiffeId.text,
    detail: `serial ${leaf.serialNumber}, until ${new Date(leaf.notAfter).toISOString()}`,
    result: 'ok',
  })
}

export async function recordRefused(
  store: Pick<Store, 'audit'>,
  refusal: { actor: string; subject: string; detail: string },
  now: number,
): Promise<void> {
  await store.audit.append({ at: now, verb: 'issue', result: 'refused', ...refusal })
}
