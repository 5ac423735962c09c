import { createPrivateKey, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect as connectTcp } from 'node:net'
import { connect, createServer, type Server, type TLSSocket } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { judgeClient, judgeServer } from '../../test/support/handshake.ts'
import { createTestCa, type TestCa, type TestLeafOptions } from '../../test/support/test-ca.ts'
import { isFailure } from './identity-failure.ts'
import { IdentityState, MESH_SERVER_NAME } from './identity-state.ts'
import { workloadIdentity } from './workload-identity.ts'

const ORDERS = 'spiffe://cluster.local/ns/shop/sa/orders'
const PAYMENTS = 'spiffe://cluster.local/ns/shop/sa/payments'

function identityOf(ca: TestCa, id: string, options?: TestLeafOptions) {
  const leaf = ca.issue(id, options)
  return workloadIdentity([leaf.certDer], createPrivateKey(leaf.keyPem))
}

function member(ca: TestCa, id: string): IdentityState {
  const state = new IdentityState({ trustDomain: ca.trustDomain })
  state.update(identityOf(ca, id))
  state.updateBundles(ca.bundles)
  return state
}

const open: (Server | TLSSocket)[] = []
afterEach(() => {
  for (const each of open.splice(0)) 'close' in each ? each.close() : (each as TLSSocket).destroy()
})

/** A mesh server that echoes the id of its peer, or closes. */
async function listen(state: IdentityState): Promise<number> {
  const server = createServer(state.serverOptions(), (socket) => {
    socket.on('error', () => undefined)
    const peer = state.verifyPeer(socket, 'client')
    if (isFailure(peer)) socket.destroy()
    else socket.end(`${peer.spiffeId} ${socket.isSessionReused()}`)
  })
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  state.onChange(() => server.setSecureContext(state.serverOptions()))
  open.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function call(state: IdentityState, port: number, session?: Buffer) {
  const socket = connect({
    host: '127.0.0.1',
    port,
    servername: MESH_SERVER_NAME,
    secureContext: state.clientContext(),
    checkServerIdentity: state.serverIdentityCheck(),
    ...(session !== undefined && { session }),
  })
  let latest: Buffer | undefined
  socket.on('session', (given) => {
    latest = given
  })
  await once(socket, 'secureConnect')
  const reused = socket.isSessionReused()
  const peer = state.verifyPeer(socket, 'server')
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return { peer, text, session: latest, reused }
}

describe('identity state', () => {
  it('has no context without a certificate, nor with an expired one', () => {
    const ca = createTestCa('cluster.local')
    let now = Date.now()
    const state = new IdentityState({ trustDomain: 'cluster.local', now: () => now })
    state.updateBundles(ca.bundles)
    for (const make of [() => state.clientContext(), () => state.serverContext(), () => state.serverOptions()]) {
      expect(make).toThrow(/no certificate yet/)
    }
    state.update(identityOf(ca, ORDERS))
    expect(state.clientContext()).toBeDefined()
    now += 3_600_001
    for (const make of [() => state.clientContext(), () => state.serverContext(), () => state.serverOptions()]) {
      expect(make).toThrow(/expired/)
    }
  })

  it('builds each context once per epoch', () => {
    const ca = createTestCa('cluster.local')
    const state = member(ca, ORDERS)
    const [client, server, epoch] = [state.clientContext(), state.serverContext(), state.epoch]
    expect(state.clientContext()).toBe(client)
    expect(state.serverContext()).toBe(server)
    state.updateBundles(new Map(ca.bundles))
    expect(state.epoch).toBe(epoch)
    state.update(identityOf(ca, ORDERS))
    expect(state.epoch).toBe(epoch + 1)
    expect(state.clientContext()).not.toBe(client)
    expect(state.serverContext()).not.toBe(server)
  })

  it('tells every listener what changed, until it does not want to know', () => {
    const ca = createTestCa('cluster.local')
    const state = new IdentityState({ trustDomain: 'cluster.local' })
    const seen: string[] = []
    const stop = state.onChange((change) => seen.push(`${change.what} ${change.epoch}`))
    state.updateBundles(ca.bundles)
    state.update(identityOf(ca, ORDERS))
    state.updateDenied(() => false)
    stop()
    state.updateBundles(new Map())
    expect(seen).toEqual(['bundles 1', 'identity 2', 'denied 3'])
  })

  it('always hands OpenSSL a list of roots, even an empty one', () => {
    const ca = createTestCa('cluster.local')
    const state = member(ca, ORDERS)
    state.updateBundles(new Map())
    expect(state.serverOptions().ca).toEqual([])
  })
})

describe('handshakes of two members', () => {
  it('both sides know each other', async () => {
    const ca = createTestCa('cluster.local')
    const port = await listen(member(ca, PAYMENTS))
    const { peer, text } = await call(member(ca, ORDERS), port)
    expect(peer).toMatchObject({ spiffeId: PAYMENTS })
    expect(text).toBe(`${ORDERS} false`)
  })

  it('no-resumption-tls13: a session that the client kept is worth nothing', async () => {
    const ca = createTestCa('cluster.local')
    const port = await listen(member(ca, PAYMENTS))
    const orders = member(ca, ORDERS)
    const first = await call(orders, port)
    expect(first.session).toBeDefined()
    // Somebody else with the session of orders: the server must see who it is now.
    const other = member(ca, 'spiffe://cluster.local/ns/shop/sa/other')
    const second = await call(other, port, first.session)
    expect(second).toMatchObject({ text: 'spiffe://cluster.local/ns/shop/sa/other false', reused: false })
  })

  it('a resumed connection would be refused before anything else', () => {
    const state = member(createTestCa('cluster.local'), ORDERS)
    const socket = { isSessionReused: () => true } as TLSSocket
    expect(state.verifyPeer(socket, 'client')).toMatchObject({ failure: 'RESUMED' })
  })

  it('rotation: new handshakes show the new certificate, with or without a server name', async () => {
    const ca = createTestCa('cluster.local')
    const payments = member(ca, PAYMENTS)
    const orders = member(ca, ORDERS)
    const port = await listen(payments)
    for (let i = 0; i < 5; i++) {
      const { peer } = await call(orders, port)
      expect(peer).toMatchObject({ serialNumber: payments.current?.serialNumber })
      payments.update(identityOf(ca, PAYMENTS))
      orders.update(identityOf(ca, ORDERS))
    }
    const nameless = connect({
      host: '127.0.0.1',
      port,
      secureContext: orders.clientContext(),
      checkServerIdentity: orders.serverIdentityCheck(),
    })
    await once(nameless, 'secureConnect')
    expect(orders.verifyPeer(nameless, 'server')).toMatchObject({ serialNumber: payments.current?.serialNumber })
    nameless.destroy()
  })

  it('root-rotation-choreography: both roots, then the new one alone', async () => {
    const before = createTestCa('cluster.local')
    const after = createTestCa('cluster.local')
    const both = new Map([['cluster.local', [before.rootDer, after.rootDer]]])
    const payments = member(before, PAYMENTS)
    const orders = member(before, ORDERS)
    const port = await listen(payments)
    const works = async () => isFailure((await call(orders, port)).peer) === false
    expect(await works()).toBe(true)
    payments.updateBundles(both)
    expect(await works()).toBe(true)
    orders.updateBundles(both)
    orders.update(identityOf(after, ORDERS))
    expect(await works()).toBe(true)
    payments.update(identityOf(after, PAYMENTS))
    expect(await works()).toBe(true)
    orders.updateBundles(after.bundles)
    payments.updateBundles(after.bundles)
    expect(await works()).toBe(true)
    orders.update(identityOf(before, ORDERS)) // a process that slept through it
    const { text } = await call(orders, port).catch(() => ({ text: '' }))
    expect(text).toBe('')
  })

  it('garbage-handshake-survives: noise on the port ends its own connection and nothing else', async () => {
    const ca = createTestCa('cluster.local')
    const port = await listen(member(ca, PAYMENTS))
    const noises = [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.from([0x16, 3, 1, 0xff, 0xff, 1, 2, 3]),
      Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]),
      Buffer.concat([Buffer.from([0x16, 3, 1, 1, 0]), randomBytes(256)]),
      Buffer.alloc(0),
      randomBytes(4096),
    ]
    await Promise.all(
      noises.map(async (noise) => {
        const socket = connectTcp(port, '127.0.0.1')
        socket.on('error', () => undefined) // the server resets what it does not understand
        socket.end(noise)
        socket.resume()
        await once(socket, 'close')
      }),
    )
    expect((await call(member(ca, ORDERS), port)).text).toBe(`${ORDERS} false`)
  })

  it('an expired peer is refused in both roles', async () => {
    const ca = createTestCa('cluster.local')
    const stale = ca.issue(ORDERS, { notBefore: -7_200_000, notAfter: -1_000 })
    const shown = { cert: stale.certPem, key: stale.keyPem, trusts: ca.rootPem }
    expect(isFailure(await judgeClient(member(ca, PAYMENTS), shown))).toBe(true)
    expect(isFailure(await judgeServer(member(ca, PAYMENTS), shown))).toBe(true)
  })
})
