import { createPrivateKey, X509Certificate } from 'node:crypto'
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { memoryRecords } from '../../test/support/memory-records.ts'
import { Authority } from './authority.ts'
import { issueCertificate, loadKeyEncryptionKey } from './issue-certificate.ts'
import { openKey } from './sealed-key.ts'

const dataDir = await mkdtemp(join(tmpdir(), 'inmesh-issue-'))
afterAll(() => rm(dataDir, { recursive: true }))
const authority = await Authority.open({ dataDir, trustDomain: 'cluster.local' })
const kek = await loadKeyEncryptionKey(dataDir)

describe('issueCertificate', () => {
  it('returns certificate, key and URI, and records the key sealed', async () => {
    const store = memoryRecords()
    const issued = await issueCertificate('order-service', 'default', 'order', { authority, store, kek })
    expect(issued.spiffeUri).toBe('spiffe://cluster.local/ns/default/sa/order')
    const certificate = new X509Certificate(issued.certPem)
    expect(certificate.subject).toBe('CN=order-service')
    expect(certificate.subjectAltName).toBe('URI:spiffe://cluster.local/ns/default/sa/order')
    expect(certificate.checkPrivateKey(createPrivateKey(issued.privateKeyPem))).toBe(true)
    expect(Date.parse(certificate.validTo) - Date.now()).toBeGreaterThan(86_390_000)
    const [record] = store.certificateRecords
    expect(record).toMatchObject({ service: 'order-service', spiffeId: issued.spiffeUri, requester: 'admin' })
    const row = {
      service: 'order-service',
      namespace: 'default',
      serviceAccount: 'order',
      serial: certificate.serialNumber.toLowerCase(),
    }
    const opened = createPrivateKey({ key: openKey(record!.privateKey, row, kek), format: 'der', type: 'pkcs8' })
    expect(certificate.checkPrivateKey(opened)).toBe(true)
  })

  it('db-dump-has-no-keys: neither PEM nor the DER of a key stands in what is stored', async () => {
    const store = memoryRecords()
    for (const keyAlgorithm of ['ec-p256', 'rsa-2048'] as const) {
      const { privateKeyPem } = await issueCertificate('orders', 'shop', 'orders', {
        authority,
        store,
        kek,
        keyAlgorithm,
      })
      const der = createPrivateKey(privateKeyPem).export({ type: 'pkcs8', format: 'der' })
      const dump = JSON.stringify(store)
      expect(dump).not.toContain('PRIVATE KEY')
      for (const record of store.certificateRecords) {
        expect(Buffer.from(record.privateKey, 'base64').includes(der.subarray(0, 16))).toBe(false)
        expect(Buffer.from(record.privateKey, 'base64').includes(der.subarray(-16))).toBe(false)
      }
    }
  })

  it('refuses names that cannot stand in an id or a column', async () => {
    const store = memoryRecords()
    for (const [service, namespace, account] of [
      ['orders', 'a/b', 'orders'],
      ['orders', 'shop', ''],
      ['', 'shop', 'orders'],
      ['x'.repeat(129), 'shop', 'orders'],
      ['or\nders', 'shop', 'orders'],
      ['orders', 'shop', '../admin'],
    ] as const) {
      await expect(issueCertificate(service, namespace, account, { authority, store, kek })).rejects.toMatchObject({
        code: 'ERR_INMESH_INVALID_OPTION',
      })
    }
    expect(store.certificateRecords).toEqual([])
  })

  it('keeps its key-encryption key in a file that only it can read', async () => {
    const path = join(dataDir, 'ca', 'kek.key')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await loadKeyEncryptionKey(dataDir)).id).toEqual(kek.id)
    await chmod(path, 0o644)
    await expect(loadKeyEncryptionKey(dataDir)).rejects.toThrow(/expected 600/)
    await chmod(path, 0o600)
    await writeFile(path, 'short')
    await expect(loadKeyEncryptionKey(dataDir)).rejects.toThrow(/64 hexadecimal digits/)
  })
})
