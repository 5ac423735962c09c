import { describe, expect, it } from 'vitest'
import { pem } from '../../test/support/certificate.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import {
  certificatesFromPem,
  certificatesToPem,
  trustAnchors,
  trustAnchorsFromPem,
  trustBundles,
} from './trust-bundle.ts'

const ca = createTestCa('cluster.local')
const leaf = ca.issue('spiffe://cluster.local/ns/shop/sa/orders')

describe('trust bundle', () => {
  it('goes to PEM and back, with text around it', () => {
    const other = createTestCa('cluster.local')
    const text = `# roots\n${certificatesToPem([ca.rootDer, other.rootDer])}\n-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n`
    expect(certificatesFromPem(text)).toEqual([ca.rootDer, other.rootDer])
    expect(trustAnchorsFromPem(text.replaceAll('\n', '\r\n'), 'file')).toHaveLength(2)
    expect(certificatesToPem([ca.rootDer])).toBe(pem(ca.rootDer))
  })

  it('refuses what is no CA certificate, and says which and why', () => {
    expect(() => trustAnchors([ca.rootDer, leaf.certDer], 'roots.pem')).toThrow(
      'roots.pem: certificate 2 is no trust anchor: it is not a CA certificate',
    )
    expect(() => trustAnchors([Buffer.from('junk')], 'x')).toThrow('not a DER certificate')
    expect(() => trustAnchorsFromPem('nothing here', 'roots.pem')).toThrow('roots.pem: no PEM certificate')
    const signs = ca.issue('spiffe://cluster.local/x', { ca: true, keyUsage: ['cRLSign'] })
    expect(() => trustAnchors([signs.certDer], 'x')).toThrow('not a CA certificate')
  })

  it('never merges a domain that comes twice', () => {
    const twice = [
      ['a.org', [ca.rootDer]],
      ['a.org', [ca.rootDer]],
    ] as const
    expect(() => trustBundles(twice, 'answer')).toThrow('answer: trust domain a.org is there twice')
    expect(trustBundles([['a.org', []]], 'answer').get('a.org')).toEqual([])
  })
})
