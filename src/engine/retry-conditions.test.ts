import { describe, expect, it } from 'vitest'
import type { HeaderMatch } from '../model/match.ts'
import type { RetryOn, RetrySpec } from '../model/route.ts'
import { Kind } from './outcome.ts'
import { Lab, WALL_OFFSET_MS } from './testing/lab.ts'
import { endpoints, retrySpec } from './testing/specs.ts'

const present = (name: string): HeaderMatch => ({
  name,
  kind: 'present',
  present: true,
  invert: false,
  missingAsEmpty: false,
})
const one = (retry: Partial<RetrySpec>, timeoutMs = Number.POSITIVE_INFINITY) =>
  Lab.of({ endpoints: endpoints(1) }, { timeoutMs, retry: retrySpec({ statusCodes: [], ...retry }) })

describe('a retry by gRPC code', () => {
  it.each<[RetryOn, number]>([
    ['cancelled', 1],
    ['deadline-exceeded', 4],
    ['resource-exhausted', 8],
    ['internal', 13],
    ['unavailable', 14],
  ])('%s means %i in the head of an answer and nothing else', (word, code) => {
    for (let given = -1; given <= 16; given++) {
      const lab = one({ retryOn: [word] })
      const call = lab.call()
      call.latest.answer(200, {}, given)
      lab.advance(300)
      expect([given, call.attempts.length]).toEqual([given, given === code ? 2 : 1])
    }
  })
})

describe('a retry by header', () => {
  it('of the answer needs the word and one of the headers, whatever the status', () => {
    for (const [retryOn, headers, attempts] of [
      [['retriable-headers'], { 'x-again': '1' }, 2],
      [['retriable-headers'], { 'x-other': '1' }, 1],
      [['reset'], { 'x-again': '1' }, 1],
    ] as const) {
      const lab = one({ retryOn, retriableHeaders: [present('x-never'), present('x-again')] })
      const call = lab.call()
      call.latest.answer(200, headers)
      lab.advance(300)
      expect(call.attempts.length).toBe(attempts)
    }
  })

  it('of the request is made for requests that have one of them only', () => {
    const lab = one({ retryOn: ['5xx'], retriableRequestHeaders: [present('x-may')] })
    for (const [headers, attempts] of [
      [{ 'x-may': '' }, 2],
      [{}, 1],
    ] as const) {
      const call = lab.call(true, headers)
      call.latest.answer(500)
      lab.advance(300)
      expect(call.attempts.length).toBe(attempts)
      call.call.cancel(null)
    }
  })

  it('by which an Envoy says that it limited the rate is made by that word alone', () => {
    for (const [retryOn, attempts] of [
      [['envoy-ratelimited'], 2],
      [['5xx'], 1],
    ] as const) {
      const lab = one({ retryOn })
      const call = lab.call()
      call.latest.rateLimited = true
      call.latest.answer(429)
      lab.advance(300)
      expect(call.attempts.length).toBe(attempts)
    }
  })
})

describe('a limit per try', () => {
  it('that is not below that of the whole call is ignored', () => {
    const lab = one({ retryOn: ['5xx'], perTryTimeoutMs: 1_000 }, 1_000)
    const call = lab.call()
    lab.advance(1_020)
    expect(call.attempts.length).toBe(1)
    expect(call.rejection?.details).toBe('upstream_response_timeout')
  })
})

describe('a peer that says when to come back', () => {
  const waits = (headers: Record<string, string>, spec: Partial<RetrySpec> = {}, status = 429) => {
    const lab = one({ statusCodes: [429, 503, 500], ...spec })
    const call = lab.call()
    const from = lab.time
    call.latest.answer(status, headers)
    while (call.attempts.length === 1 && lab.time < from + 700_000 && call.call.status === 0) lab.advance(10)
    return call.attempts.length === 1 ? null : lab.time - from
  }
  const seconds = { name: 'x-reset', format: 'SECONDS' } as const
  const stamp = { name: 'x-at', format: 'UNIX_TIMESTAMP' } as const
  const inSeconds = (n: number) => String(Math.ceil((WALL_OFFSET_MS + 1_000) / 1_000) + n)

  it.each([
    ['Retry-After in seconds', { 'retry-after': '2' }, 2_000],
    ['Retry-After as a date', { 'retry-after': new Date(WALL_OFFSET_MS + 4_000).toUTCString() }, 3_000],
    ['a date that is over', { 'retry-after': new Date(0).toUTCString() }, 0],
    ['retry-after-ms', { 'retry-after-ms': '350', 'retry-after': '9' }, 350],
    ['nonsense', { 'retry-after': 'soon' }, 0],
  ])('is not asked earlier: %s', (_name, headers, least) => {
    for (const status of [429, 503]) {
      const waited = waits(headers, {}, status)!
      expect(waited).toBeGreaterThanOrEqual(least)
      expect(waited).toBeLessThanOrEqual(Math.max(least * 1.5, 250) + 20)
    }
  })

  it('by Retry-After is heeded for 429 and 503 alone', () => {
    expect(waits({ 'retry-after': '5' }, {}, 500)).toBeLessThanOrEqual(300)
  })

  it('by a configured header is heeded whatever the status, the first that can be read', () => {
    expect(waits({ 'x-reset': '3' }, { resetHeaders: [seconds] }, 500)).toBeGreaterThanOrEqual(3_000)
    const both = { 'x-reset': 'soon', 'x-at': inSeconds(7) }
    const waited = waits(both, { resetHeaders: [seconds, stamp] }, 500)!
    expect(waited).toBeGreaterThanOrEqual(7_000)
    expect(waited).toBeLessThanOrEqual(7_000 * 1.5 + 1_500)
  })

  it('for longer than the cap: a configured header is ignored, after Retry-After there is no other try', () => {
    expect(waits({ 'x-reset': '301' }, { resetHeaders: [seconds] }, 500)).toBeLessThanOrEqual(300)
    expect(waits({ 'retry-after': '301' })).toBeNull()
    expect(waits({ 'retry-after': '2' }, { maxResetIntervalMs: 1_000 })).toBeNull()
  })

  it('beyond the deadline gets no other try: the answer is given as it is', () => {
    const lab = one({ statusCodes: [429] }, 1_500)
    const call = lab.call()
    call.latest.answer(429, { 'retry-after': '2' })
    expect(call.call.status).toBe(429)
    expect(call.call.flag).toBe('-')
    expect(call.attempts.length).toBe(1)
  })
})

describe('flags of what is not repeated', () => {
  it('are URX for the number, UO for budget and limit, none for anything else', () => {
    const cases: [Partial<RetrySpec>, boolean, string][] = [
      [{ numRetries: 1 }, true, 'URX'],
      [{}, false, '-'],
      [{ statusCodes: [] }, true, '-'],
    ]
    for (const [spec, idempotent, flag] of cases) {
      const lab = one({ statusCodes: [503], ...spec })
      const call = lab.call(idempotent)
      while (call.call.status === 0) {
        call.latest.answer(503)
        lab.advance(300)
      }
      expect(call.call.flag).toBe(flag)
    }
    const dry = Lab.of(
      { endpoints: endpoints(1), retryBudget: { kind: 'concurrency', percent: 0, minConcurrency: 0 } },
      { retry: retrySpec() },
    )
    const call = dry.call()
    call.latest.answer(503)
    expect(call.call.flag).toBe('UO')
  })

  it('are those of the deadline when that ends a call between its tries', () => {
    const lab = one({ statusCodes: [503], retryOn: ['reset'] }, 100)
    const call = lab.call()
    call.latest.answer(503)
    lab.advance(300)
    expect(['UT', '-']).toContain(call.call.flag)
  })
})

describe('a request that says for itself how it is retried', () => {
  const overriding = (lab: Lab, headers: Record<string, string>, idempotent = true) => {
    const exchange = lab.exchange(idempotent, headers)
    exchange.overriding = true
    return lab.run(exchange)
  }
  const tries = (lab: Lab, headers: Record<string, string>, status = 500, idempotent = true) => {
    const exchange = overriding(lab, headers, idempotent)
    for (let i = 0; i < 9 && exchange.call.status === 0; i++) {
      exchange.latest.answer(status)
      lab.advance(3_000)
    }
    return exchange.attempts.length
  }
  const bare = () => Lab.of({ endpoints: endpoints(1) }, { retry: null })

  it('is retried once without a route that says more, and as often as it wants', () => {
    expect(tries(bare(), { 'x-envoy-retry-on': '5xx' })).toBe(2)
    expect(tries(bare(), { 'x-envoy-retry-on': '5xx', 'x-envoy-max-retries': '4' })).toBe(5)
    expect(tries(bare(), { 'x-envoy-max-retries': '4' })).toBe(1)
    expect(tries(bare(), { 'x-envoy-retry-on': 'whatever' })).toBe(1)
  })

  it('adds its words, status numbers and header names to those of the route', () => {
    const route = () => one({ retryOn: ['reset'], numRetries: 1 })
    expect(tries(route(), { 'x-envoy-retry-on': 'gateway-error' }, 502)).toBe(2)
    expect(
      tries(route(), { 'x-envoy-retry-on': 'retriable-status-codes', 'x-envoy-retriable-status-codes': '418' }, 418),
    ).toBe(2)
    expect(tries(route(), { 'x-envoy-retriable-status-codes': '418' }, 418)).toBe(1)
    expect(tries(route(), { 'x-envoy-max-retries': '0' }, 503)).toBe(1)
  })

  it('cannot have repeated what may have been executed', () => {
    expect(tries(bare(), { 'x-envoy-retry-on': '5xx' }, 500, false)).toBe(1)
  })

  it('sets its own limits in time', () => {
    const lab = Lab.of({ endpoints: endpoints(1) }, { timeoutMs: 10_000, retry: retrySpec({ retryOn: ['reset'] }) })
    const short = overriding(lab, { 'x-envoy-upstream-rq-timeout-ms': '50' })
    lab.advance(70)
    expect(short.rejection?.flag).toBe('UT')
    const perTry = overriding(lab, { 'x-envoy-upstream-rq-per-try-timeout-ms': '50' })
    lab.advance(400)
    expect(perTry.attempts.length).toBeGreaterThan(1)
    const endless = overriding(lab, { 'x-envoy-upstream-rq-timeout-ms': '0' })
    lab.advance(60_000)
    expect(endless.call.phase).toBe(1)
  })
})

describe('a repeat that the library made on its own', () => {
  it('is paid for by the budget', () => {
    for (const retryBudget of [
      { kind: 'window', percent: 0, windowMs: 10_000, floorPerSecond: 0.1 },
      { kind: 'concurrency', percent: 0, minConcurrency: 1 },
    ] as const) {
      const lab = Lab.of({ endpoints: endpoints(1), retryBudget }, { retry: retrySpec() })
      const hidden = lab.call()
      hidden.latest.sent()
      hidden.latest.sent()
      expect(hidden.latest.hiddenRepeats).toBe(1)
      const call = lab.call()
      call.latest.answer(503)
      expect(call.call.flag).toBe('UO')
      hidden.latest.answer(200)
      const later = lab.call()
      later.latest.answer(503)
      expect(later.call.phase === 2).toBe(retryBudget.kind === 'concurrency')
      later.call.cancel(null)
    }
  })
})

describe('hosts that were tried', () => {
  it('are tried again when they are not to be avoided, which takes time and budget', () => {
    const lab = Lab.of(
      { endpoints: endpoints(2), lb: { policy: 'RANDOM' } },
      { retry: retrySpec({ avoidPreviousHosts: false, retryOn: ['connect-failure'] }) },
    )
    let same = 0
    for (let i = 0; i < 40; i++) {
      lab.advance(2_000)
      const call = lab.call()
      call.latest.end(Kind.ConnectFailure, null)
      expect(call.attempts.length).toBe(1)
      lab.advance(300)
      if (call.attempts[1]?.host === call.attempts[0]!.host) same++
      call.call.cancel(null)
    }
    expect(same).toBeGreaterThan(5)
    expect(same).toBeLessThan(35)
  })
})
