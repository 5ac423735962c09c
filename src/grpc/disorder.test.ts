import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, type ServerHttp2Stream } from 'node:http2'
import { Metadata, ServerCredentials, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { type GrpcTestClient, grpcClient, serveRaw, unary } from '../../test/support/grpc-client.ts'
import { answer, fail, HEAD, serveH2 } from '../../test/support/grpc-h2.ts'
import { retryAll } from '../../test/support/mesh-client.ts'
import { identityOf, spiffe, until } from '../../test/support/mesh-http.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { Dice } from '../engine/testing/dice.ts'
import { loadOf } from '../transport/cluster-load.ts'
import { frame } from './framing.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

function quiet(made: GrpcTestClient): void {
  for (const cluster of made.engine.clusters.values()) {
    expect(cluster.active).toBe(0)
    expect(cluster.retrying).toBe(0)
    expect(loadOf(cluster).waiting).toBe(0)
    for (const host of cluster.hosts) expect(host.active).toBe(0)
  }
}

/** What a peer may do with a stream. */
const deeds: ((stream: ServerHttp2Stream, dice: Dice) => void)[] = [
  (stream) => answer(stream),
  (stream) => answer(stream),
  (stream) => answer(stream),
  (stream) => fail(stream, 14),
  (stream) => fail(stream, 5),
  (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM),
  (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
  (stream) => stream.close(constants.NGHTTP2_CANCEL),
  (stream) => stream.session?.goaway(constants.NGHTTP2_NO_ERROR),
  (stream) => stream.session?.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM),
  // Later: a server of Node 22 that does it while it reads brings its process down (an assertion of Node's own).
  (stream) => void setImmediate(() => stream.session?.destroy()),
  () => undefined,
  (stream) => {
    stream.respond(HEAD)
    stream.write(frame(Buffer.alloc(100), false).subarray(0, 50))
    setImmediate(() => stream.close(constants.NGHTTP2_INTERNAL_ERROR))
  },
  (stream, dice) => {
    const timer = setTimeout(() => !stream.destroyed && answer(stream), dice.between(0, 60))
    stream.on('close', () => clearTimeout(timer))
  },
]

describe('in disorder', () => {
  it.each([1, 2, 3, 4])('every call ends once and nothing is left over (seed %i)', async (seed) => {
    const dice = new Dice(seed, 7)
    const servers = await Promise.all(
      [2, 50, 1_000].map((maxConcurrentStreams) =>
        serveH2((stream) => dice.oneOf(deeds)(stream, dice), { maxConcurrentStreams }),
      ),
    )
    closing.push(...servers.map((server) => () => server.close()))
    const ports = servers.map(({ port }) => port)
    const made = grpcClient({
      payments: {
        endpoints: ports,
        retry: { ...retryAll, retryOn: ['unavailable', 'reset', 'refused-stream'], perTryTimeoutMs: 100 },
        limits: { maxConnections: 4 },
        route: {
          timeoutMs: 400,
          timeoutUntilHeaders: false,
          hedge: { delayMs: 20, percentile: null, maxHedges: 1, onTryTimeout: false },
        },
      },
    })
    closing.push(() => made.close())
    const client = made.client()
    let ended = 0
    const one = (n: number) =>
      new Promise<void>((resolve) => {
        let told = 0
        const done = () => {
          told++
          ended++
          expect(told).toBe(1)
          resolve()
        }
        if (n % 3 === 0) {
          const call = client.collect(new Metadata(), {}, done)
          for (let i = 0; i < 5; i++) call.write(Buffer.alloc(n % 2 === 0 ? 10 : 30_000))
          call.end()
          if (dice.chance(0.2)) setTimeout(() => call.cancel(), dice.between(0, 50))
        } else {
          const call = client.unary(Buffer.from('x'), new Metadata(), {}, done)
          if (dice.chance(0.2)) setTimeout(() => call.cancel(), dice.between(0, 50))
        }
      })
    let next = 0
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        while (next < 400) await one(next++)
      }),
    )
    expect(ended).toBe(next)
    await until(() => [...made.engine.clusters.values()].every((cluster) => cluster.active === 0))
    quiet(made)
    await made.dispatcher.close()
    for (const cluster of made.engine.clusters.values()) await until(() => loadOf(cluster).connections === 0)
  })

  it('a server that refuses our certificate is a connection that failed', async () => {
    const ca = createTestCa('cluster.local')
    const { certPem, keyPem } = ca.issue(spiffe(ca, 'payments'), {})
    const pair = { cert_chain: Buffer.from(certPem), private_key: Buffer.from(keyPem) }
    const stranger = Buffer.from(createTestCa('other').rootPem)
    const server = await serveRaw({}, {}, ServerCredentials.createSsl(stranger, [pair], true))
    closing.push(() => server.close())
    const endpoint = { port: server.port, tlsMode: 'mtls' as const, spiffeId: spiffe(ca, 'payments') }
    const made = grpcClient({ payments: { endpoints: [endpoint] } }, { identity: identityOf(ca, 'orders') })
    closing.push(() => made.close())
    const error = await unary(made.client(), 'x').catch((e) => e)
    expect(error.code).toBe(status.UNAVAILABLE)
    expect(error.metadata.get('x-inmesh-response-flags')[0]).toMatch(/^U[FC]/)
    quiet(made)
  })

  it('connections without calls keep no process alive, calls without a deadline do', async () => {
    const server = await serveRaw({ unary: (call, done) => void setTimeout(() => done(null, call.request), 300) })
    closing.push(() => server.close())
    const support = new URL('../../test/support/grpc-client.ts', import.meta.url).href
    const script = `
      import { grpcClient, unary } from ${JSON.stringify(support)}
      const route = { timeoutMs: Infinity }
      const { text } = await unary(grpcClient({ payments: { endpoints: [${server.port}], route } }).client(), 'alive')
      console.log(text)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let out = ''
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk
    })
    const [code] = (await once(child, 'close')) as [number]
    expect(out.trim()).toBe('alive')
    expect(code).toBe(0)
  })
})
