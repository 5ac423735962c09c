import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KeyEncryptionKey, openKey, rewrapKey, type SealedRow, sealKey } from './sealed-key.ts'

const row: SealedRow = { service: 'orders', namespace: 'shop', serviceAccount: 'orders', serial: '4a' }
const kek = new KeyEncryptionKey(randomBytes(32))
const secret = Buffer.from('-----BEGIN PRIVATE KEY----- not really')

describe('sealed key', () => {
  it('opens for its own row, and shows nothing before', () => {
    const sealed = sealKey(secret, row, kek)
    expect(openKey(sealed, row, kek)).toEqual(secret)
    expect(Buffer.from(sealed, 'base64').includes(secret.subarray(0, 8))).toBe(false)
    expect(sealKey(secret, row, kek)).not.toBe(sealed)
  })

  it('row-swap-fails-aad: opens for no other row', () => {
    const sealed = sealKey(secret, row, kek)
    const rows = fc.record({
      service: fc.constantFrom('orders', 'payments', 'orders","shop'),
      namespace: fc.constantFrom('shop', 'admin', ''),
      serviceAccount: fc.constantFrom('orders', 'root'),
      serial: fc.constantFrom('4a', '4b'),
    })
    fc.assert(
      fc.property(rows, (other) => {
        if (JSON.stringify(other) === JSON.stringify(row)) return
        expect(() => openKey(sealed, other, kek)).toThrow(/changed, or of another row/)
      }),
    )
  })

  it('kek-rewrap: moves to another key-encryption key without being opened', () => {
    const next = new KeyEncryptionKey(randomBytes(32))
    const sealed = sealKey(secret, row, kek)
    const moved = rewrapKey(sealed, row, kek, next)
    expect(openKey(moved, row, next)).toEqual(secret)
    expect(() => openKey(moved, row, kek)).toThrow(/another key-encryption key/)
    expect(() => openKey(sealed, row, next)).toThrow(/another key-encryption key/)
    expect(() => rewrapKey(sealed, { ...row, serial: '4b' }, kek, next)).toThrow()
  })

  it('with any bit changed or any byte missing does not open', () => {
    const bytes = Buffer.from(sealKey(secret, row, kek), 'base64')
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at]! ^= 1
      expect(() => openKey(changed.toString('base64'), row, kek)).toThrow()
      expect(() => openKey(bytes.subarray(0, at).toString('base64'), row, kek)).toThrow()
    }
  })

  it('the key-encryption key does not show itself', () => {
    const raw = randomBytes(32)
    const shown = new KeyEncryptionKey(raw)
    expect(JSON.stringify(shown)).not.toContain(raw.toString('hex').slice(0, 8))
    expect(Object.values(shown)).toEqual([shown.id])
    expect(() => new KeyEncryptionKey(randomBytes(16))).toThrow(/32 bytes/)
  })
})
