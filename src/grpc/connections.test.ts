import { constants, type ServerHttp2Stream } from 'node:http2'
import { connect as connectTcp, createServer as createTcpServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { ServerCredentials, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import {
  type GrpcTestClient,
  grpcClient,
  type RawHandlers,
  type RawServer,
  serveRaw,
  unary,
} from '../../test/support/grpc-client.ts'
import { answer, type H2Server, serveH2 as serveH2Raw } from '../../test/support/grpc-h2.ts'
import type { ServiceSpec } from '../../test/support/mesh-client.ts'
import { identityOf, issueIdentity, spiffe, until } from '../../test/support/mesh-http.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { loadOf } from '../transport/cluster-load.ts'
import type { GrpcDispatcherOptions } from './dispatcher.ts'
import type { GrpcHostLink } from './host-link.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function serve(...args: Parameters<typeof serveRaw>): Promise<RawServer> {
  const server = await serveRaw(...args)
  closing.push(() => server.close())
  return server
}

async function serveH2(...args: Parameters<typeof serveH2Raw>): Promise<H2Server> {
  const server = await serveH2Raw(...args)
  closing.push(() => server.close())
  return server
}

function mesh(service: ServiceSpec, options: Partial<GrpcDispatcherOptions> = {}): GrpcTestClient {
  const made = grpcClient({ payments: service }, options)
  closing.push(() => made.close())
  return made
}

/** Gives clients what the server sends every 20 ms, in one piece. */
async function batchingProxy(port: number): Promise<number> {
  const server = createTcpServer((client) => {
    const upstream = connectTcp(port, '127.0.0.1')
    let pieces: Buffer[] = []
    const timer = setInterval(() => {
      if (pieces.length > 0) client.write(Buffer.concat(pieces))
      pieces = []
    }, 20)
    upstream.on('data', (piece: Buffer) => pieces.push(piece))
    client.pipe(upstream)
    for (const socket of [client, upstream])
      socket
        .on('error', () => undefined)
        .on('close', () => {
          clearInterval(timer)
          client.destroy()
          upstream.destroy()
        })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => server.close())
  return (server.address() as { port: number }).port
}

const clusterOf = (made: GrpcTestClient) => made.engine.clusters.values().next().value!

describe('connections', () => {
  it('one carries more than a thousand calls at a time', async () => {
    const waiting: (() => void)[] = []
    const { port } = await serve({ unary: (call, done) => void waiting.push(() => done(null, call.request)) })
    const made = mesh({ endpoints: [port] })
    const client = made.client()
    const calls = Array.from({ length: 1_200 }, (_, i) => unary(client, `${i}`))
    await until(() => waiting.length === 1_200, 15_000)
    expect(loadOf(clusterOf(made)).connections).toBe(1)
    for (const go of waiting) go()
    const texts = await Promise.all(calls)
    expect(texts.map(({ text }) => text)).toEqual(calls.map((_, i) => `${i}`))
    expect(clusterOf(made).active).toBe(0)
  })

  it('takes no more streams on one than the peer allows; others are opened, as many as the cluster allows', async () => {
    const open: ServerHttp2Stream[] = []
    const server = await serveH2((stream) => open.push(stream), { maxConcurrentStreams: 2 })
    const made = mesh({ endpoints: [server.port], limits: { maxConnections: 2 } })
    const client = made.client()
    // It must have said so.
    const first = unary(client, 'first')
    await until(() => open.length === 1)
    answer(open.shift()!)
    await first
    const calls = Array.from({ length: 6 }, () => unary(client, 'x'))
    await until(() => open.length === 4)
    await sleep(50)
    expect(open).toHaveLength(4)
    expect(server.sessions).toHaveLength(2)
    while (server.streams < 7 || open.length > 0) {
      for (const stream of open.splice(0)) answer(stream)
      await sleep(5)
    }
    for (const { text } of await Promise.all(calls)) expect(text).toBe('well')
  })

  it('a peer that leaves loses no call: what it began ends there, what it did not goes elsewhere', async () => {
    const begun: ServerHttp2Stream[] = []
    const server = await serveH2((stream, n) => {
      if (n === 1) begun.push(stream)
      else answer(stream)
    })
    const made = mesh({ endpoints: [server.port] })
    const client = made.client()
    const first = unary(client, 'x')
    await until(() => begun.length === 1)
    server.sessions[0]!.goaway(constants.NGHTTP2_NO_ERROR)
    await sleep(20)
    const others = await Promise.all([unary(client, 'x'), unary(client, 'x')])
    expect(others.map(({ text }) => text)).toEqual(['well', 'well'])
    expect(server.sessions).toHaveLength(2)
    answer(begun[0]!)
    expect((await first).text).toBe('well')
    await until(() => server.sessions[0]!.destroyed)
  })

  it('streams above the last one of a GOAWAY were never begun', async () => {
    let port = 0
    const ready = new Promise<void>((resolve) => {
      const held: Socket[] = []
      const server = createTcpServer((socket) => {
        // The first connection: settings, and a GOAWAY of stream 0 as soon as there is a request.
        if (held.push(socket) > 1) {
          socket.pipe(connectTcp(good, '127.0.0.1')).pipe(socket)
          return
        }
        socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        let bytes = 0
        socket.on('data', (chunk) => {
          bytes += chunk.length
          if (bytes > 150) socket.write(Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
        })
      })
      let good = 0
      void serve().then((real) => {
        good = real.port
        server.listen(0, '127.0.0.1', () => {
          port = (server.address() as { port: number }).port
          resolve()
        })
      })
      closing.push(() => {
        for (const socket of held) socket.destroy()
        server.close()
      })
    })
    await ready
    expect((await unary(mesh({ endpoints: [port] }).client(), 'x')).text).toBe('x')
  })

  it('a connection that dies fails its calls, and the next ones are made on another', async () => {
    let die = true
    const server = await serveH2((stream) => {
      if (die) stream.session!.destroy()
      else answer(stream)
      die = false
    })
    const client = mesh({ endpoints: [server.port] }).client()
    await expect(unary(client, 'x')).rejects.toMatchObject({ code: status.UNAVAILABLE })
    expect((await unary(client, 'x')).text).toBe('well')
  })

  it('a peer that gives no sign of life is left', async () => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => undefined)
      socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
      socket.resume()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => server.close())
    const made = mesh({ endpoints: [(server.address() as { port: number }).port], route: { timeoutMs: 60_000 } })
    const client = made.client('payments', { 'grpc.keepalive_time_ms': 1_000, 'grpc.keepalive_timeout_ms': 200 })
    await expect(unary(client, 'x')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('keepalive'),
    })
  })

  it('a peer that is asked too often for signs of life is asked half as often', async () => {
    const server = await serveH2((stream, n) => {
      if (n === 1) stream.session!.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 1, Buffer.from('too_many_pings'))
      answer(stream)
    })
    const made = mesh({ endpoints: [server.port] })
    const client = made.client('payments', { 'grpc.keepalive_time_ms': 1_000 })
    await unary(client, 'x').catch(() => undefined)
    await until(() => (clusterOf(made).hosts[0]!.grpc as GrpcHostLink).calm === 2)
    expect((await unary(client, 'x')).text).toBe('well')
  })

  it('are closed when nobody used them for a while, and when their host is gone', async () => {
    const server = await serveH2((stream) => answer(stream))
    const made = mesh({ endpoints: [server.port], cluster: { idleTimeoutMs: 100 } })
    await unary(made.client(), 'x')
    expect(server.sessions[0]!.destroyed).toBe(false)
    await until(() => server.sessions[0]!.destroyed)
    made.apply({ payments: { endpoints: [server.port] } })
    await unary(made.client(), 'x')
    made.apply({ payments: { endpoints: [] } })
    await until(() => server.sessions.every((session) => session.destroyed))
    await until(() => loadOf(clusterOf(made)).connections === 0)
  })

  it('carry as many calls as the cluster lets one carry', async () => {
    const server = await serveH2((stream) => answer(stream))
    const client = mesh({ endpoints: [server.port], limits: { maxRequestsPerConnection: 2 } }).client()
    for (let i = 0; i < 6; i++) await unary(client, 'x')
    expect(server.sessions).toHaveLength(3)
  })
})

describe('rotation', () => {
  const ca = createTestCa('cluster.local')
  const endpoint = (port: number) => ({ port, tlsMode: 'mtls' as const, spiffeId: spiffe(ca, 'payments') })
  const credentialsOf = (account: string) => {
    const { certPem, keyPem } = ca.issue(spiffe(ca, account), {})
    const pair = { cert_chain: Buffer.from(certPem), private_key: Buffer.from(keyPem) }
    return ServerCredentials.createSsl(Buffer.from(ca.rootPem), [pair], true)
  }

  it('of what is read: nothing is lost of answers that come in one piece', async () => {
    // node:http2 tells of a head a tick after it came, and of the message that came with it at once.
    const { port } = await serve({}, {}, credentialsOf('payments'))
    const batching = await batchingProxy(port)
    const texts = Array.from({ length: 32 }, (_, i) => `whole ${i}`)
    for (let round = 0; round < 3; round++) {
      const made = mesh({ endpoints: [endpoint(batching)] }, { identity: identityOf(ca, 'orders') })
      for (let again = 0; again < 3; again++) {
        const answers = await Promise.all(texts.map((text) => unary(made.client(), text)))
        expect(answers.map(({ text }) => text)).toEqual(texts)
      }
    }
  })

  it('of our own certificate fails no call, and later calls show the new one', async () => {
    const serials = new Set<string>()
    const look: RawHandlers['unary'] = (call, done) => {
      serials.add(call.getAuthContext().sslPeerCertificate!.serialNumber)
      done(null, call.request)
    }
    const { port } = await serve({ unary: look }, {}, credentialsOf('payments'))
    const identity = identityOf(ca, 'orders')
    const made = mesh({ endpoints: [endpoint(port)] }, { identity })
    const client = made.client()
    for (let turn = 0; turn < 4; turn++) {
      const calls = Array.from({ length: 20 }, () => unary(client, 'x'))
      await sleep(1)
      identity.update(issueIdentity(ca, 'orders'))
      for (const { text } of await Promise.all(calls)) expect(text).toBe('x')
    }
    const before = serials.size
    await unary(client, 'x')
    expect(before).toBeGreaterThan(1)
    expect(identity.current!.serialNumber.toLowerCase()).toBe([...serials].at(-1)!.toLowerCase())
  })

  it('of trust cuts connections to peers that are not to be trusted any more', async () => {
    const { port } = await serve({}, {}, credentialsOf('payments'))
    const identity = identityOf(ca, 'orders')
    const made = mesh({ endpoints: [endpoint(port)] }, { identity })
    const client = made.client()
    await unary(client, 'x')
    identity.updateBundles(createTestCa('cluster.local').bundles)
    await expect(unary(client, 'x')).rejects.toMatchObject({ code: status.UNAVAILABLE })
  })

  it('of endpoints under load fails no call', async () => {
    const ports = [(await serve()).port, (await serve()).port]
    const made = mesh({ endpoints: ports })
    const client = made.client()
    let running = true
    let calls = 0
    const load = Array.from({ length: 8 }, async () => {
      while (running) {
        expect((await unary(client, 'x')).text).toBe('x')
        calls++
      }
    })
    for (let i = 0; i < 40; i++) {
      made.apply({ payments: { endpoints: [ports[i % 2]!] } })
      await sleep(5)
    }
    running = false
    await Promise.all(load)
    expect(calls).toBeGreaterThan(0)
  })
})
