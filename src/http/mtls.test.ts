import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createServer as createTlsServer } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient, type ServiceSpec, type TestClient } from '../../test/support/mesh-client.ts'
import { identityOf, issueIdentity, spiffe, until } from '../../test/support/mesh-http.ts'
import { createTestCa, type TestLeafOptions } from '../../test/support/test-ca.ts'
import { Inbound } from '../engine/inbound.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import { systemClock } from '../model/clock.ts'
import { inboundDefaults } from '../model/inbound.ts'
import { getPeer } from '../transport/peer.ts'
import { createMeshServer, type MeshServer } from './server.ts'

const ca = createTestCa('cluster.local')
const payments = spiffe(ca, 'payments')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Service {
  port: number
  identity: IdentityState
  server: MeshServer
  requests: number
  /** That HTTP was spoken on. */
  connections: number
  /** That were accepted. */
  sockets: number
}

const strict = new Inbound({ ...inboundDefaults, name: 'test', tlsMode: 'STRICT', rbac: [] })

async function serve(
  identity: IdentityState = identityOf(ca, 'payments'),
  listener?: RequestListener,
  inbound: () => Inbound | undefined = () => strict,
): Promise<Service> {
  const service = { port: 0, identity, requests: 0, connections: 0, sockets: 0 } as Service
  service.server = createMeshServer(
    (req, res) => {
      service.requests++
      if (listener === undefined) res.end(getPeer(req)?.spiffeId)
      else listener(req, res)
    },
    { identity, inbound, clock: systemClock },
  )
  service.server.server.on('connection', () => service.connections++)
  const { server } = service.server
  const emit = server.emit.bind(server) as (event: string, ...args: unknown[]) => boolean
  server.emit = ((event: string, ...args: unknown[]) => {
    if (event === 'connection') service.sockets++
    return emit(event, ...args)
  }) as typeof server.emit
  service.server.listen(0, '127.0.0.1')
  await once(service.server.server, 'listening')
  closing.push(() => service.server.close({ graceMs: 0 }))
  service.port = (service.server.address() as { port: number }).port
  return service
}

function client(
  endpoints: ServiceSpec['endpoints'],
  identity: IdentityState | null = identityOf(ca, 'orders'),
  more: Partial<ServiceSpec> = {},
): TestClient {
  const made = meshClient(
    { payments: { endpoints: endpoints.map(asMtls), retry: { numRetries: 1 }, ...more } },
    identity === null ? {} : { identity },
  )
  closing.push(() => made.close())
  return made
}

function asMtls(endpoint: ServiceSpec['endpoints'][number]) {
  const given = typeof endpoint === 'number' ? { port: endpoint } : endpoint
  return { tlsMode: 'mtls' as const, spiffeId: payments, ...given }
}

describe('mutual TLS between mesh client and mesh server', () => {
  it('shows each end who the other is', async () => {
    const { port } = await serve()
    expect(await call(client([port]).dispatcher, 'http://payments/')).toMatchObject({
      status: 200,
      text: spiffe(ca, 'orders'),
    })
  })

  it('sends nothing to a server of another id, and says so', async () => {
    const impostor = await serve(identityOf(ca, 'impostor'))
    const { dispatcher } = client([impostor.port])
    const answer = await call(dispatcher, 'http://payments/', { method: 'POST', body: 'secret' })
    expect(answer.status).toBe(503)
    expect(answer.headers['x-inmesh-response-flags']).toContain('UF')
    expect(answer.headers['x-inmesh-response-details']).toContain('TLS_error')
    expect(answer.text).toContain('impostor')
    expect(impostor.requests).toBe(0)
  })

  it('goes to another host when an address was taken over by another service', async () => {
    const impostor = await serve(identityOf(ca, 'impostor'))
    const good = await serve()
    const { dispatcher } = client([impostor.port, good.port])
    for (let i = 0; i < 4; i++)
      expect((await call(dispatcher, 'http://payments/', { method: 'POST', body: 'x' })).status).toBe(200)
    expect(impostor.requests).toBe(0)
  })

  it.each<[string, TestLeafOptions | null, string]>([
    ['of another authority', null, 'cluster.local'],
    ['that expired', { notBefore: -7_200_000, notAfter: -1_000 }, 'cluster.local'],
    ['with two URI names', { uris: [payments, payments] }, 'cluster.local'],
    ['for clients only', { eku: ['clientAuth'] }, 'cluster.local'],
    ['that is a CA certificate', { ca: true }, 'cluster.local'],
  ])('refuses a server with a certificate %s', async (_name, leaf, domain) => {
    const authority = leaf === null ? createTestCa(domain) : ca
    const { certPem, keyPem } = authority.issue(payments, leaf ?? {})
    let bytes = 0
    const server = createTlsServer({ cert: certPem, key: keyPem, minVersion: 'TLSv1.3' }, (socket) => {
      socket.on('error', () => undefined).on('data', (chunk) => (bytes += chunk.length))
    })
    server.on('tlsClientError', () => undefined)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const { dispatcher } = client([(server.address() as { port: number }).port])
    expect((await call(dispatcher, 'http://payments/')).status).toBe(503)
    expect(bytes).toBe(0)
  })

  it('never falls back to plaintext', async () => {
    let received = ''
    const plain = createTcpServer((socket: Socket) => {
      socket
        .on('error', () => undefined)
        .on('data', (chunk) => {
          received += chunk.toString('latin1')
          socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
        })
    })
    plain.listen(0, '127.0.0.1')
    await once(plain, 'listening')
    closing.push(() => plain.close())
    const { dispatcher } = client([(plain.address() as { port: number }).port])
    expect((await call(dispatcher, 'http://payments/')).status).toBe(503)
    expect(received).not.toContain('GET')
  })

  it('without an identity of our own fails at once, and blames no host', async () => {
    const { port } = await serve()
    for (const identity of [null, identityOf(ca, 'orders', { notBefore: -7_200_000, notAfter: -1_000 })]) {
      const { dispatcher, engine } = client([port], identity)
      const answer = await call(dispatcher, 'http://payments/')
      expect(answer.status).toBe(503)
      expect(answer.headers['x-inmesh-response-details']).toContain('no_own_identity')
      expect([...engine.clusters.values()][0]!.usable.length).toBe(1)
    }
  })

  it('lets no request through under a certificate that the server refuses, though TLS 1.3 lets us send first', async () => {
    const service = await serve()
    const stranger = identityOf(createTestCa('cluster.local'), 'orders')
    stranger.updateBundles(ca.bundles)
    const { dispatcher } = client([service.port], stranger)
    const answer = await call(dispatcher, 'http://payments/', { method: 'POST', body: 'x' })
    expect(answer.status).toBe(503)
    expect(service.requests).toBe(0)
  })

  it('a handshake that hangs ends at the connect timeout, and POST goes elsewhere', async () => {
    const silent = createTcpServer((socket) => void socket.on('error', () => undefined).resume())
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const good = await serve()
    const { dispatcher } = client([(silent.address() as { port: number }).port, good.port], identityOf(ca, 'orders'), {
      cluster: { connectTimeoutMs: 500 },
    })
    const begin = performance.now()
    for (let i = 0; i < 2; i++)
      expect((await call(dispatcher, 'http://payments/', { method: 'POST', body: 'x' })).status).toBe(200)
    expect(performance.now() - begin).toBeLessThan(9_000)
    silent.close()
  })

  it('the endpoint says whether there is TLS; when it changes its mind old connections take no more calls', async () => {
    const { port } = await serve()
    const { dispatcher, apply } = client([port])
    expect((await call(dispatcher, 'http://payments/')).status).toBe(200)
    apply({ payments: { endpoints: [{ port, tlsMode: 'plaintext' }] } })
    expect((await call(dispatcher, 'http://payments/')).status).toBe(503)
    apply({ payments: { endpoints: [asMtls(port)] } })
    expect((await call(dispatcher, 'http://payments/')).status).toBe(200)
    apply({ payments: { endpoints: [asMtls({ port, spiffeId: spiffe(ca, 'somebody-else') })] } })
    expect((await call(dispatcher, 'http://payments/')).status).toBe(503)
  })

  it("the cluster's ids are asked when the endpoint names none", async () => {
    const { port } = await serve()
    const open = { port, spiffeId: null }
    const tls = (allowedIds: string[]) => ({ cluster: { tls: { mode: 'mtls' as const, allowedIds } } })
    const status = async (more: Partial<ServiceSpec>) =>
      (await call(client([open], identityOf(ca, 'orders'), more).dispatcher, 'http://payments/')).status
    expect(await status(tls([]))).toBe(200)
    expect(await status(tls([spiffe(ca, 'x'), payments]))).toBe(200)
    expect(await status(tls([spiffe(ca, 'x')]))).toBe(503)
  })
})

describe('rotation', () => {
  it('of certificates at both ends under load fails no call, and no connection shows an old one', async () => {
    const service = await serve(undefined, (req, res) => res.end(getPeer(req)?.serialNumber))
    const own = identityOf(ca, 'orders')
    const { dispatcher } = client([service.port], own, { retry: { numRetries: 0 } })
    let running = true
    let calls = 0
    const bad: number[] = []
    const worker = async () => {
      while (running) {
        const { status } = await call(
          dispatcher,
          'http://payments/',
          calls++ % 2 === 0 ? {} : { method: 'POST', body: 'x' },
        )
        if (status !== 200) bad.push(status)
      }
    }
    const workers = Array.from({ length: 8 }, worker)
    for (let i = 0; i < 20; i++) {
      await sleep(25)
      if (i % 2 === 0) own.update(issueIdentity(ca, 'orders'))
      else service.identity.update(issueIdentity(ca, 'payments'))
    }
    await sleep(50)
    running = false
    await Promise.all(workers)
    expect(bad).toEqual([])
    expect(calls).toBeGreaterThan(100)
    expect((await call(dispatcher, 'http://payments/')).text).toBe(own.current!.serialNumber)
  })

  it('in the middle of a handshake makes it begin again: no connection shows what is gone', async () => {
    // Without a policy the server leaves the handshake where it is.
    let inbound: Inbound | undefined
    const service = await serve(
      undefined,
      (req, res) => res.end(getPeer(req)?.serialNumber),
      () => inbound,
    )
    const own = identityOf(ca, 'orders')
    const { dispatcher } = client([service.port], own)
    const waiting = call(dispatcher, 'http://payments/')
    await until(() => service.sockets === 1)
    own.update(issueIdentity(ca, 'orders'))
    await until(() => service.sockets === 2)
    inbound = strict
    expect((await waiting).text).toBe(own.current!.serialNumber)
  })

  it('of the root in its order (both trusted, new certificates, old one gone) fails no call', async () => {
    const next = createTestCa('cluster.local')
    const service = await serve()
    const own = identityOf(ca, 'orders')
    const { dispatcher } = client([service.port], own, { retry: { numRetries: 0 } })
    let running = true
    const bad: number[] = []
    const workers = Array.from({ length: 4 }, async () => {
      while (running) {
        const { status } = await call(dispatcher, 'http://payments/', { method: 'POST', body: 'x' })
        if (status !== 200) bad.push(status)
      }
    })
    const both = new Map([['cluster.local', [ca.rootDer, next.rootDer]]])
    const steps = [
      () => service.identity.updateBundles(both),
      () => own.updateBundles(both),
      () => service.identity.update(issueIdentity(next, 'payments')),
      () => own.update(issueIdentity(next, 'orders')),
      // Calls that began before run to their end on the old connections first.
      () => undefined,
      () => service.identity.updateBundles(next.bundles),
      () => own.updateBundles(next.bundles),
    ]
    for (const step of steps) {
      await sleep(40)
      step()
    }
    await sleep(40)
    running = false
    await Promise.all(workers)
    expect(bad).toEqual([])
  })

  it('cuts connections to a server whose anchor left our bundle, also in the middle of an answer', async () => {
    const service = await serve(undefined, (_req, res) => void res.write('begin'))
    const own = identityOf(ca, 'orders')
    const { dispatcher } = client([service.port], own)
    const response = await dispatcher.request({ origin: 'http://payments', path: '/', method: 'GET' })
    await once(response.body, 'readable')
    own.updateBundles(createTestCa('cluster.local').bundles)
    await expect(response.body.text()).rejects.toThrow()
    expect((await call(dispatcher, 'http://payments/')).status).toBe(503)
  })

  it('keeps one connection for many calls, and opens a new one after our own renewal', async () => {
    const service = await serve()
    const own = identityOf(ca, 'orders')
    const { dispatcher } = client([service.port], own)
    for (let i = 0; i < 5; i++) await call(dispatcher, 'http://payments/')
    own.update(issueIdentity(ca, 'orders'))
    for (let i = 0; i < 5; i++) await call(dispatcher, 'http://payments/')
    expect(service.connections).toBe(2)
  })
})

describe('a server that leaves', () => {
  it('costs no call, not even POST, when clients still have connections to it', async () => {
    const leaving = await serve()
    const stays = await serve()
    const { dispatcher } = client([leaving.port, stays.port], undefined, { retry: { numRetries: 2 } })
    let running = true
    const bad: number[] = []
    let calls = 0
    const workers = Array.from({ length: 6 }, async () => {
      while (running) {
        calls++
        const { status } = await call(dispatcher, 'http://payments/', { method: 'POST', body: 'x' })
        if (status !== 200) bad.push(status)
      }
    })
    await sleep(50)
    leaving.server.drain()
    await sleep(50)
    await leaving.server.close()
    await sleep(50)
    running = false
    await Promise.all(workers)
    expect(bad).toEqual([])
    expect(calls).toBe(leaving.requests + stays.requests)
  })
})
