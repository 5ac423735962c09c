import { AsyncLocalStorage } from 'node:async_hooks'
import { Metadata, type ServerDuplexStream, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { type EchoClient, kinds, plainEcho, secureEcho } from '../../../test/support/grpc-echo.ts'
import { openPort, overload, type TestPort, type TestPortOptions } from '../../../test/support/grpc-port.ts'
import { identityOf, until } from '../../../test/support/mesh-http.ts'
import { createTestCa } from '../../../test/support/test-ca.ts'
import { systemClock } from '../../model/clock.ts'
import { type RateLimitSpec, shedDefaults } from '../../model/inbound.ts'
import { type CallContext, callContext } from '../../telemetry/context.ts'
import { createExposition } from '../../telemetry/exposition.ts'
import { Metrics } from '../../telemetry/metrics.ts'
import { createServerTelemetry } from '../../telemetry/server-telemetry.ts'

const ca = createTestCa('cluster.local')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function open(options: Partial<TestPortOptions> = {}): Promise<TestPort> {
  const port = await openPort({ identity: identityOf(ca, 'payments'), ...options })
  closing.push(() => port.close())
  return port
}

function plain(port: TestPort): EchoClient {
  const client = plainEcho(port.number)
  closing.push(() => client.client.close())
  return client
}

function secure(port: TestPort): EchoClient {
  const client = secureEcho(port.number, ca, 'orders')
  closing.push(() => client.client.close())
  return client
}

const workload = {
  service: 'payments',
  namespace: 'default',
  serviceAccount: 'payments',
  trustDomain: 'cluster.local',
  labels: { app: 'payments' },
  locality: '',
  instanceId: 'payments-1',
}

const rateLimit = (more: Partial<RateLimitSpec> = {}): RateLimitSpec => ({
  name: 'limit',
  match: [],
  key: { kind: 'all' },
  bucket: { maxTokens: 1, tokensPerFill: 1, fillIntervalMs: 60_000 },
  overrides: [],
  status: 429,
  grpcStatus: status.RESOURCE_EXHAUSTED,
  answerHeaders: [],
  headers: false,
  global: false,
  ...more,
})

describe('what a gRPC port refuses, in the words of gRPC', () => {
  it.each([status.RESOURCE_EXHAUSTED, status.UNAVAILABLE])(
    'rate limits: %i, marked, with the time to wait',
    async (code) => {
      const port = await open({
        spec: { rateLimits: [rateLimit({ grpcStatus: code, answerHeaders: ['x-plan', 'free'] })] },
      })
      const client = plain(port)
      expect((await client.ask('unary')).code).toBe(status.OK)
      const { code: refused, details, head, trailers } = await client.ask('unary')
      expect([refused, details, head]).toEqual([code, 'local_rate_limited', null])
      expect(trailers.getMap()).toMatchObject({ 'x-envoy-ratelimited': 'true', 'x-plan': 'free' })
      const seconds = Number(trailers.get('retry-after')[0])
      expect(seconds).toBeGreaterThan(0)
      expect(trailers.get('grpc-retry-pushback-ms')).toEqual([String(seconds * 1000)])
    },
  )

  it.each(kinds)('answers of %s calls say how a rate limit stands', async (kind) => {
    const bucket = { maxTokens: 5, tokensPerFill: 1, fillIntervalMs: 60_000 }
    const port = await open({ spec: { rateLimits: [rateLimit({ headers: true, bucket })] } })
    const { head } = await plain(port).ask(kind)
    expect(head?.getMap()).toMatchObject({ 'x-ratelimit-limit': '5', 'x-ratelimit-remaining': '4' })
  })

  it('also an answer that is nothing but a status', async () => {
    const port = await open({
      spec: { rateLimits: [rateLimit({ headers: true })] },
      handlers: { unary: (_call, done) => done({ code: status.NOT_FOUND, details: 'no' }) },
    })
    const { code, trailers } = await plain(port).ask('unary')
    expect(code).toBe(status.NOT_FOUND)
    expect(trailers.getMap()).toMatchObject({ 'x-ratelimit-limit': '1', 'x-ratelimit-remaining': '0' })
  })

  it('rates each caller by its certificate', async () => {
    const port = await open({ spec: { tlsMode: 'PERMISSIVE', rateLimits: [rateLimit({ key: { kind: 'identity' } })] } })
    const codes = async (client: EchoClient) => [(await client.ask('unary')).code, (await client.ask('unary')).code]
    expect(await codes(plain(port))).toEqual([status.OK, status.RESOURCE_EXHAUSTED])
    expect(await codes(secure(port))).toEqual([status.OK, status.RESOURCE_EXHAUSTED])
  })

  it('one call more than it may have', async () => {
    let release: () => void = () => undefined
    const port = await open({
      spec: { maxRequests: 1 },
      handlers: {
        unary: (call, done) => {
          release = () => done(null, call.request)
        },
      },
    })
    const client = plain(port)
    const first = client.ask('unary')
    await until(() => port.runtime.requests === 1)
    const { code, trailers } = await client.ask('chat')
    expect([code, trailers.get('x-envoy-overloaded')]).toEqual([status.UNAVAILABLE, ['true']])
    release()
    expect((await first).code).toBe(status.OK)
  })

  it('connections beyond what it may have are cut', async () => {
    const port = await open({ spec: { maxConnections: 1 } })
    const first = plain(port)
    expect((await first.ask('unary')).code).toBe(status.OK)
    expect((await plain(port).ask('unary')).code).toBe(status.UNAVAILABLE)
    expect((await first.ask('unary')).code).toBe(status.OK)
  })

  it('load that it cannot bear; CRITICAL calls of verified callers last', async () => {
    const port = await open({
      spec: { tlsMode: 'PERMISSIVE', shed: { ...shedDefaults, initialLimit: 2, minLimit: 2 } },
    })
    overload(port)
    const critical = { 'x-inmesh-priority': 'CRITICAL' }
    const { code, trailers } = await plain(port).ask('unary', 'x', critical)
    expect([code, trailers.get('x-envoy-overloaded')]).toEqual([status.RESOURCE_EXHAUSTED, ['true']])
    expect(trailers.get('grpc-retry-pushback-ms')).toEqual(['100'])
    expect((await secure(port).ask('unary', 'x', critical)).code).toBe(status.OK)
  })

  it('answers that have begun are no load', async () => {
    const calls: ServerDuplexStream<string, string>[] = []
    const port = await open({
      spec: { shed: { ...shedDefaults, initialLimit: 2, minLimit: 2 } },
      handlers: {
        chat: (call) => {
          calls.push(call)
          call.write('begun')
        },
      },
    })
    const chats = [plain(port).ask('chat'), plain(port).ask('chat')]
    // While load is limited it is looked at which answers have begun.
    await until(() => calls.length === 2 && port.runtime.shed!.inFlight === 0)
    for (const call of calls) call.end()
    expect((await Promise.all(chats)).map((answer) => answer.code)).toEqual([status.OK, status.OK])
    expect(port.runtime.shed!.inFlight).toBe(0)
  })

  it('work whose time is over', async () => {
    let heard = 0
    const port = await open({ spec: { tlsMode: 'STRICT' }, handlers: { unary: () => heard++ } })
    // Only a verified caller is believed that it waits no longer.
    const { code } = await secure(port).ask('unary', 'x', { 'x-envoy-expected-rq-timeout-ms': '0' })
    expect([code, heard]).toEqual([status.DEADLINE_EXCEEDED, 0])
  })

  it('several authorities', async () => {
    const port = await open()
    const { code, details } = await plain(port).ask('unary', 'x', { host: 'other' })
    expect([code, details]).toEqual([status.INTERNAL, 'exactly one authority is needed'])
  })
})

describe('what the work of a handler is done in', () => {
  /** Looks at what calls out of handlers would see, now and after a while. */
  function looking() {
    const seen: (CallContext | undefined)[] = []
    const look = () => seen.push(callContext.getStore())
    return {
      seen,
      handlers: {
        unary: async (call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) => {
          look()
          await new Promise((resolve) => setImmediate(resolve))
          look()
          done(null, call.request)
        },
        chat: (call: ServerDuplexStream<string, string>) => {
          look()
          call.on('data', look)
          call.on('end', () => {
            look()
            call.end()
          })
        },
      },
    }
  }
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

  it.each(['unary', 'chat'] as const)('the trace of its call goes on: %s', async (kind) => {
    const { seen, handlers } = looking()
    const telemetry = createServerTelemetry(new Metrics(workload), systemClock)
    const port = await open({ handlers, telemetry, spec: { tlsMode: 'STRICT' } })
    await secure(port).ask(kind, 'xyz', { traceparent, baggage: 'a=b', 'x-request-id': 'r-1' })
    expect(seen.length).toBe(kind === 'unary' ? 2 : 5)
    for (const context of seen) expect(context).toMatchObject({ traceparent, baggage: 'a=b', requestId: 'r-1' })
    expect(new Set(seen).size).toBe(1)
  })

  it.each(['unary', 'chat'] as const)('calls out of it end with its time: %s', async (kind) => {
    const { seen, handlers } = looking()
    const port = await open({ handlers })
    const before = performance.now()
    await plain(port).ask(kind, 'x', {}, { deadline: Date.now() + 20_000 })
    for (const context of seen) {
      expect(context!.hop!.deadline).toBeGreaterThan(before)
      expect(context!.hop!.deadline).toBeLessThan(performance.now() + 20_000)
    }
    seen.length = 0
    await plain(port).ask(kind)
    for (const context of seen) expect(context!.hop!.deadline).toBe(Number.POSITIVE_INFINITY)
  })

  it('repeats and the class of work are believed of verified callers', async () => {
    const { seen, handlers } = looking()
    const port = await open({ handlers, spec: { tlsMode: 'PERMISSIVE' } })
    const said = { 'x-inmesh-repeat': '1', 'x-inmesh-priority': 'SHEDDABLE' }
    await plain(port).ask('unary', 'x', said)
    expect(seen[0]!.hop).toMatchObject({ repeated: false, priority: null })
    await secure(port).ask('unary', 'x', said)
    expect(seen[2]!.hop).toMatchObject({ repeated: true, priority: 'SHEDDABLE' })
  })

  it('a failure below that was repeated enough is said with a failing status, and no other', async () => {
    const port = await open({
      handlers: {
        unary: (call, done) => {
          callContext.getStore()!.hop!.settle()
          if (call.request === 'ok') done(null, 'ok')
          else done({ code: status.UNAVAILABLE, details: 'below', metadata: new Metadata() })
        },
      },
    })
    const client = plain(port)
    expect((await client.ask('unary', 'fail')).trailers.get('x-inmesh-retries-spent')).toEqual(['1'])
    expect((await client.ask('unary', 'ok')).trailers.get('x-inmesh-retries-spent')).toEqual([])
  })

  it('the app’s own async contexts are its own', async () => {
    const own = new AsyncLocalStorage<string>()
    const seen: (string | undefined)[] = []
    const port = await open({
      handlers: {
        unary: (call, done) =>
          own.run(call.request, () => {
            setImmediate(() => {
              seen.push(own.getStore())
              done(null, 'x')
            })
          }),
      },
    })
    const client = plain(port)
    await Promise.all(['a', 'b', 'c'].map((text) => client.ask('unary', text)))
    expect(seen.sort()).toEqual(['a', 'b', 'c'])
  })
})

describe('what is counted of calls', () => {
  it('by the status of gRPC and by who called', async () => {
    const metrics = new Metrics(workload)
    const port = await open({
      telemetry: createServerTelemetry(metrics, systemClock),
      spec: { tlsMode: 'STRICT' },
      handlers: { unary: (call, done) => done({ code: Number(call.request), details: 'as asked' }) },
    })
    const client = secure(port)
    await client.ask('unary', '5')
    await client.ask('unary', '13')
    await client.ask('chat')
    await until(() => port.port.active === 0)
    const lines = (await createExposition(metrics.families)()).body
      .split('\n')
      .filter((line) => line.startsWith('istio_requests_total{'))
    const counted = lines.map((line) => [
      /grpc_response_status="(\d+)"/.exec(line)?.[1],
      /request_protocol="(\w+)"/.exec(line)?.[1],
      /source_principal="([^"]+)"/.exec(line)?.[1],
      line.split(' ').at(-1),
    ])
    const from = 'spiffe://cluster.local/ns/default/sa/orders'
    expect(counted.sort()).toEqual([
      ['0', 'grpc', from, '1'],
      ['13', 'grpc', from, '1'],
      ['5', 'grpc', from, '1'],
    ])
  })
})
