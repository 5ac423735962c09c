import type { Database } from './node-sqlite.ts'
import type { AuditRecord, CertificateRecord, TokenRecord } from './store.ts'

/** Certificates, join tokens and the audit log: records that no xDS resource depends on, so the revision stays. */
export function sqliteRecords(db: Database) {
  const insertCertificate = db.prepare(`
    INSERT INTO certificate (serial, service, spiffe_id, cert_pem, private_key, issued_at, expires_at, requester)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)`)
  const certificates = db.prepare(`
    SELECT serial, service, spiffe_id AS spiffeId, cert_pem AS certificatePem, private_key AS privateKey,
      issued_at AS issuedAt, expires_at AS expiresAt, requester
    FROM certificate WHERE (?1 IS NULL OR service = ?1) AND (?2 IS NULL OR spiffe_id = ?2) ORDER BY issued_at, serial`)

  const columns = `id, secret_hash AS secretHash, service, ns AS namespace, service_account AS serviceAccount,
    created_at AS createdAt, expires_at AS expiresAt, used_at AS usedAt`
  const insertToken = db.prepare(`
    INSERT INTO token (secret_hash, id, service, ns, service_account, created_at, expires_at, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`)
  const useToken = db.prepare(
    `UPDATE token SET used_at = ?1 WHERE secret_hash = ?2 AND used_at IS NULL AND expires_at > ?1 RETURNING ${columns}`,
  )
  const token = db.prepare(`SELECT ${columns} FROM token WHERE secret_hash = ?`)
  const tokens = db.prepare(`SELECT ${columns} FROM token ORDER BY created_at, id`)

  const insertAudit = db.prepare(
    'INSERT INTO audit (at, actor, verb, subject, detail, result) VALUES (?, ?, ?, ?, ?, ?)',
  )
  const audit = db.prepare('SELECT at, actor, verb, subject, detail, result FROM audit ORDER BY id DESC LIMIT ?')

  return {
    recordCertificate(r: CertificateRecord): void {
      insertCertificate.run(
        r.serial,
        r.service,
        r.spiffeId,
        r.certificatePem,
        r.privateKey,
        r.issuedAt,
        r.expiresAt,
        r.requester,
      )
    },
    listCertificates: (selector: { service?: string; spiffeId?: string }) =>
      certificates.all(selector.service ?? null, selector.spiffeId ?? null) as unknown as CertificateRecord[],
    createToken(r: TokenRecord): void {
      insertToken.run(r.secretHash, r.id, r.service, r.namespace, r.serviceAccount, r.createdAt, r.expiresAt, r.usedAt)
    },
    consumeToken(secretHash: string, now: number): TokenRecord | 'unknown' | 'used' | 'expired' {
      const consumed = useToken.get(now, secretHash) as unknown as TokenRecord | undefined
      if (consumed !== undefined) return consumed
      const found = token.get(secretHash) as unknown as TokenRecord | undefined
      if (found === undefined) return 'unknown'
      return found.usedAt !== null ? 'used' : 'expired'
    },
    listTokens: () => tokens.all() as unknown as TokenRecord[],
    appendAudit(r: AuditRecord): void {
      insertAudit.run(r.at, r.actor, r.verb, r.subject, r.detail, r.result)
    },
    /** Newest first. */
    listAudit: (limit: number) => audit.all(limit) as unknown as AuditRecord[],
  }
}
