import { Metadata, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import {
  type GrpcTestClient,
  grpcClient,
  type RawHandlers,
  type RawServer,
  serveRaw,
  unary,
} from '../../test/support/grpc-client.ts'
import { noRetry, type ServiceSpec } from '../../test/support/mesh-client.ts'
import { until } from '../../test/support/mesh-http.ts'
import type { CallEvents } from '../engine/events.ts'
import type { MirrorReport } from '../engine/mirror.ts'
import { breakerSpec, outlierSpec } from '../engine/testing/specs.ts'
import { grpcStatusOfCall } from '../telemetry/call-metrics.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Host extends RawServer {
  calls: number
}

async function serve(unaryHandler?: RawHandlers['unary']): Promise<Host> {
  const host = { calls: 0 } as Host
  const server = await serveRaw({
    unary(call, done) {
      host.calls++
      if (unaryHandler === undefined) done(null, Buffer.from(String(host.port)))
      else unaryHandler(call, done)
    },
  })
  closing.push(() => server.close())
  return Object.assign(host, server)
}

function mesh(services: Record<string, ServiceSpec>, events?: CallEvents): GrpcTestClient {
  const made = grpcClient(services, events === undefined ? {} : { events })
  closing.push(() => made.close())
  return made
}

const ends: { status: number; code: number; flag: string }[] = []
const listener = (more: Partial<CallEvents> = {}): CallEvents => {
  ends.length = 0
  return {
    callStart: () => undefined,
    attemptStart: () => undefined,
    attemptEnd: () => undefined,
    callEnd: (call) => void ends.push({ status: call.status, code: grpcStatusOfCall(call), flag: call.flag }),
    ...more,
  }
}

const clusterOf = (made: GrpcTestClient) => made.engine.clusters.values().next().value!

describe('policies of the engine for calls of gRPC', () => {
  it('hedges: a second try overtakes a slow one, which is cancelled', async () => {
    let cancelled = 0
    const slow = await serve((call) => call.on('cancelled', () => cancelled++))
    const fast = await serve()
    const hedge = { delayMs: 30, percentile: null, maxHedges: 1, onTryTimeout: false }
    const made = mesh({ payments: { endpoints: [slow.port, fast.port], route: { hedge } } })
    for (let i = 0; i < 4; i++) expect((await unary(made.client(), 'x')).text).toBe(String(fast.port))
    expect(slow.calls).toBeGreaterThan(0)
    await until(() => cancelled === slow.calls)
    expect(clusterOf(made).active).toBe(0)
  })

  it('mirrors what is whole when it begins, and compares how it ended', async () => {
    const seen: string[] = []
    const real = await serve()
    const shadow = await serve((call, done) => {
      seen.push(`${call.request} ${call.getHost()} ${call.metadata.get('x-key')}`)
      done({ code: status.NOT_FOUND })
    })
    const reports: MirrorReport[] = []
    const mirror = {
      cluster: 'outbound|80||canary.default.svc.cluster.local',
      perMillion: 1_000_000,
      shadowSuffix: true,
      compare: true,
      maxBodyBytes: 1_000,
    }
    const made = mesh(
      { payments: { endpoints: [real.port], route: { mirrors: [mirror] } }, canary: { endpoints: [shadow.port] } },
      listener({ mirrored: (report) => void reports.push(report) }),
    )
    const client = made.client()
    const metadata = new Metadata()
    metadata.set('x-key', 'k')
    expect((await unary(client, 'copy me', { metadata })).text).toBe(String(real.port))
    await until(() => reports.length === 1)
    expect(seen).toEqual(['copy me payments-shadow k'])
    expect(reports[0]).toMatchObject({ result: 'answered', differences: ['status'] })
    await unary(client, 'x'.repeat(2_000))
    await until(() => reports.length === 2)
    expect(reports[1]).toMatchObject({ result: 'skipped' })
    expect(shadow.calls).toBe(1)
  })

  it('injects faults with the codes of gRPC', async () => {
    const host = await serve()
    const abort = { perMillion: 1_000_000, how: { kind: 'grpc' as const, code: status.RESOURCE_EXHAUSTED } }
    const fault = { delay: { ms: 60, perMillion: 1_000_000 }, abort, headers: [], maxActive: Number.POSITIVE_INFINITY }
    const made = mesh({ payments: { endpoints: [host.port], route: { fault } } }, listener())
    const before = performance.now()
    const error = await unary(made.client(), 'x').catch((e) => e)
    expect(error).toMatchObject({ code: status.RESOURCE_EXHAUSTED })
    expect(error.metadata.get('x-inmesh-response-flags')).toEqual(['DI,FI'])
    expect(performance.now() - before).toBeGreaterThanOrEqual(55)
    expect(host.calls).toBe(0)
    expect(ends).toEqual([expect.objectContaining({ code: status.RESOURCE_EXHAUSTED })])
  })

  it('hashes metadata: the same key, the same host', async () => {
    const hosts = [await serve(), await serve(), await serve()]
    const lb = {
      policy: 'RING_HASH',
      minimumRingSize: 64,
      maximumRingSize: 1024,
      hashFunction: 'XX_HASH',
      balanceFactorPercent: 0,
      useHostname: false,
    } as const
    const made = mesh({
      payments: {
        endpoints: hosts.map(({ port }) => port),
        cluster: { lb },
        route: { hash: [{ kind: 'header', name: 'x-user', terminal: false }] },
      },
    })
    const byUser = new Map<string, Set<string>>()
    for (let i = 0; i < 60; i++) {
      const user = `user-${i % 12}`
      const metadata = new Metadata()
      metadata.set('x-user', user)
      const seen = byUser.get(user) ?? new Set()
      byUser.set(user, seen.add((await unary(made.client(), 'x', { metadata })).text))
    }
    expect([...byUser.values()].every((seen) => seen.size === 1)).toBe(true)
    expect(new Set([...byUser.values()].flatMap((seen) => [...seen])).size).toBeGreaterThan(1)
  })

  it('routes by metadata, by method, and to where a rewrite says', async () => {
    const host = await serve((call, done) => done(null, Buffer.from(`${call.getPath()} ${call.getHost()}`)))
    const made = mesh({
      payments: {
        endpoints: [host.port],
        route: {
          match: {
            path: { kind: 'exact', value: '/test.Raw/Unary', ignoreCase: false },
            headers: [
              {
                name: 'x-user',
                invert: false,
                missingAsEmpty: false,
                kind: 'string',
                match: { kind: 'exact', value: 'beta', ignoreCase: false },
              },
            ],
            query: [],
            fractionPerMillion: null,
          },
          rewrite: { path: null, authority: 'other.example' },
        },
      },
    })
    const metadata = new Metadata()
    metadata.set('x-user', 'beta')
    expect((await unary(made.client(), 'x', { metadata })).text).toBe('/test.Raw/Unary other.example')
    await expect(unary(made.client(), 'x')).rejects.toMatchObject({ code: status.UNAVAILABLE })
    expect(host.calls).toBe(1)
  })

  it('edits metadata both ways, of answers that are nothing but a status too', async () => {
    const seen: unknown[] = []
    const host = await serve((call, done) => {
      seen.push(call.metadata.get('x-added')[0], call.metadata.get('x-key')[0])
      if (call.request.toString() === 'fail') done({ code: status.NOT_FOUND })
      else done(null, call.request)
    })
    const set = (name: string, value: string) => ({ kind: 'set' as const, name, value, keepEmpty: false })
    const headers = {
      request: [{ kind: 'remove' as const, name: 'x-key' }, set('x-added', 'by %REQ(:path)%')],
      response: [set('x-answer', 'edited')],
    }
    const made = mesh({ payments: { endpoints: [host.port], route: { headers } } })
    const metadata = new Metadata()
    metadata.set('x-key', 'secret')
    const { metadata: head } = await unary(made.client(), 'x', { metadata })
    expect(seen).toEqual(['by /test.Raw/Unary', undefined])
    expect(head.get('x-answer')).toEqual(['edited'])
    const error = await unary(made.client(), 'fail').catch((e) => e)
    expect(error.code).toBe(status.NOT_FOUND)
    expect(error.metadata.get('x-answer')).toEqual(['edited'])
  })

  it('ejects a host that answers UNAVAILABLE, in its head or in its trailers', async () => {
    const good = await serve()
    const bad = await serve((_call, done) => done({ code: status.UNAVAILABLE }))
    const worse = await serve((call, done) => {
      call.sendMetadata(new Metadata())
      setImmediate(() => done({ code: status.UNAVAILABLE }))
    })
    for (const host of [bad, worse]) {
      const outlier = outlierSpec({ consecutive5xx: 2, baseEjectionTimeMs: 60_000, maxEjectionPercent: 50 })
      const made = mesh({ payments: { endpoints: [good.port, host.port], cluster: { outlier } } })
      const client = made.client()
      let failed = 0
      for (let i = 0; i < 20; i++) await unary(client, 'x').catch(() => failed++)
      expect(failed).toBe(2)
      expect(host.calls).toBe(2)
    }
  })

  it('opens the breaker after failures, and says so', async () => {
    const bad = await serve((_call, done) => done({ code: status.INTERNAL }))
    const breaker = breakerSpec({ minimumRequests: 4, recoveryMs: 60_000, maxRecoveryMs: 60_000 })
    const made = mesh({ payments: { endpoints: [bad.port], cluster: { breaker } } })
    for (let i = 0; i < 4; i++) await expect(unary(made.client(), 'x')).rejects.toMatchObject({ code: status.INTERNAL })
    const error = await unary(made.client(), 'x').catch((e) => e)
    expect(error).toMatchObject({ code: status.UNAVAILABLE, details: expect.stringContaining('circuit breaker') })
    expect(error.metadata.get('x-inmesh-response-flags')).toEqual(['UO'])
    expect(bad.calls).toBe(4)
  })

  it('limits the calls under way, refused with UNAVAILABLE and not retried', async () => {
    const waiting: (() => void)[] = []
    const host = await serve((call, done) => void waiting.push(() => done(null, call.request)))
    const made = mesh({
      payments: {
        endpoints: [host.port],
        limits: { maxRequests: 1 },
        retry: { ...noRetry, retryOn: ['unavailable'], numRetries: 3 },
      },
    })
    const first = unary(made.client(), 'x')
    await until(() => waiting.length === 1)
    const error = await unary(made.client(), 'x').catch((e) => e)
    expect(error.code).toBe(status.UNAVAILABLE)
    expect(error.metadata.get('x-envoy-overloaded')).toEqual(['true'])
    waiting[0]!()
    expect((await first).text).toBe('x')
    expect(host.calls).toBe(1)
  })

  it('counts what trailers say, and what callers got', async () => {
    const host = await serve((call, done) => {
      call.sendMetadata(new Metadata())
      setImmediate(() => done({ code: status.ABORTED }))
    })
    const made = mesh({ payments: { endpoints: [host.port] } }, listener())
    await expect(unary(made.client(), 'x')).rejects.toMatchObject({ code: status.ABORTED })
    expect(ends).toEqual([{ status: 409, code: status.ABORTED, flag: '-' }])
  })

  it('lets interceptors of the mesh edit metadata and refuse calls', async () => {
    const host = await serve((call, done) => done(null, Buffer.from(String(call.metadata.get('x-added')))))
    const made = mesh({ payments: { endpoints: [host.port] } })
    made.engine.use({
      name: 'test',
      onRequest(request) {
        if (request.header('x-stop') !== undefined) return { respond: { status: 403, body: 'stopped' } }
        request.setHeader('x-added', `for ${request.path}`)
        return undefined
      },
    })
    expect((await unary(made.client(), 'x')).text).toBe('for /test.Raw/Unary')
    const metadata = new Metadata()
    metadata.set('x-stop', '1')
    await expect(unary(made.client(), 'x', { metadata })).rejects.toMatchObject({
      code: status.PERMISSION_DENIED,
      details: 'stopped',
    })
  })
})
