import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, request } from 'node:http'
import { connect as connectTcp } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import express from 'express'
import Fastify from 'fastify'
import Koa from 'koa'
import { afterEach, describe, expect, it } from 'vitest'
import { identityOf, issueIdentity, rawExchange, spiffe, until } from '../../test/support/mesh-http.ts'
import { createTestCa, type TestCa, type TestLeafOptions } from '../../test/support/test-ca.ts'
import { Inbound } from '../engine/inbound.ts'
import { IdentityState } from '../identity/identity-state.ts'
import { systemClock } from '../model/clock.ts'
import { type InboundSpec, inboundDefaults, type RbacPolicy } from '../model/inbound.ts'
import { callContext, noContext } from '../telemetry/context.ts'
import type { ServerTelemetry } from '../telemetry/server-telemetry.ts'
import { getPeer } from '../transport/peer.ts'
import { createMeshServer, type MeshServer, type MeshServerOptions, wrapServer } from './server.ts'

const ca = createTestCa('cluster.local')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

function policy(tlsMode: InboundSpec['tlsMode'], deny: readonly RbacPolicy[] = []): Inbound {
  return new Inbound({
    ...inboundDefaults,
    name: 'test',
    tlsMode,
    rbac: deny.length === 0 ? [] : [{ filterName: 'rbac', action: 'DENY', policies: deny }],
  })
}

async function start(
  listener: RequestListener,
  tlsMode: InboundSpec['tlsMode'] = 'STRICT',
  more: Partial<MeshServerOptions> = {},
): Promise<{ port: number; server: MeshServer; identity: IdentityState }> {
  const identity = more.identity ?? identityOf(ca, 'payments')
  const inbound = policy(tlsMode)
  const server = createMeshServer(listener, { identity, inbound: () => inbound, clock: systemClock, ...more })
  return { port: await listen(server), server, identity }
}

async function listen(server: MeshServer): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  closing.push(() => server.close({ graceMs: 0 }))
  return (server.address() as { port: number }).port
}

interface Client {
  from?: TestCa
  trust?: TestCa
  as?: string
  leaf?: TestLeafOptions
  certificate?: boolean
  options?: ConnectionOptions
}

/** A bare TLS client that shows what the test wants it to show. */
function tlsClient(
  port: number,
  { from = ca, trust = ca, as = 'orders', leaf, certificate = true, options }: Client = {},
): TLSSocket {
  const { certPem, keyPem } = from.issue(spiffe(from, as), leaf)
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    servername: 'inmesh.internal',
    ca: [trust.rootPem],
    checkServerIdentity: () => undefined,
    ...(certificate ? { cert: certPem, key: keyPem } : {}),
    ...options,
  })
  closing.push(() => socket.destroy())
  return socket
}

/** One request over a socket of its own; the error's code when it fails. */
async function get(port: number, client?: Client, path = '/', headers: Record<string, string> = {}): Promise<string> {
  const socket = client === undefined ? undefined : tlsClient(port, client)
  return new Promise((resolve) => {
    socket?.on('error', (error: NodeJS.ErrnoException) => resolve(`failed: ${error.code}`))
    const outgoing = request(
      { port, host: '127.0.0.1', path, headers, ...(socket === undefined ? {} : { createConnection: () => socket }) },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve(`${response.statusCode} ${text}`.trim()))
      },
    )
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(`failed: ${error.code}`))
    outgoing.end()
  })
}

const whoAmI: RequestListener = (req, res) => res.end(getPeer(req)?.spiffeId ?? 'nobody')

describe('a mesh server', () => {
  it('knows who calls, by certificate', async () => {
    const { port } = await start(whoAmI)
    expect(await get(port, {})).toBe('200 spiffe://cluster.local/ns/default/sa/orders')
  })

  it('STRICT: plaintext is cut before a byte reaches the app', async () => {
    let seen = 0
    const { port } = await start((_req, res) => {
      seen++
      res.end()
    })
    const answer = await rawExchange(port, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    expect(answer.text).toBe('')
    expect(answer.end).toBe('closed')
    expect(seen).toBe(0)
  })

  it('PERMISSIVE: serves both on one port, and plaintext has no peer', async () => {
    const { port } = await start(whoAmI, 'PERMISSIVE')
    expect(await get(port)).toBe('200 nobody')
    expect(await get(port, {})).toBe('200 spiffe://cluster.local/ns/default/sa/orders')
  })

  it('DISABLE: serves plaintext and refuses TLS', async () => {
    const { port } = await start(whoAmI, 'DISABLE')
    expect(await get(port)).toBe('200 nobody')
    expect(await get(port, {})).toMatch(/^failed/)
  })

  it.each<[string, Client]>([
    ['without a certificate', { certificate: false }],
    ['with a certificate of another authority', { from: createTestCa('cluster.local') }],
    ['with a certificate of a trust domain it does not know', { from: createTestCa('evil.example') }],
    ['with an expired certificate', { leaf: { notBefore: -7_200_000, notAfter: -3_600_000 } }],
    ['with a certificate that is not valid yet', { leaf: { notBefore: 3_600_000, notAfter: 7_200_000 } }],
    ['with two URI names', { leaf: { uris: [spiffe(ca, 'orders'), spiffe(ca, 'admin')] } }],
    ['with no URI name', { leaf: { uris: [], dns: ['orders'] } }],
    ['with a CA certificate', { leaf: { ca: true } }],
    ['with a certificate for servers only', { leaf: { eku: ['serverAuth'] } }],
    ['over TLS 1.2', { options: { maxVersion: 'TLSv1.2' } }],
  ])('refuses a peer %s', async (_name, client) => {
    let seen = 0
    const { port } = await start((_req, res) => {
      seen++
      res.end()
    })
    expect(await get(port, client)).toMatch(/^failed/)
    expect(seen).toBe(0)
    expect(await get(port, {})).toMatch(/^200/)
  })

  it('never resumes a TLS session', async () => {
    const { port } = await start(whoAmI)
    const first = tlsClient(port)
    const sessions: Buffer[] = []
    first.on('session', (session) => sessions.push(session))
    await once(first, 'secureConnect')
    first.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await once(first, 'data')
    const session = sessions.at(-1) ?? first.getSession()
    const second = tlsClient(port, { options: session === undefined ? {} : { session } })
    await once(second, 'secureConnect')
    expect(second.isSessionReused()).toBe(false)
  })

  it('hides TLS from frameworks, unless told to show it', async () => {
    const listener: RequestListener = (req, res) => res.end(String('encrypted' in req.socket && req.socket.encrypted))
    expect(await get((await start(listener)).port, {})).toBe('200 undefined')
    expect(await get((await start(listener, 'STRICT', { showTls: true })).port, {})).toBe('200 true')
  })

  it.each([
    ['random bytes', Buffer.from([0, 1, 2, 3, 250, 251])],
    ['a TLS record that is no handshake', Buffer.from('160301000a00112233445566778899', 'hex')],
    ['a ClientHello that breaks off', Buffer.from('1603010200010001fc0303', 'hex')],
    ['a half request line', Buffer.from('GE')],
  ])('survives %s', async (_name, bytes) => {
    const { port } = await start(whoAmI, 'PERMISSIVE')
    await rawExchange(port, bytes, 100)
    expect(await get(port, {})).toMatch(/^200/)
  })

  it('survives a peer that resets in the middle of a handshake', async () => {
    const { port } = await start(whoAmI)
    const socket = connectTcp(port, '127.0.0.1')
    await once(socket, 'connect')
    socket.write(Buffer.from('1603010200010001fc0303', 'hex'))
    socket.resetAndDestroy()
    expect(await get(port, {})).toMatch(/^200/)
  })

  it('reads a request that comes byte by byte', async () => {
    const { port } = await start(whoAmI, 'PERMISSIVE')
    const socket = connectTcp({ port, host: '127.0.0.1', noDelay: true })
    for (const byte of 'GET / HTTP/1.1\r\nhost: x\r\n\r\n') {
      socket.write(byte)
      await new Promise(setImmediate)
    }
    const [data] = (await once(socket, 'data')) as [Buffer]
    expect(data.toString()).toContain('200 OK')
    socket.destroy()
  })

  it('waits for certificate and policy before it decides about a connection', async () => {
    const identity = new IdentityState({ trustDomain: ca.trustDomain })
    let inbound: Inbound | undefined
    const { port } = await start(whoAmI, 'STRICT', { identity, inbound: () => inbound })
    const overTls = get(port, {})
    const plain = get(port)
    await new Promise((resolve) => setTimeout(resolve, 60))
    inbound = policy('STRICT')
    expect(await plain).toMatch(/^failed/)
    identity.updateBundles(ca.bundles)
    identity.update(issueIdentity(ca, 'payments'))
    expect(await overTls).toMatch(/^200/)
  })

  it('drops a connection when certificate or policy do not come', async () => {
    const { port } = await start(whoAmI, 'STRICT', { inbound: () => undefined, holdTimeoutMs: 50 })
    expect(await get(port, {})).toMatch(/^failed/)
    expect(await get(port)).toMatch(/^failed/)
  })

  it('drops connections beyond those that may wait', async () => {
    const { port } = await start(whoAmI, 'STRICT', { inbound: () => undefined, maxHeld: 1 })
    const first = connectTcp(port, '127.0.0.1')
    first.write('GET')
    const second = await rawExchange(port, 'GET / HTTP/1.1\r\n\r\n')
    expect(second.end).toBe('closed')
    first.destroy()
  })

  it('shows a new certificate to new connections and keeps the open ones', async () => {
    const { port, identity } = await start(whoAmI)
    const open = tlsClient(port)
    await once(open, 'secureConnect')
    const before = open.getPeerX509Certificate()!.serialNumber
    identity.update(issueIdentity(ca, 'payments'))
    const withName = tlsClient(port)
    await once(withName, 'secureConnect')
    const withoutName = tlsClient(port, { options: { servername: '' } })
    await once(withoutName, 'secureConnect')
    const after = [withName, withoutName].map((s) => s.getPeerX509Certificate()!.serialNumber)
    expect(after).toEqual([identity.current!.serialNumber.toUpperCase(), identity.current!.serialNumber.toUpperCase()])
    expect(before).not.toBe(after[0])
    open.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    expect(String((await once(open, 'data'))[0])).toContain('200 OK')
  })

  it('cuts connections at the end of the peer certificate', async () => {
    const { port } = await start(whoAmI)
    const socket = tlsClient(port, { leaf: { notAfter: 2_500 } })
    socket.on('error', () => undefined)
    await once(socket, 'secureConnect')
    const begin = performance.now()
    await once(socket, 'close')
    expect(performance.now() - begin).toBeLessThan(12_000)
  })

  it('cuts connections whose anchor left the bundle, at once, and keeps the others', async () => {
    const other = createTestCa('cluster.local')
    const identity = identityOf(ca, 'payments')
    identity.updateBundles(new Map([['cluster.local', [ca.rootDer, other.rootDer]]]))
    const { port } = await start(whoAmI, 'STRICT', { identity })
    const gone = tlsClient(port, { from: other })
    const stays = tlsClient(port)
    await Promise.all([once(gone, 'secureConnect'), once(stays, 'secureConnect')])
    gone.on('error', () => undefined)
    // Both must have been accepted by the server too.
    for (const socket of [gone, stays]) {
      socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
      await once(socket, 'data')
    }
    const closed = once(gone, 'close')
    identity.updateBundles(ca.bundles)
    await closed
    stays.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    expect(String((await once(stays, 'data'))[0])).toContain('200 OK')
    expect(await get(port, { from: other })).toMatch(/^failed/)
  })
})

describe('what a mesh server does to requests', () => {
  const headers: RequestListener = (req, res) =>
    res.end(JSON.stringify({ url: req.url, headers: req.headers, raw: req.rawHeaders, distinct: req.headersDistinct }))
  const plain = (port: number, text: string) => rawExchange(port, text.replaceAll('\n', '\r\n'))
  const body = (answer: { text: string }) =>
    JSON.parse(answer.text.slice(answer.text.indexOf('{'), answer.text.lastIndexOf('}') + 1))

  it('refuses what could be read in two ways', async () => {
    const { port } = await start(headers, 'PERMISSIVE')
    const refused: [string, number][] = [
      ['GET / HTTP/1.1\nhost: a\nhost: b\nconnection: close\n\n', 400],
      ['GET / HTTP/1.1\nhost: a\nHost: a\nconnection: close\n\n', 400],
      ['GET / HTTP/1.1\nconnection: close\n\n', 400],
      ['GET / HTTP/1.0\n\n', 400],
      ['GET / HTTP/1.1\nhost:\nconnection: close\n\n', 400],
      ['GET / HTTP/1.1\nhost:\nhost: a\nconnection: close\n\n', 400],
      ['POST / HTTP/1.0\nhost: a\ntransfer-encoding: chunked\n\n0\n\n', 400],
      ['GET * HTTP/1.1\nhost: a\nconnection: close\n\n', 400],
      ['GET ftp://a/ HTTP/1.1\nhost: a\nconnection: close\n\n', 400],
      ['get / HTTP/1.1\nhost: a\n\n', 400],
      [`GET / HTTP/1.1\nhost: a\nconnection: close\n${'x: y\n'.repeat(150)}\n`, 431],
    ]
    for (const [text, status] of refused) expect((await plain(port, text)).text.slice(9, 12), text).toBe(String(status))
  })

  it('takes path and host from a target in absolute form', async () => {
    const { port } = await start(headers, 'PERMISSIVE')
    const seen = body(await plain(port, 'GET http://shop/a?b=c HTTP/1.1\nhost: other\nconnection: close\n\n'))
    expect(seen.url).toBe('/a?b=c')
    expect(seen.headers.host).toBe('shop')
    expect(seen.distinct.host).toEqual(['shop'])
    const bare = body(await plain(port, 'GET http://shop?x HTTP/1.1\nhost: other\nconnection: close\n\n'))
    expect(bare.url).toBe('/?x')
  })

  it('strips what only the mesh may say', async () => {
    const { port } = await start(headers, 'PERMISSIVE')
    const evil = [
      'X-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/default/sa/admin',
      'x-inmesh-peer: admin',
      'X-Envoy-Internal: true',
      'x-envoy-original-path: /admin',
      'x-istio-attributes: x',
      'x-forwarded-for: 1.2.3.4',
    ]
    const seen = body(
      await plain(port, `GET / HTTP/1.1\nhost: a\n${evil.join('\n')}\nconnection: close\nx-last: 1\n\n`),
    )
    expect(Object.keys(seen.headers)).toEqual(['host', 'x-forwarded-for', 'connection', 'x-last'])
    expect(Object.keys(seen.distinct)).toEqual(['host', 'x-forwarded-for', 'connection', 'x-last'])
    expect(seen.raw).toEqual(['host', 'a', 'x-forwarded-for', '1.2.3.4', 'connection', 'close', 'x-last', '1'])
  })

  it('answers 403 in the place of the app when policy denies, on upgrades too', async () => {
    let seen = 0
    const identity = identityOf(ca, 'payments')
    const inbound = policy('PERMISSIVE', [
      {
        name: 'all',
        permissions: [{ kind: 'path', match: { kind: 'prefix', value: '/admin', ignoreCase: false } }],
        principals: [{ kind: 'any' }],
      },
    ])
    const server = createMeshServer(
      (_req, res) => {
        seen++
        res.end('app')
      },
      { identity, inbound: () => inbound, clock: systemClock },
    )
    server.server.on('upgrade', (_req, socket) => {
      seen++
      socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n')
    })
    const port = await listen(server)
    expect(await get(port, {}, '/admin')).toMatch(/^403/)
    expect(await get(port, undefined, '/admin')).toMatch(/^403/)
    const upgrade = (path: string) =>
      plain(port, `GET ${path} HTTP/1.1\nhost: a\nconnection: upgrade\nupgrade: websocket\n\n`)
    expect((await upgrade('/admin/ws')).text).toMatch(/^HTTP\/1.1 403 /)
    expect(seen).toBe(0)
    expect((await upgrade('/ws')).text).toMatch(/^HTTP\/1.1 101 /)
    expect(await get(port, {}, '/')).toBe('200 app')
    expect(seen).toBe(2)
  })

  it('follows a policy that changes, on open connections', async () => {
    let inbound = policy('PERMISSIVE')
    const { port } = await start(whoAmI, 'PERMISSIVE', { inbound: () => inbound })
    const socket = connectTcp(port, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    expect(String((await once(socket, 'data'))[0])).toContain('200 OK')
    inbound = policy('STRICT')
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    expect(String((await once(socket, 'data'))[0])).toContain('403 Forbidden')
    socket.destroy()
  })
})

describe('telemetry of a mesh server', () => {
  it('hears of each request once, with its end, and gives the handler its trace', async () => {
    const ended: string[] = []
    const telemetry: ServerTelemetry = {
      start: (head) => ({
        ...noContext,
        requestId: `id of ${head.path} from ${head.peer?.serviceAccount ?? 'nobody'}`,
      }),
      run: (seen, handler, a, b) => callContext.run(seen, handler, a, b),
      end: (seen, status, flags) => void ended.push(`${seen.requestId}: ${status} ${flags}`),
    }
    const { port } = await start(
      (req, res) => {
        const carried = callContext.getStore()?.requestId
        if (req.url === '/throw') res.destroy()
        else res.end(`${req.headers['x-request-id']} = ${carried}`)
      },
      'PERMISSIVE',
      { telemetry },
    )
    expect(await get(port, {}, '/a', { 'x-request-id': 'forged' })).toBe(
      '200 id of /a from orders = id of /a from orders',
    )
    expect(await get(port, undefined, '/throw')).toMatch(/^failed/)
    expect(await get(port, undefined, '/%00')).toMatch(/^400/)
    await until(() => ended.length === 3)
    expect(ended).toEqual([
      'id of /a from orders: 200 ',
      'id of /throw from nobody: 0 ',
      'id of /%00 from nobody: 400 -',
    ])
  })
})

describe('a mesh server that ends', () => {
  it('asks clients to close, serves what is under way, refuses the rest with a mark', async () => {
    const release: (() => void)[] = []
    const { port, server } = await start((_req, res) => release.push(() => res.end('done')), 'PERMISSIVE')
    const busy = connectTcp(port, '127.0.0.1')
    const idle = connectTcp(port, '127.0.0.1')
    const ask = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'
    idle.write(ask)
    await until(() => release.length === 1)
    release[0]!()
    expect(String((await once(idle, 'data'))[0])).toMatch(/connection: keep-alive/i)
    busy.write(ask)
    await until(() => release.length === 2)
    server.drain()
    const closed = server.close()
    idle.write(ask)
    const late = String((await once(idle, 'data'))[0])
    expect(late).toContain('503')
    expect(late).toContain('x-inmesh-not-started: 1')
    release[1]!()
    expect(String((await once(busy, 'data'))[0])).toMatch(/200 OK[\s\S]*connection: close/i)
    await closed
  })

  it('asks clients to close bit by bit, each in the end', async () => {
    let now = 1_000
    const { port, server } = await start(whoAmI, 'PERMISSIVE', { clock: { now: () => now } })
    const keepsAlive = async () => {
      const socket = connectTcp(port, '127.0.0.1')
      socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      const [answer] = await once(socket, 'data')
      socket.destroy()
      return /connection: keep-alive/i.test(String(answer))
    }
    server.drain(1_000)
    let kept = 0
    for (let i = 0; i < 20; i++) if (await keepsAlive()) kept++
    expect(kept).toBe(20)
    now += 500
    kept = 0
    for (let i = 0; i < 60; i++) if (await keepsAlive()) kept++
    expect(kept).toBeGreaterThan(5)
    expect(kept).toBeLessThan(55)
    now += 500
    expect(await keepsAlive()).toBe(false)
  })

  it('cuts what is still under way after the grace', async () => {
    let arrived = 0
    const { port, server } = await start(() => arrived++, 'PERMISSIVE')
    const stuck = get(port)
    await until(() => arrived === 1)
    await server.close({ graceMs: 30 })
    expect(await stuck).toMatch(/^failed/)
  })

  it('says how long it keeps idle connections, a minute', async () => {
    const { port } = await start(whoAmI, 'PERMISSIVE')
    const answer = await rawExchange(port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n', 100)
    expect(answer.text).toMatch(/keep-alive: timeout=60/i)
  })
})

describe('frameworks behind a mesh server', () => {
  const caller = 'spiffe://cluster.local/ns/default/sa/orders'

  it('Express', async () => {
    const app = express()
    app.get('/who', (req, res) => void res.json([getPeer(req)?.spiffeId, req.protocol, req.hostname]))
    const { port } = await start(app)
    expect(await get(port, {}, '/who', { host: 'payments' })).toBe(
      `200 ${JSON.stringify([caller, 'http', 'payments'])}`,
    )
  })

  it('Koa', async () => {
    const app = new Koa()
    app.use((ctx) => {
      ctx.body = [getPeer(ctx.req)?.spiffeId, ctx.protocol, ctx.hostname]
    })
    const { port } = await start(app.callback())
    expect(await get(port, {}, '/who', { host: 'payments' })).toBe(
      `200 ${JSON.stringify([caller, 'http', 'payments'])}`,
    )
  })

  it('Fastify, which makes its own server', async () => {
    const identity = identityOf(ca, 'payments')
    const inbound = policy('STRICT')
    let mesh: MeshServer | undefined
    const app = Fastify({
      serverFactory: (handler) => {
        mesh = wrapServer(createServer(handler), { identity, inbound: () => inbound, clock: systemClock })
        return mesh.server
      },
    })
    app.get('/who', async (req) => [getPeer(req.raw as IncomingMessage)?.spiffeId, req.protocol, req.hostname])
    await app.listen({ port: 0, host: '127.0.0.1' })
    closing.push(() => mesh!.close({ graceMs: 0 }))
    const { port } = mesh!.address() as { port: number }
    expect(await get(port, {}, '/who', { host: 'payments' })).toBe(
      `200 ${JSON.stringify([caller, 'http', 'payments'])}`,
    )
  })
})
