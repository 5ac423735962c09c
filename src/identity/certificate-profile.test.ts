import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeCertificate, makeKey, pem } from '../../test/support/certificate.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { KeyUsage, readCertificateProfile } from './certificate-profile.ts'
import { DerError, DerReader, readTime } from './der.ts'
import { integer, oid, sequence, time } from './der-write.ts'
import { isFailure } from './identity-failure.ts'
import { checkLeaf } from './leaf-profile.ts'

const ca = createTestCa('example.org')
const leaf = ca.issue('spiffe://example.org/ns/shop/sa/orders', {
  subject: 'CN=orders',
  dns: ['orders'],
  ips: ['10.0.0.7'],
})

describe('certificate profile', () => {
  it('reads what Node shows of the same certificate', () => {
    const profile = readCertificateProfile(leaf.certDer)
    const node = new X509Certificate(leaf.certDer)
    expect(profile).toEqual({
      serialNumber: node.serialNumber.toLowerCase(),
      notBefore: Date.parse(node.validFrom),
      notAfter: Date.parse(node.validTo),
      uris: ['spiffe://example.org/ns/shop/sa/orders'],
      ca: false,
      pathLength: undefined,
      keyUsage: KeyUsage.digitalSignature,
      extendedKeyUsage: ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'],
    })
    expect(readCertificateProfile(ca.rootDer)).toMatchObject({
      ca: true,
      keyUsage: KeyUsage.keyCertSign | KeyUsage.cRLSign,
      extendedKeyUsage: undefined,
    })
  })

  it('refuses an extension that comes twice, which two readers could read differently', () => {
    const key = makeKey()
    const der = makeCertificate({
      subject: 'CN=x',
      uris: ['spiffe://td/a'],
      ca: false,
      keyUsage: ['digitalSignature'],
      eku: null,
      notBefore: 0,
      notAfter: 1000,
      key,
    })
    // turn subjectKeyIdentifier (2.5.29.14) into a second subjectAltName
    const at = der.indexOf(oid('2.5.29.14'))
    oid('2.5.29.17').copy(der, at)
    expect(readCertificateProfile(der)).toMatchObject({ failure: 'MALFORMED' })
  })

  it('tells a certificate of 65 KiB by its size alone', () => {
    expect(readCertificateProfile(Buffer.alloc(70_000, 0x30))).toMatchObject({ failure: 'MALFORMED' })
  })
})

describe('der-walk-fuzz', () => {
  const judge = (bytes: Uint8Array) => {
    const profile = readCertificateProfile(bytes)
    if (isFailure(profile)) return
    checkLeaf(profile, 'client')
    checkLeaf(profile, 'server')
  }

  it('takes any bytes without a throw', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), judge), { numRuns: 2_000 })
  })

  it('takes a good certificate with bytes changed, cut or put in without a throw', () => {
    const change = fc.record({ at: fc.nat(leaf.certDer.length - 1), value: fc.nat(255), cut: fc.boolean() })
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.nat(30), (changes, tail) => {
        let bytes = Buffer.from(leaf.certDer)
        for (const { at, value, cut } of changes) {
          if (at >= bytes.length) continue
          if (cut) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)])
          else bytes[at] = value
        }
        judge(Buffer.concat([bytes, Buffer.alloc(tail)]))
      }),
      { numRuns: 3_000 },
    )
  })

  it('finds every cut', () => {
    for (let length = 0; length < leaf.certDer.length; length++) {
      expect(isFailure(readCertificateProfile(leaf.certDer.subarray(0, length)))).toBe(true)
    }
  })
})

describe('DER', () => {
  it('reads back every object identifier and time it writes', () => {
    const arcs = fc.tuple(fc.nat(2), fc.nat(39), fc.array(fc.nat(2 ** 31 - 1), { maxLength: 8 }))
    fc.assert(
      fc.property(arcs, ([top, second, rest]) => {
        const dotted = [top, second, ...rest].join('.')
        expect(new DerReader(oid(dotted)).oid()).toBe(dotted)
      }),
    )
    fc.assert(
      fc.property(fc.integer({ min: -631_152_000, max: 253_402_300_799 }), (seconds) => {
        expect(readTime(new DerReader(time(seconds * 1000)))).toBe(seconds * 1000)
      }),
    )
  })

  it('refuses lengths that are indefinite, padded or beyond the parent', () => {
    for (const bytes of [
      [0x30, 0x80, 0, 0],
      [0x30, 0x81, 0x01, 0],
      [0x30, 0x82, 0x00, 0x81],
      [0x30, 0x84, 0, 0, 0, 1, 0],
      [0x30, 0x02, 0x01],
      [0x1f, 0x01, 0x00],
    ]) {
      expect(() => new DerReader(Buffer.from(bytes)).next(), bytes.join()).toThrow(DerError)
    }
    expect(() => new DerReader(sequence(integer(1), integer(2))).enter(0x30).finish()).toThrow(DerError)
  })

  it('writes integers as positive and minimal', () => {
    expect([...integer(0)]).toEqual([2, 1, 0])
    expect([...integer(Buffer.from([0, 0, 0x80]))]).toEqual([2, 2, 0, 0x80])
    expect(pem(leaf.certDer)).toContain('BEGIN CERTIFICATE')
  })
})
