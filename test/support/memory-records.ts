/** The part of the store that the certificate authority needs, in memory. */
import type { AuditRecord, CertificateRecord, Store, TokenRecord } from '../../control-plane/store/store.ts'

export interface MemoryRecords extends Pick<Store, 'certificates' | 'tokens' | 'audit'> {
  readonly certificateRecords: CertificateRecord[]
  readonly tokenRecords: TokenRecord[]
  readonly auditRecords: AuditRecord[]
}

export function memoryRecords(): MemoryRecords {
  const certificateRecords: CertificateRecord[] = []
  const tokenRecords: TokenRecord[] = []
  const auditRecords: AuditRecord[] = []
  return {
    certificateRecords,
    tokenRecords,
    auditRecords,
    certificates: {
      async record(record) {
        certificateRecords.push(record)
      },
      async list(selector = {}) {
        return certificateRecords.filter(
          (r) => (selector.service ?? r.service) === r.service && (selector.spiffeId ?? r.spiffeId) === r.spiffeId,
        )
      },
    },
    tokens: {
      async create(record) {
        tokenRecords.push({ ...record })
      },
      async consume(secretHash, now) {
        await Promise.resolve() // as a real one: not within the caller's turn
        const record = tokenRecords.find((r) => r.secretHash === secretHash)
        if (record === undefined) return 'unknown'
        if (record.usedAt !== null) return 'used'
        if (record.expiresAt <= now) return 'expired'
        record.usedAt = now
        return { ...record }
      },
      async list() {
        return tokenRecords
      },
    },
    audit: {
      async append(record) {
        auditRecords.push(record)
      },
      async list(limit) {
        return auditRecords.slice(-limit)
      },
    },
  }
}
