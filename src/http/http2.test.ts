import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createPlain } from 'node:http'
import {
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient, type ServiceSpec } from '../../test/support/mesh-client.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { IdentityState } from '../identity/identity-state.ts'
import { certificatesFromPem } from '../identity/trust-bundle.ts'
import { workloadIdentity } from '../identity/workload-identity.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Peer {
  port: number
  sessions: ServerHttp2Session[]
  open: () => number
}

async function serve(
  handler: (stream: ServerHttp2Stream, headers: Record<string, unknown>) => void,
  server: Http2Server = createServer(),
): Promise<Peer> {
  const sessions: ServerHttp2Session[] = []
  server.on('session', (session) => sessions.push(session))
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    handler(stream, headers)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    sessions,
    open: () => sessions.filter((s) => !s.closed).length,
  }
}

function client(service: ServiceSpec, identity?: IdentityState) {
  const mesh = meshClient(
    { payments: { ...service, cluster: { protocol: 'h2', ...service.cluster } } },
    identity === undefined ? {} : { identity },
  )
  closing.push(() => mesh.close())
  return mesh
}

async function echo(stream: ServerHttp2Stream, headers: Record<string, unknown>): Promise<void> {
  let body = ''
  for await (const chunk of stream) body += String(chunk)
  stream.respond({ ':status': 200, 'x-seen': String(headers[':authority']) })
  stream.end(`${String(headers[':method'])} ${String(headers[':path'])} ${body}`)
}

const ca = createTestCa('cluster.local')
const server = 'spiffe://cluster.local/ns/default/sa/payments'

function identityOf(id: string): IdentityState {
  const leaf = ca.issue(id)
  const identity = new IdentityState({ trustDomain: 'cluster.local' })
  identity.updateBundles(new Map([['cluster.local', certificatesFromPem(ca.rootPem)]]))
  identity.update(workloadIdentity(certificatesFromPem(leaf.certPem), createPrivateKey(leaf.keyPem)))
  return identity
}

describe('a cluster that speaks HTTP/2', () => {
  it('carries many calls at one time on few connections', async () => {
    const waiting: (() => void)[] = []
    const peer = await serve((stream) => {
      waiting.push(() => {
        stream.respond({ ':status': 200 })
        stream.end('late')
      })
      if (waiting.length === 80) for (const answer of waiting) answer()
    })
    const mesh = client({ endpoints: [peer.port] })
    const answers = await Promise.all(Array.from({ length: 80 }, () => call(mesh.dispatcher, 'http://payments/x')))
    expect(answers.every((a) => a.status === 200 && a.text === 'late')).toBe(true)
    expect(peer.sessions).toHaveLength(1)
  })

  it('sends authority, methods and bodies of every kind', async () => {
    const peer = await serve((stream, headers) => void echo(stream, headers))
    const mesh = client({ endpoints: [peer.port] })
    const plain = await call(mesh.dispatcher, 'http://payments/a?b=c', {
      headers: { connection: 'close', te: 'trailers' },
    })
    expect(plain).toMatchObject({ status: 200, text: 'GET /a?b=c ' })
    expect(plain.headers['x-seen']).toBe('payments')
    expect(plain.headers[':status']).toBeUndefined()
    expect((await call(mesh.dispatcher, 'http://payments/p', { method: 'POST', body: 'text' })).text).toBe(
      'POST /p text',
    )
    const stream = Readable.from(['in ', 'parts'])
    expect((await call(mesh.dispatcher, 'http://payments/p', { method: 'PUT', body: stream })).text).toBe(
      'PUT /p in parts',
    )
    expect(peer.sessions).toHaveLength(1)
  })

  it('opens another connection where one is full, within its limit', async () => {
    let most = 0
    let now = 0
    const peer = await serve((stream) => {
      most = Math.max(most, ++now)
      setTimeout(() => {
        now--
        stream.respond({ ':status': 200 })
        stream.end()
      }, 30)
    })
    const mesh = client({ endpoints: [peer.port], limits: { maxConnections: 2 } })
    const answers = await Promise.all(Array.from({ length: 350 }, () => call(mesh.dispatcher, 'http://payments/x')))
    expect(answers.every((a) => a.status === 200)).toBe(true)
    expect(peer.sessions.length).toBe(2)
    expect(most).toBeGreaterThan(100)
    expect(most).toBeLessThanOrEqual(200)
  })

  it('repeats a refused stream, whatever its method: nobody has worked on it', async () => {
    let refusals = 0
    const peer = await serve((stream, headers) => {
      if (refusals++ < 2) stream.close(constants.NGHTTP2_REFUSED_STREAM)
      else void echo(stream, headers)
    })
    const mesh = client({ endpoints: [peer.port], retry: { retryOn: ['refused-stream'] } })
    expect((await call(mesh.dispatcher, 'http://payments/pay', { method: 'POST', body: 'once' })).text).toBe(
      'POST /pay once',
    )
    refusals = 0
    const stream = Readable.from(['once'])
    expect((await call(mesh.dispatcher, 'http://payments/pay', { method: 'POST', body: stream })).text).toBe(
      'POST /pay once',
    )
  })

  it('goes on elsewhere when its peer says goodbye', async () => {
    const peer = await serve((stream, headers) => void echo(stream, headers))
    const mesh = client({ endpoints: [peer.port], retry: {} })
    await call(mesh.dispatcher, 'http://payments/1')
    for (let i = 0; i < 5; i++) {
      peer.sessions.at(-1)!.goaway()
      peer.sessions.at(-1)!.close()
      expect((await call(mesh.dispatcher, 'http://payments/2')).status).toBe(200)
    }
    expect(peer.sessions.length).toBeGreaterThan(1)
  })

  it('is 503 UC, and a POST is not repeated, when the stream is reset after the request', async () => {
    let seen = 0
    const peer = await serve((stream) => {
      seen++
      stream.resume()
      stream.on('end', () => stream.close(constants.NGHTTP2_INTERNAL_ERROR))
    })
    const mesh = client({ endpoints: [peer.port], retry: {} })
    const answer = await call(mesh.dispatcher, 'http://payments/pay', { method: 'POST', body: 'x' })
    expect([answer.status, answer.headers['x-inmesh-response-flags'], seen]).toEqual([503, 'UC', 1])
  })

  it('does not use a connection again that stayed silent for the whole of a try', async () => {
    let silent = true
    const peer = await serve((stream, headers) => {
      if (!silent) void echo(stream, headers)
    })
    const mesh = client({ endpoints: [peer.port], retry: { numRetries: 0, perTryTimeoutMs: 50 } })
    expect((await call(mesh.dispatcher, 'http://payments/1')).status).toBe(504)
    silent = false
    expect((await call(mesh.dispatcher, 'http://payments/2')).status).toBe(200)
    expect((await call(mesh.dispatcher, 'http://payments/3')).status).toBe(200)
  })

  it('speaks it over mutual TLS, or HTTP/1.1 to peers that know no other', async () => {
    const leaf = ca.issue(server)
    const options = { cert: leaf.certPem, key: leaf.keyPem, ca: [ca.rootPem], requestCert: true }
    const modern = await serve(
      (stream, headers) => void echo(stream, headers),
      createSecureServer(options) as unknown as Http2Server,
    )
    const old = createTlsServer(options, (request, response) => response.end(`HTTP/${request.httpVersion}`))
    old.listen(0, '127.0.0.1')
    await once(old, 'listening')
    closing.push(() => old.close())
    const secure = { tlsMode: 'mtls' as const, spiffeId: server }
    const identity = identityOf('spiffe://cluster.local/ns/default/sa/orders')
    const one = client({ endpoints: [{ port: modern.port, ...secure }] }, identity)
    expect((await call(one.dispatcher, 'http://payments/m')).text).toBe('GET /m ')
    const two = client({ endpoints: [{ port: (old.address() as AddressInfo).port, ...secure }] }, identity)
    expect((await call(two.dispatcher, 'http://payments/m')).text).toBe('HTTP/1.1')
  })

  it('can become one at run time, and cease to be', async () => {
    const peer = await serve((stream, headers) => void echo(stream, headers))
    const plain = createPlain((_request, response) => response.end('one'))
    plain.listen(0, '127.0.0.1')
    await once(plain, 'listening')
    closing.push(() => plain.close())
    const mesh = client({ endpoints: [(plain.address() as AddressInfo).port], cluster: { protocol: 'http1' } })
    expect((await call(mesh.dispatcher, 'http://payments/')).text).toBe('one')
    mesh.apply({ payments: { endpoints: [peer.port], cluster: { protocol: 'h2' } } })
    expect((await call(mesh.dispatcher, 'http://payments/')).text).toBe('GET / ')
  })
})
