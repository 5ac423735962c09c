import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { type Answer, call, meshClient, type ServiceSpec, type TestClient } from '../../test/support/mesh-client.ts'
import { identityOf, until } from '../../test/support/mesh-http.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { Inbound } from '../engine/inbound.ts'
import { systemClock } from '../model/clock.ts'
import { inboundDefaults } from '../model/inbound.ts'
import { detach } from '../telemetry/context.ts'
import type { MeshDispatcherOptions } from './dispatcher.ts'
import { createMeshServer } from './server.ts'

const ca = createTestCa('cluster.local')
const strict = new Inbound({ ...inboundDefaults, name: 'test', tlsMode: 'STRICT', rbac: [] })
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** A service that tells what it got. */
async function plain(listener?: RequestListener): Promise<{ port: number; seen: IncomingHttpHeaders[] }> {
  const seen: IncomingHttpHeaders[] = []
  const server = createServer((req, res) => {
    seen.push(req.headers)
    if (listener === undefined) res.end('ok')
    else listener(req, res)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return { port: (server.address() as AddressInfo).port, seen }
}

async function meshed(listener: RequestListener): Promise<number> {
  const server = createMeshServer(listener, {
    identity: identityOf(ca, 'middle'),
    inbound: () => strict,
    clock: systemClock,
  })
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  closing.push(() => server.close({ graceMs: 0 }))
  return (server.address() as AddressInfo).port
}

function client(service: ServiceSpec, options: Pick<MeshDispatcherOptions, 'propagateDeadlines'> = {}): TestClient {
  const made = meshClient({ svc: service }, { identity: identityOf(ca, 'caller'), ...options })
  closing.push(() => made.close())
  return made
}

/** Caller > middle > last. */
async function threeHops(
  timeoutMs: number,
  middle: (next: () => Promise<Answer>) => RequestListener,
  last: { port: number },
  options: Pick<MeshDispatcherOptions, 'propagateDeadlines'> = {},
): Promise<TestClient> {
  const { dispatcher } = client({ endpoints: [last.port], route: { timeoutMs: 15_000 } }, options)
  const port = await meshed(middle(() => call(dispatcher, 'http://svc/')))
  return client({ endpoints: [{ port, tlsMode: 'mtls' }], route: { timeoutMs, timeoutUntilHeaders: false } })
}

const expected = 'x-envoy-expected-rq-timeout-ms'

describe('a call over the mesh', () => {
  it('tells its peer how long it waits, and the number of the try', async () => {
    let failures = 1
    const last = await plain((_req, res) => {
      res.statusCode = failures-- > 0 ? 503 : 200
      res.end()
    })
    const { dispatcher } = client({
      endpoints: [last.port],
      route: { timeoutMs: 15_000 },
      retry: { perTryTimeoutMs: 9_000 },
    })
    await call(dispatcher, 'http://svc/')
    expect(last.seen.map((h) => h['x-envoy-attempt-count'])).toEqual([undefined, '2'])
    for (const h of last.seen) {
      expect(Number(h[expected])).toBeGreaterThan(500)
      expect(Number(h[expected])).toBeLessThanOrEqual(9_000)
    }
    expect(last.seen.map((h) => h['x-inmesh-repeat'])).toEqual([undefined, '1'])
  })

  it('says nothing when it waits for ever', async () => {
    const last = await plain()
    await call(
      client({ endpoints: [last.port], route: { timeoutMs: Number.POSITIVE_INFINITY } }).dispatcher,
      'http://svc/',
    )
    expect(Object.keys(last.seen[0]!).filter((name) => name.startsWith('x-'))).toEqual([])
  })
})

describe('a call made in handling a request', () => {
  it('gets what is left of the time of that request’s caller', async () => {
    const last = await plain()
    const { dispatcher } = await threeHops(
      10_000,
      (next) => async (_req, res) => {
        await sleep(150)
        await next()
        res.end()
      },
      last,
    )
    expect((await call(dispatcher, 'http://svc/')).status).toBe(200)
    expect(Number(last.seen[0]![expected])).toBeLessThanOrEqual(9_850)
    expect(Number(last.seen[0]![expected])).toBeGreaterThan(300)
  })

  it('is not made at all once that time is over', async () => {
    const last = await plain()
    const answers: Answer[] = []
    const { dispatcher } = await threeHops(
      1_500,
      (next) => async (_req, res) => {
        await sleep(1_700)
        answers.push(await next())
        res.end()
      },
      last,
    )
    expect((await call(dispatcher, 'http://svc/')).status).toBe(504)
    await until(() => answers.length === 1)
    expect(answers[0]).toMatchObject({ status: 504, headers: { 'x-inmesh-response-flags': 'DT' } })
    expect(last.seen.length).toBe(0)
  })

  it('ends with that time when its peer is slow', async () => {
    const last = await plain(() => undefined)
    const took: number[] = []
    const { dispatcher } = await threeHops(
      1_500,
      (next) => async (_req, res) => {
        const from = performance.now()
        const { status } = await next()
        took.push(performance.now() - from)
        res.statusCode = status
        res.end()
      },
      last,
    )
    expect((await call(dispatcher, 'http://svc/')).status).toBe(504)
    await until(() => took.length === 1)
    // Its own route allows 15 s.
    expect(took[0]).toBeLessThan(8_000)
  })

  it('takes its own time when it is detached, or when nothing is to be propagated', async () => {
    const last = await plain((_req, res) => void setTimeout(() => res.end('late'), 1_200))
    const detached: Answer[] = []
    const work = (next: () => Promise<Answer>): RequestListener => {
      return (_req, res) => {
        detach(next).then((answer) => detached.push(answer))
        res.end()
      }
    }
    const { dispatcher } = await threeHops(1_000, work, last)
    await call(dispatcher, 'http://svc/')
    await until(() => detached.length === 1)
    expect(detached[0]!.status).toBe(200)

    const off: Answer[] = []
    const attached = (next: () => Promise<Answer>): RequestListener => {
      return (_req, res) => {
        next().then((answer) => off.push(answer))
        res.end()
      }
    }
    const other = await threeHops(1_000, attached, last, { propagateDeadlines: false })
    await call(other.dispatcher, 'http://svc/')
    await until(() => off.length === 1)
    expect(off[0]!.status).toBe(200)
  })

  it('takes its own time once the head of the answer is on its way: that is a stream', async () => {
    const last = await plain()
    const events: number[] = []
    const { dispatcher } = await threeHops(
      1_500,
      (next) => async (_req, res) => {
        res.flushHeaders()
        await sleep(1_700)
        events.push((await next()).status)
        res.end()
      },
      last,
    )
    await call(dispatcher, 'http://svc/').catch(() => undefined)
    await until(() => events.length === 1)
    expect(events).toEqual([200])
  })
})

describe('a stream that is handed on', () => {
  it('lives on when the time until its head is over, at every hop', async () => {
    const events = 8
    const last = await plain(async (_req, res) => {
      for (let i = 0; i < events; i++) {
        res.write('event')
        await sleep(200)
      }
      res.end()
    })
    const inner = client({ endpoints: [last.port], route: { timeoutMs: 15_000 } })
    for (const timeoutUntilHeaders of [true, false]) {
      inner.apply({ svc: { endpoints: [last.port], route: { timeoutMs: 15_000, timeoutUntilHeaders } } })
      const port = await meshed(async (_req, res) => {
        const answer = await inner.dispatcher.request({ origin: 'http://svc', path: '/', method: 'GET' })
        res.flushHeaders()
        answer.body.pipe(res)
      })
      const outer = client({ endpoints: [{ port, tlsMode: 'mtls' }], route: { timeoutMs: 1_200 } })
      expect((await call(outer.dispatcher, 'http://svc/')).text).toBe('event'.repeat(events))
    }
  })
})

describe('a response that falls silent', () => {
  it('is cut off after the idle timeout of its route, and lives on while bytes come', async () => {
    const silent = await plain((_req, res) => {
      res.write('first')
    })
    const idle = client({ endpoints: [silent.port], route: { idleTimeoutMs: 200 } })
    await expect(call(idle.dispatcher, 'http://svc/')).rejects.toThrow('200 ms')

    const slow = await plain(async (_req, res) => {
      for (let i = 0; i < 8; i++) {
        res.write('event')
        await sleep(250)
      }
      res.end()
    })
    const streaming = client({ endpoints: [slow.port], route: { idleTimeoutMs: 1_500, timeoutMs: 1_200 } })
    expect((await call(streaming.dispatcher, 'http://svc/')).text).toBe('event'.repeat(8))
  })
})
