import { describe, expect, it } from 'vitest'
import type { HedgeSpec, RouteSpec } from '../model/route.ts'
import { Phase } from './call.ts'
import { Latencies, LEAST_SAMPLES } from './latencies.ts'
import { Kind } from './outcome.ts'
import { Lab } from './testing/lab.ts'
import { breakerSpec, endpoints, retrySpec } from './testing/specs.ts'

const hedge = (over: Partial<HedgeSpec> = {}): HedgeSpec => ({
  delayMs: 100,
  percentile: null,
  maxHedges: 1,
  onTryTimeout: false,
  ...over,
})
const lab = (over: Partial<HedgeSpec> = {}, route: Partial<RouteSpec> = {}, hosts = 3) =>
  Lab.of({ endpoints: endpoints(hosts) }, { hedge: hedge(over), ...route })

describe('a hedge', () => {
  it('is started at another host when the first has not answered in time, and the first answer wins', () => {
    const one = lab()
    const call = one.call()
    one.advance(90)
    expect(call.attempts.length).toBe(1)
    one.advance(30)
    expect(call.attempts.length).toBe(2)
    const [first, second] = call.attempts as [(typeof call.attempts)[0], (typeof call.attempts)[0]]
    expect(first.host).not.toBe(second.host)
    second.answer(200)
    expect(first).toMatchObject({ aborted: true, kind: Kind.Cancelled })
    expect(call.call).toMatchObject({ status: 200, flag: '-', winner: second, phase: Phase.Done })
    expect(one.cluster).toMatchObject({ active: 0, retrying: 0 })
  })

  it('is not started for what must not be executed twice', () => {
    for (const change of [{ hedgeable: false }, { replayable: false }]) {
      const one = lab()
      const exchange = one.exchange()
      Object.assign(exchange, change)
      one.run(exchange)
      one.advance(500)
      expect(exchange.attempts.length).toBe(1)
    }
    const one = lab()
    const post = one.call(false)
    one.advance(500)
    expect(post.attempts.length).toBe(1)
  })

  it('waits again after a stall of our own loop, which says nothing about the peer', () => {
    const one = lab()
    const exchange = one.call()
    one.time += 400
    one.engine.wheel.tick(one.time, true)
    expect(exchange.attempts.length).toBe(1)
    one.advance(500)
    expect(exchange.attempts.length).toBe(2)
  })

  it('is not started without a spare host, budget, or room among the retries', () => {
    const none = { kind: 'concurrency', percent: 0, minConcurrency: 0 } as const
    const limits = { ...lab().cluster.spec.limits, maxRetries: 0 }
    for (const cluster of [{ endpoints: endpoints(1) }, { retryBudget: none }, { limits }]) {
      const one = Lab.of({ endpoints: endpoints(3), ...cluster }, { hedge: hedge() })
      const call = one.call()
      one.advance(500)
      expect(call.attempts.length).toBe(1)
      call.latest.answer(200)
      expect(call.call.status).toBe(200)
    }
  })

  it('goes on as often as the policy says', () => {
    const one = lab({ maxHedges: 2 }, {}, 5)
    const call = one.call()
    one.advance(1_000)
    expect(call.attempts.length).toBe(3)
    expect(new Set(call.attempts.map((a) => a.host)).size).toBe(3)
    call.call.cancel(null)
    expect(call.attempts.every((a) => a.aborted)).toBe(true)
  })

  it('saves the call when the other try fails, and a failure counts only when none is left', () => {
    const one = lab({}, { retry: retrySpec({ numRetries: 0 }) })
    const call = one.call()
    one.advance(120)
    call.attempts[1]!.answer(503)
    expect(call.call.phase).toBe(Phase.Trying)
    call.attempts[0]!.end(Kind.Reset, null)
    expect(call.rejection?.flag).toBe('UC')

    const saved = one.call()
    one.advance(120)
    saved.attempts[0]!.end(Kind.Reset, null)
    saved.attempts[1]!.answer(200)
    expect(saved.call.status).toBe(200)
  })

  it('leaves its number of retries to the policy of retries', () => {
    const one = lab({}, { retry: retrySpec({ numRetries: 1, statusCodes: [503] }) })
    const call = one.call()
    one.advance(120)
    call.attempts[0]!.answer(503)
    call.attempts[1]!.answer(503)
    one.advance(100)
    expect(call.attempts.length).toBe(3)
    call.attempts[2]!.answer(503)
    expect(call.call).toMatchObject({ status: 503, flag: 'URX' })
  })

  it('blames nobody for having been slower', () => {
    const breaker = breakerSpec({ minimumRequests: 1, thresholdPercent: 1 })
    const one = Lab.of({ endpoints: endpoints(3), breaker }, { hedge: hedge() })
    for (let i = 0; i < 20; i++) {
      const call = one.call()
      one.advance(120)
      call.latest.answer(200)
    }
    expect(one.cluster.breaker!.state).toBe('closed')
  })

  it('waits for the percentile of recent latencies, and not at all before enough is known', () => {
    const one = lab({ delayMs: null, percentile: 95 })
    const early = one.call()
    one.advance(2_000)
    expect(early.attempts.length).toBe(1)
    for (let i = 0; i < 100; i++) {
      const call = one.call()
      one.advance(i < 98 ? 40 : 400)
      call.latest.answer(200)
    }
    const call = one.call()
    one.advance(30)
    expect(call.attempts.length).toBe(1)
    one.advance(40)
    expect(call.attempts.length).toBe(2)
  })

  it('may follow the limit of a try, which goes on and is held against its host', () => {
    const breaker = breakerSpec({ minimumRequests: 1, thresholdPercent: 1 })
    const one = Lab.of(
      { endpoints: endpoints(3), breaker },
      {
        hedge: hedge({ delayMs: null, onTryTimeout: true }),
        retry: retrySpec({ retryOn: ['5xx'], perTryTimeoutMs: 200 }),
      },
    )
    const call = one.call()
    one.advance(220)
    expect(call.attempts.length).toBe(2)
    expect(call.attempts[0]!.aborted).toBe(false)
    expect(one.cluster.breaker!.state).toBe('open')
    call.attempts[0]!.answer(200)
    expect(call.call).toMatchObject({ status: 200, winner: call.attempts[0] })
    expect(call.attempts[1]!.aborted).toBe(true)
  })

  it('ends with its call at the deadline', () => {
    const one = lab({}, { timeoutMs: 300 })
    const call = one.call()
    one.advance(400)
    expect(call.rejection?.flag).toBe('UT')
    expect(call.attempts.map((a) => [a.aborted, a.kind])).toEqual([
      [true, Kind.TryTimeout],
      [true, Kind.TryTimeout],
    ])
    expect(one.cluster).toMatchObject({ active: 0, retrying: 0 })
    expect(one.engine.wheel.size).toBe(0)
  })
})

describe('latencies', () => {
  it('tell percentiles within a tenth', () => {
    const latencies = new Latencies()
    for (let i = 1; i <= 1_000; i++) latencies.record(i, 0)
    for (const percent of [10, 50, 95, 99, 100]) {
      const ms = latencies.percentile(percent, 1)
      expect(ms).toBeGreaterThanOrEqual(percent * 10)
      expect(ms).toBeLessThanOrEqual(percent * 10 * 1.1)
    }
  })

  it('say nothing about too few, and forget', () => {
    const latencies = new Latencies()
    for (let i = 0; i < LEAST_SAMPLES - 1; i++) latencies.record(5, 0)
    expect(latencies.percentile(50, 1)).toBe(Number.POSITIVE_INFINITY)
    for (let i = 0; i < 100; i++) latencies.record(5, 1)
    expect(latencies.percentile(50, 200)).toBeLessThan(6)
    for (let i = 0; i < 50; i++) latencies.record(50, 25_000)
    expect(latencies.percentile(50, 25_000)).toBeGreaterThan(40)
    expect(latencies.percentile(50, 120_000)).toBe(Number.POSITIVE_INFINITY)
  })
})
