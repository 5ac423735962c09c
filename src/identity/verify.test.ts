import { createPrivateKey } from 'node:crypto'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { judgeClient, judgeServer, type Verdict } from '../../test/support/handshake.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { authorities, authority, bundles, present, type Row, rows } from '../../test/support/x509-recipes.ts'
import { isFailure } from './identity-failure.ts'
import { IdentityState } from './identity-state.ts'
import { recheckPeer, serverIdentityCheck } from './verify.ts'
import { workloadIdentity } from './workload-identity.ts'

/** The verifier is a member of example.org; its own root is in no bundle, so it stands for nothing in the verdicts. */
const verifierCa = createTestCa('example.org')
const own = verifierCa.issue('spiffe://example.org/ns/test/sa/verifier')

/** The verifier's own chain: where Node does not show a server what was sent between, these are known from there. */
const intermediates = authorities.filter((name) => name.startsWith('int')).map((name) => authority(name).der)

function verifier(trust: ReadonlyMap<string, readonly Uint8Array[]>): IdentityState {
  const state = new IdentityState({ trustDomain: 'example.org' })
  state.update(workloadIdentity([own.certDer, ...intermediates], createPrivateKey(own.keyPem)))
  state.updateBundles(trust)
  return state
}

function expectVerdict(row: Row, verdict: Verdict): void {
  if (row.expect === 'accept') expect(verdict).toMatchObject({ spiffeId: row.peerId, tlsVersion: 'TLSv1.3' })
  else expect(isFailure(verdict), `accepted as ${JSON.stringify(verdict)}`).toBe(true)
}

const foreign = authority('rootRogue').der
/** The same table with one more trust domain loaded: then OpenSSL's verdict is not enough, and the path is walked here. */
const settings = [
  { name: 'bundles as they are', more: [] },
  { name: 'with a domain more', more: [['federated.example', [foreign]]] as const },
]

describe.each(settings)('x509-table, $name', ({ more }) => {
  it('has all rows', () => expect(rows.length).toBeGreaterThanOrEqual(74))

  const clients = rows.filter((row) => row.role !== 'server' && row.authorize === undefined)
  it.each(clients)('x509-table-client $id: $rule', async (row) => {
    const state = verifier(new Map([...bundles(row), ...more]))
    expectVerdict(row, await judgeClient(state, { ...present(row), trusts: verifierCa.rootPem }))
  })

  const servers = rows.filter((row) => row.role !== 'client')
  it.each(servers)('x509-table-server $id: $rule', async (row) => {
    const state = verifier(new Map([...bundles(row), ...more]))
    const allowed = row.authorize?.ids === undefined ? undefined : new Set(row.authorize.ids)
    expectVerdict(row, await judgeServer(state, { ...present(row), trusts: verifierCa.rootPem }, allowed))
  })
})

describe('verification', () => {
  const ca = createTestCa('example.org')
  const orders = ca.issue('spiffe://example.org/ns/shop/sa/orders')
  const shown = { cert: orders.certPem, key: orders.keyPem, trusts: verifierCa.rootPem }

  it('reads the peer once: id, namespace, service account, serial, end', async () => {
    const peer = await judgeClient(verifier(ca.bundles), shown)
    expect(peer).toMatchObject({ namespace: 'shop', serviceAccount: 'orders', trustDomain: 'example.org' })
    expect(peer).toHaveProperty('serialNumber', expect.stringMatching(/^[0-9a-f]{32}$/))
  })

  it('federation-no-merge: a federated domain speaks for itself only, and has no namespaces here', async () => {
    const other = createTestCa('other.org')
    const state = verifier(new Map([...ca.bundles, ...other.bundles]))
    const show = (leaf: { certPem: string; keyPem: string }) =>
      judgeClient(state, { cert: leaf.certPem, key: leaf.keyPem, trusts: verifierCa.rootPem })
    expect(await show(other.issue('spiffe://other.org/ns/shop/sa/orders'))).toMatchObject({
      spiffeId: 'spiffe://other.org/ns/shop/sa/orders',
      namespace: '',
      serviceAccount: '',
    })
    expect(await show(other.issue('spiffe://example.org/ns/shop/sa/orders'))).toMatchObject({ failure: 'UNTRUSTED' })
    expect(await show(ca.issue('spiffe://other.org/ns/shop/sa/orders'))).toMatchObject({ failure: 'UNTRUSTED' })
  })

  it('no-system-roots: without bundles nobody comes in, whoever signed', async () => {
    for (const trust of [new Map(), new Map([['example.org', []]])]) {
      const state = verifier(trust)
      expect(isFailure(await judgeClient(state, shown))).toBe(true)
      expect(isFailure(await judgeServer(state, shown))).toBe(true)
    }
  })

  it('no-system-roots: a CA of the public store vouches for nobody, in no role and with no bundle', async () => {
    const publicRoots = getCACertificates('default')
    setDefaultCACertificates([ca.rootPem])
    try {
      for (const trust of [new Map(), new Map([['example.org', []]]), createTestCa('example.org').bundles]) {
        const state = verifier(trust)
        expect(isFailure(await judgeClient(state, shown))).toBe(true)
        expect(isFailure(await judgeServer(state, shown))).toBe(true)
      }
    } finally {
      setDefaultCACertificates(publicRoots)
    }
  })

  it('no-resumption-tls12: a client of TLS 1.2 or older is not spoken to', async () => {
    const verdict = await judgeClient(verifier(ca.bundles), { ...shown, tls: { maxVersion: 'TLSv1.2' } })
    expect(isFailure(verdict)).toBe(true)
  })

  it('a client without certificate is refused', async () => {
    const verdict = await judgeClient(verifier(ca.bundles), { ...shown, tls: { cert: undefined, key: undefined } })
    expect(isFailure(verdict)).toBe(true)
  })

  it('a deny list refuses a certificate that is otherwise good', async () => {
    const state = verifier(ca.bundles)
    const before = await judgeClient(state, shown)
    if (isFailure(before)) throw new Error(before.message)
    state.updateDenied((_id, serial) => serial === before.serialNumber)
    expect(await judgeClient(state, shown)).toMatchObject({ failure: 'DENIED' })
    expect(state.recheckPeer(before, 'client')).toMatchObject({ failure: 'DENIED' })
  })

  it('an open connection is judged again: bundle emptied, root replaced, domain withdrawn, time passed', async () => {
    const state = verifier(ca.bundles)
    const peer = await judgeClient(state, shown)
    if (isFailure(peer)) throw new Error(peer.message)
    expect(state.recheckPeer(peer, 'client')).toBeUndefined()
    state.updateBundles(new Map([['example.org', []]]))
    expect(state.recheckPeer(peer, 'client')).toMatchObject({ failure: 'NO_BUNDLE' })
    state.updateBundles(createTestCa('example.org').bundles)
    expect(state.recheckPeer(peer, 'client')).toMatchObject({ failure: 'UNTRUSTED' })
    state.updateBundles(new Map())
    expect(state.recheckPeer(peer, 'client')).toMatchObject({ failure: 'NO_BUNDLE' })
    state.updateBundles(ca.bundles)
    expect(state.recheckPeer(peer, 'client')).toBeUndefined()
    const later = { localTrustDomain: 'example.org', now: () => peer.notAfter + 1 }
    expect(recheckPeer(peer, 'client', ca.bundles, later)).toMatchObject({ failure: 'EXPIRED' })
  })

  it('a peer that nobody verified stays unverified', () => {
    const invented = { spiffeId: 'spiffe://example.org/ns/shop/sa/orders' } as never
    expect(verifier(ca.bundles).recheckPeer(invented, 'client')).toMatchObject({ failure: 'NO_CERTIFICATE' })
  })

  it('identity-check-throws-survives: whatever is handed in, an Error comes back and nothing is thrown', () => {
    const check = serverIdentityCheck(
      () => {
        throw new Error('bundles are broken')
      },
      { localTrustDomain: 'example.org' },
    )
    for (const certificate of [{ raw: orders.certDer }, { raw: Buffer.from('junk') }, {}, { raw: null }]) {
      expect(check('h', certificate as never)).toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
    }
  })

  it('the wrong server is refused with the code of a wrong name, before anything is sent', async () => {
    const verdict = await judgeServer(
      verifier(ca.bundles),
      shown,
      new Set(['spiffe://example.org/ns/shop/sa/payments']),
    )
    expect(verdict).toMatchObject({ failure: 'NOT_ALLOWED', message: expect.stringContaining('sa/orders') })
    expect(await judgeServer(verifier(ca.bundles), shown, new Set())).toMatchObject({ failure: 'NOT_ALLOWED' })
  })
})
