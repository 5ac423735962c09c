import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { type FaultProxy, startFaultProxy } from '../../test/support/fault-proxy.ts'
import { call, meshClient, type ServiceSpec, type TestClient } from '../../test/support/mesh-client.ts'
import { until } from '../../test/support/mesh-http.ts'
import { freePorts } from '../../test/support/ports.ts'
import type { Attempt } from '../engine/attempt.ts'
import type { CallEvents } from '../engine/events.ts'
import { Kind } from '../engine/outcome.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Counting {
  port: number
  /** method and body of what reached the listener. */
  seen: string[]
}

/** A server that answers every request with 200 after it has read it whole, and remembers it. */
async function counting(listener?: RequestListener): Promise<Counting> {
  const seen: string[] = []
  const server = createServer(async (req, res) => {
    const body = await bodyOf(req)
    seen.push(`${req.method} ${body}`.trim())
    if (listener === undefined) res.end('ok')
    else listener(req, res)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return { port: (server.address() as { port: number }).port, seen }
}

async function bodyOf(req: IncomingMessage): Promise<string> {
  let text = ''
  try {
    for await (const chunk of req) text += chunk
  } catch {
    text += ' (broken off)'
  }
  return text
}

async function proxyTo(port: number): Promise<FaultProxy> {
  const proxy = await startFaultProxy(port)
  closing.push(() => proxy.close())
  return proxy
}

function client(endpoints: ServiceSpec['endpoints'], more: Partial<ServiceSpec> = {}, events?: CallEvents): TestClient {
  const made = meshClient({ payments: { endpoints, retry: {}, ...more } }, events === undefined ? {} : { events })
  closing.push(() => made.close())
  return made
}

/** Remembers how attempts ended. */
function outcomes(): { events: CallEvents; ended: Attempt[] } {
  const ended: Attempt[] = []
  return {
    ended,
    events: { callStart() {}, attemptStart() {}, attemptEnd: (attempt) => ended.push(attempt), callEnd() {} },
  }
}

const post = { method: 'POST', body: 'charge 42' } as const

describe('a connection that cannot be made', () => {
  it('costs no call while there is another host, whatever the method', async () => {
    const [dead] = await freePorts(1)
    const good = await counting()
    const { dispatcher } = client([dead!, good.port])
    for (let i = 0; i < 10; i++) {
      expect((await call(dispatcher, 'http://payments/', post)).status).toBe(200)
      expect(
        (await call(dispatcher, 'http://payments/', { method: 'POST', body: Readable.from(['a', 'b']) })).status,
      ).toBe(200)
    }
    expect(good.seen.length).toBe(20)
    expect(good.seen.at(-1)).toBe('POST ab')
  })

  it('is a 503 UF with the reason when there is no other', async () => {
    const [dead] = await freePorts(1)
    const { dispatcher } = client([dead!], { retry: { numRetries: 0 } })
    const answer = await call(dispatcher, 'http://payments/')
    expect(answer.status).toBe(503)
    expect(answer.headers['x-inmesh-response-flags']).toBe('UF')
    expect(answer.headers['x-inmesh-response-details']).toBe(
      'upstream_reset_before_response_started{connection_failure|ECONNREFUSED}',
    )
    expect(answer.text).toContain('ECONNREFUSED')
  })

  it('fails all who wait for it, and a later call tries anew', async () => {
    const [port] = await freePorts(1)
    const { dispatcher } = client([port!], { retry: { numRetries: 0 }, limits: { maxConnections: 1 } })
    const refused = await Promise.all(Array.from({ length: 5 }, () => call(dispatcher, 'http://payments/')))
    expect(refused.map((a) => a.status)).toEqual([503, 503, 503, 503, 503])
    const server = createServer((_req, res) => res.end('back'))
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    expect((await call(dispatcher, 'http://payments/')).text).toBe('back')
  })
})

describe('a connection that breaks after the request was sent', () => {
  it.each(['reset', 'close'] as const)('%s: GET is sent again, POST never', async (how) => {
    const good = await counting()
    const proxy = await proxyTo(good.port)
    proxy.plan = (index) => (index % 2 === 0 ? { response: { afterBytes: 0, action: how } } : {})
    const { dispatcher } = client([proxy.port])
    expect((await call(dispatcher, 'http://payments/')).status).toBe(200)
    expect(good.seen).toEqual(['GET', 'GET'])
    good.seen.length = 0
    // A new connection, by a new client: the odd one is next.
    const second = client([proxy.port])
    proxy.plan = () => ({ response: { afterBytes: 0, action: how } })
    const answer = await call(second.dispatcher, 'http://payments/', post)
    expect(answer.status).toBe(503)
    expect(answer.headers['x-inmesh-response-flags']).toBe('UC')
    expect(good.seen).toEqual(['POST charge 42'])
  })

  it('POST with an Idempotency-Key is sent again', async () => {
    const good = await counting()
    const proxy = await proxyTo(good.port)
    proxy.plan = (index) => (index === 0 ? { response: { afterBytes: 0, action: 'reset' } } : {})
    const { dispatcher } = client([proxy.port])
    const answer = await call(dispatcher, 'http://payments/', { ...post, headers: { 'Idempotency-Key': 'abc' } })
    expect(answer.status).toBe(200)
    expect(good.seen.length).toBe(2)
  })

  it('a streamed body goes again whole while it is small, and not when it is not', async () => {
    const good = await counting()
    const proxy = await proxyTo(good.port)
    proxy.plan = (index) => (index === 0 ? { request: { afterBytes: 150, action: 'reset' } } : {})
    const put = (parts: string[]) => ({ method: 'PUT', body: Readable.from(parts) }) as const
    const small = client([proxy.port])
    const parts = Array.from({ length: 20 }, (_, i) => `part ${i} `)
    expect((await call(small.dispatcher, 'http://payments/', put(parts))).status).toBe(200)
    expect(good.seen.at(-1)).toBe(`PUT ${parts.join('')}`.trim())
    const large = client([proxy.port])
    const at = proxy.accepted
    proxy.plan = (index) => (index === at ? { request: { afterBytes: 200_000, action: 'reset' } } : {})
    const before = good.seen.filter((s) => !s.includes('broken')).length
    const big = Array.from({ length: 40 }, () => 'x'.repeat(10_000))
    expect((await call(large.dispatcher, 'http://payments/', put(big))).status).toBe(503)
    await sleep(20)
    expect(good.seen.filter((s) => !s.includes('broken')).length).toBe(before)
  })

  it('a refused handshake of the server is not a lost POST but a failed connection', async () => {
    // Reset before anything was read is all that TCP can say; only the never-sent case is safe.
    const good = await counting()
    const proxy = await proxyTo(good.port)
    proxy.plan = (index) => (index === 0 ? { refuse: true } : {})
    const { dispatcher } = client([proxy.port])
    const answer = await call(dispatcher, 'http://payments/', post)
    // Either the reset came before the request was written, then it went again, or after, then it did not.
    expect([200, 503]).toContain(answer.status)
    expect(good.seen.length).toBe(answer.status === 200 ? 1 : 0)
  })
})

describe('answers', () => {
  it('503 is tried again elsewhere, POST only when the server says that it did not begin', async () => {
    let mark = false
    const bad = await counting((_req, res) => {
      if (mark) res.setHeader('x-inmesh-not-started', '1')
      res.writeHead(503).end('no')
    })
    const good = await counting()
    const { dispatcher } = client([bad.port, good.port], { retry: { statusCodes: [503] } })
    for (let i = 0; i < 4; i++) expect((await call(dispatcher, 'http://payments/')).status).toBe(200)
    const statuses: number[] = []
    for (let i = 0; i < 4; i++) statuses.push((await call(dispatcher, 'http://payments/', post)).status)
    expect(statuses.sort()).toEqual([200, 200, 503, 503])
    mark = true
    for (let i = 0; i < 4; i++) expect((await call(dispatcher, 'http://payments/', post)).status).toBe(200)
  })

  it('that are dropped for another try leave their connection usable, unless they are long', async () => {
    let connections = 0
    let first = true
    const server = createServer((req, res) => {
      if (!first) return void res.end('ok')
      first = false
      res.writeHead(503)
      res.end('x'.repeat(req.url === '/long' ? 1_000_000 : 1_000))
    })
    server.on('connection', () => connections++)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const { port } = server.address() as { port: number }
    const { dispatcher } = client([port], { retry: { statusCodes: [503], baseIntervalMs: 40, maxIntervalMs: 40 } })
    expect((await call(dispatcher, 'http://payments/short')).text).toBe('ok')
    for (let i = 0; i < 5; i++) await call(dispatcher, 'http://payments/short')
    const afterShort = connections
    expect(afterShort).toBeLessThanOrEqual(2)
    first = true
    expect((await call(dispatcher, 'http://payments/long')).text).toBe('ok')
  })

  it('whose body breaks off are errors, never short', async () => {
    const bodies: Record<string, (socket: Socket) => void> = {
      'content-length': (s) => s.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort'),
      chunked: (s) => s.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n'),
      'chunked, in a chunk': (s) => s.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nshort'),
      reset: (s) => {
        s.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort')
        setTimeout(() => s.resetAndDestroy(), 10)
      },
      'connection: close and content-length': (s) =>
        s.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nshort'),
    }
    for (const [name, answer] of Object.entries(bodies)) {
      const server = createTcpServer(
        (socket) => void socket.on('error', () => undefined).once('data', () => answer(socket)),
      )
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      closing.push(() => server.close())
      const { ended, events } = outcomes()
      const { dispatcher } = client([(server.address() as { port: number }).port], {}, events)
      const response = await dispatcher.request({ origin: 'http://payments', path: '/', method: 'GET' })
      expect(response.statusCode, name).toBe(200)
      await expect(response.body.text(), name).rejects.toThrow()
      expect(
        ended.map((a) => a.kind),
        name,
      ).toEqual([Kind.Reset])
    }
  })

  it('that are no HTTP are a 502 UPE', async () => {
    const server = createTcpServer(
      (socket) => void socket.on('error', () => undefined).once('data', () => socket.end('SSH-2.0-OpenSSH\r\n')),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const { dispatcher } = client([(server.address() as { port: number }).port], { retry: { numRetries: 0 } })
    const answer = await call(dispatcher, 'http://payments/')
    expect(answer.status).toBe(502)
    expect(answer.headers['x-inmesh-response-flags']).toBe('UPE')
  })
})

describe('a host that accepts and never answers', () => {
  async function silent(): Promise<{ port: number; open: () => number }> {
    const sockets = new Set<Socket>()
    const server = createTcpServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
      socket.resume()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    return { port: (server.address() as { port: number }).port, open: () => sockets.size }
  }

  it('is a 504 UT at the deadline, and its connection is closed', async () => {
    const host = await silent()
    const { dispatcher } = client([host.port], { route: { timeoutMs: 100 } })
    const begin = performance.now()
    const answer = await call(dispatcher, 'http://payments/')
    const took = performance.now() - begin
    expect(answer.status).toBe(504)
    expect(answer.headers['x-inmesh-response-flags']).toContain('UT')
    expect(took).toBeGreaterThan(95)
    expect(took).toBeLessThan(10_000)
    await until(() => host.open() === 0)
  })

  it('costs one per-try timeout, then another host answers', async () => {
    const host = await silent()
    const good = await counting()
    const { dispatcher } = client([host.port, good.port], { retry: { perTryTimeoutMs: 500 } })
    for (let i = 0; i < 4; i++) {
      const begin = performance.now()
      expect((await call(dispatcher, 'http://payments/')).status).toBe(200)
      expect(performance.now() - begin).toBeLessThan(10_000)
    }
    await until(() => host.open() === 0)
  })

  it('a POST that it may have read is not sent to another', async () => {
    const host = await silent()
    const good = await counting()
    const { dispatcher } = client([host.port, good.port], { retry: { perTryTimeoutMs: 500 } })
    const statuses = []
    for (let i = 0; i < 4; i++) statuses.push((await call(dispatcher, 'http://payments/', post)).status)
    expect(statuses.sort()).toEqual([200, 200, 504, 504])
    expect(good.seen.length).toBe(2)
  })
})

describe('kept connections', () => {
  it('that a server closes as the next request leaves: no GET fails, no POST runs twice', async () => {
    const seen = new Map<string, number>()
    const server = createServer((req, res) => {
      seen.set(req.url!, (seen.get(req.url!) ?? 0) + 1)
      res.end('ok')
    })
    // Closes without having said so.
    server.keepAliveTimeout = 0
    server.on('connection', (socket) => {
      socket.on('data', () => setTimeout(() => socket.end(), 3))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const { dispatcher } = client([(server.address() as { port: number }).port])
    const failed: string[] = []
    for (let i = 0; i < 150; i++) {
      const method = i % 2 === 0 ? 'GET' : 'POST'
      const { status } = await call(dispatcher, `http://payments/${i}`, method === 'GET' ? {} : post)
      if (status !== 200) failed.push(`${method} ${i} ${status}`)
      await sleep(2 + (i % 3))
    }
    expect(failed.filter((f) => f.startsWith('GET'))).toEqual([])
    for (let i = 1; i < 150; i += 2) expect(seen.get(`/${i}`) ?? 0, `POST ${i}`).toBeLessThanOrEqual(1)
  })

  it('are given up before the server that says how long it keeps them', async () => {
    let connections = 0
    const server = createServer((_req, res) => res.end('ok'))
    server.on('connection', () => connections++)
    server.keepAliveTimeout = 2_100
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const { dispatcher } = client([(server.address() as { port: number }).port])
    await call(dispatcher, 'http://payments/')
    await sleep(400)
    await call(dispatcher, 'http://payments/')
    expect(connections).toBe(2)
  })

  it('end after the allowed number of requests', async () => {
    let connections = 0
    const server = createServer((_req, res) => res.end('ok'))
    server.on('connection', () => connections++)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const { dispatcher } = client([(server.address() as { port: number }).port], {
      limits: { maxRequestsPerConnection: 3 },
    })
    for (let i = 0; i < 9; i++) expect((await call(dispatcher, 'http://payments/')).status).toBe(200)
    expect(connections).toBe(3)
  })

  it('are never more than allowed over all hosts, but for one each', async () => {
    let open = 0
    let most = 0
    const ports: number[] = []
    for (let i = 0; i < 2; i++) {
      const server = createServer((_req, res) => void setTimeout(() => res.end('ok'), 5))
      server.on('connection', (socket) => {
        most = Math.max(most, ++open)
        socket.on('close', () => open--)
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      closing.push(() => server.close())
      ports.push((server.address() as { port: number }).port)
    }
    const { dispatcher } = client(ports, { limits: { maxConnections: 4 } })
    const answers = await Promise.all(Array.from({ length: 40 }, () => call(dispatcher, 'http://payments/')))
    expect(answers.every((a) => a.status === 200)).toBe(true)
    expect(most).toBe(4)
  })
})

describe('endpoints that come and go under load', () => {
  it('cost no call', async () => {
    const hosts = await Promise.all(
      [0, 1, 2, 3].map(() => counting((_req, res) => void setTimeout(() => res.end('ok'), Math.random() * 4))),
    )
    const made = client([hosts[0]!.port])
    let running = true
    let calls = 0
    const bad: number[] = []
    const worker = async () => {
      while (running) {
        const { status } = await call(made.dispatcher, 'http://payments/', calls++ % 2 === 0 ? {} : post)
        if (status !== 200) bad.push(status)
      }
    }
    const workers = Array.from({ length: 8 }, worker)
    for (let i = 0; i < 60; i++) {
      const endpoints = hosts.filter((_, n) => (i + n) % 3 !== 0).map((h) => h.port)
      made.apply({ payments: { endpoints, retry: { numRetries: 0 } } })
      await sleep(8)
    }
    running = false
    await Promise.all(workers)
    expect(bad).toEqual([])
    expect(calls).toBeGreaterThan(100)
  })
})
