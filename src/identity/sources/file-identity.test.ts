import { describe, expect, it } from 'vitest'
import { createTestCa } from '../../../test/support/test-ca.ts'
import type { Logger } from '../../model/logger.ts'
import { IdentityState } from '../identity-state.ts'
import { verifyChain } from '../verify.ts'
import { FileIdentity } from './file-identity.ts'

const ca = createTestCa('demo')
const other = createTestCa('elsewhere')
const id = (name: string) => `spiffe://demo/ns/shop/sa/${name}`

function watch(kind: 'ca' | 'spiffe' = 'ca') {
  const first = ca.issue(id('orders'))
  const files = new Map([
    ['chain', first.certPem],
    ['key', first.keyPem],
    ['roots', ca.rootPem],
  ])
  const warnings: string[] = []
  const log = () => undefined
  const logger: Logger = {
    debug: log,
    info: log,
    error: log,
    warn: (_m, fields) => warnings.push(String(fields?.error)),
  }
  const state = new IdentityState({ trustDomain: 'unknown' })
  const identity = new FileIdentity({
    state,
    logger,
    files: { certificate: { chain: 'chain', key: 'key' }, roots: { kind, path: 'roots' }, refreshMs: 1_000 },
    read: (path) => files.get(path) ?? missing(path),
  })
  return { files, warnings, state, identity }
}

function missing(path: string): never {
  throw new Error(`${path} is not there`)
}

/** What the identity would say of a server of this certificate. */
function judge(state: IdentityState, chain: readonly Uint8Array[]): string {
  const verified = verifyChain(chain, 'server', state.bundles, { localTrustDomain: state.trustDomain, walk: true })
  return 'failure' in verified ? verified.failure : verified.id.text
}

describe('an identity in files', () => {
  it('is read, and again when the files are others', () => {
    const { files, state, identity, warnings } = watch()
    identity.refresh()
    expect(state.current?.spiffeId.text).toBe(id('orders'))
    expect(state.trustDomain).toBe('demo')
    const { epoch } = state
    identity.refresh()
    expect(state.epoch).toBe(epoch)
    const renewed = ca.issue(id('orders'))
    files.set('chain', renewed.certPem).set('key', renewed.keyPem)
    identity.refresh()
    expect(state.current?.chain[0]).toEqual(renewed.certDer)
    expect(warnings).toEqual([])
  })

  it('stays what it was while the files are half replaced, gone or no certificates', () => {
    const { files, state, identity, warnings } = watch()
    identity.refresh()
    const before = state.current
    const renewed = ca.issue(id('orders'))
    files.set('chain', renewed.certPem)
    identity.refresh()
    identity.refresh()
    expect(state.current).toBe(before)
    expect(warnings).toHaveLength(1)
    expect(identity.lastFailure?.message).toContain('private key does not belong')
    files.set('key', renewed.keyPem)
    identity.refresh()
    expect(identity.lastFailure).toBeUndefined()
    expect(state.current?.chain[0]).toEqual(renewed.certDer)
    files.set('roots', 'nothing')
    identity.refresh()
    files.delete('roots')
    identity.refresh()
    expect(warnings.slice(1)).toEqual([expect.stringContaining('no PEM certificate'), 'roots is not there'])
    expect(state.bundles.size).toBe(1)
  })

  it('may be of a client outside of any mesh: then servers have none, and nobody waits for it', () => {
    const { files, state, identity, warnings } = watch()
    const plain = ca.issue('', { uris: [], dns: ['client.example'] })
    files.set('chain', plain.certPem).set('key', plain.keyPem)
    identity.refresh()
    identity.refresh()
    expect(state.current).toBeUndefined()
    expect(identity.namesNobody).toContain('0 URI names')
    expect(identity.lastFailure).toBeUndefined()
    expect(state.bundles.size).toBe(1)
    expect(warnings).toHaveLength(1)
  })

  it('has roots that are good for whoever they signed, of whatever trust domain', () => {
    const { state, identity } = watch()
    identity.refresh()
    expect(judge(state, [ca.issue('spiffe://another/x').certDer])).toBe('spiffe://another/x')
    expect(judge(state, [other.issue('spiffe://elsewhere/x').certDer])).not.toBe('spiffe://elsewhere/x')
  })
})

describe('a map of SPIFFE bundles (A87)', () => {
  const bundle = (...roots: Buffer[]) => ({
    keys: [
      { kty: 'EC', use: 'jwt-svid', kid: '1' },
      ...roots.map((der) => ({ kty: 'EC', use: 'x509-svid', x5c: [der.toString('base64')] })),
    ],
    spiffe_sequence: 1,
  })
  const mapped = (map: unknown) => {
    const made = watch('spiffe')
    made.files.set('roots', JSON.stringify(map))
    made.identity.refresh()
    return made
  }

  it('has roots for the ids of their trust domain alone', () => {
    const { state } = mapped({ trust_domains: { demo: bundle(ca.rootDer), elsewhere: bundle(other.rootDer) } })
    expect(judge(state, [ca.issue(id('x')).certDer])).toBe(id('x'))
    expect(judge(state, [other.issue('spiffe://elsewhere/x').certDer])).toBe('spiffe://elsewhere/x')
    expect(judge(state, [ca.issue('spiffe://elsewhere/x').certDer])).not.toContain('spiffe')
    expect(judge(state, [ca.issue('spiffe://unknown/x').certDer])).toBe('NO_BUNDLE')
  })

  it.each([
    [{}, 'roots: trust_domains is missing'],
    [{ trust_domains: { demo: {} } }, 'roots: demo: keys is missing'],
    [{ trust_domains: { '*': bundle() } }, 'roots: "*" is not a trust domain'],
    [
      { trust_domains: { demo: { keys: [{ use: 'x509-svid', x5c: [] }] } } },
      'roots: demo: keys[0].x5c must hold exactly one certificate',
    ],
  ])('%j is refused', (map, reason) => {
    expect(mapped(map).identity.lastFailure?.message).toBe(reason)
  })
})
