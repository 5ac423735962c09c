import { describe, expect, it } from 'vitest'
import type { FaultAbort, FaultDelay, FaultSpec, RouteSpec } from '../model/route.ts'
import type { CallEvents } from './events.ts'
import { compileFault } from './fault.ts'
import { Lab, type LabExchange } from './testing/lab.ts'
import { breakerSpec, clusterSpec, noLimits, retrySpec, routeSpec } from './testing/specs.ts'

const always = 1_000_000
const none: CallEvents = { callStart() {}, attemptStart() {}, attemptEnd() {}, callEnd() {} }

function faulty(fault: Partial<FaultSpec>, route: Partial<RouteSpec> = {}, events: CallEvents = none): Lab {
  const spec: FaultSpec = { delay: null, abort: null, headers: [], maxActive: Number.POSITIVE_INFINITY, ...fault }
  const lab = new Lab(events)
  const limits = { ...noLimits, maxRequests: 2 }
  lab.apply([clusterSpec('c', { limits, breaker: breakerSpec() })], [routeSpec('c', { fault: spec, ...route })])
  return lab
}

const delay = (ms: number | null, perMillion = always): FaultDelay => ({ ms, perMillion })
const abort = (how: FaultAbort['how'], perMillion = always): FaultAbort => ({ how, perMillion })
const status = (value: number): FaultAbort => abort({ kind: 'http', status: value })

/** Header names of every call of the lab. */
function withHeaders(lab: Lab, headers: Record<string, string>): LabExchange {
  return lab.call(true, headers)
}

describe('an injected abort', () => {
  it('answers at once, is not retried and counts for nobody', () => {
    const lab = faulty({ abort: status(503) }, { retry: retrySpec({ retryOn: ['5xx'] }) })
    for (let i = 0; i < 20; i++) {
      const exchange = lab.call()
      expect(exchange.rejection).toMatchObject({ status: 503, flag: 'FI', details: 'fault_filter_abort' })
      expect(exchange.attempts).toEqual([])
      expect(exchange.call).toMatchObject({ status: 503, flag: 'FI' })
    }
    expect(lab.cluster.breaker!.state).toBe('closed')
  })

  it('of a destination comes before that of its route (gRFC A33)', () => {
    const own: FaultSpec = { delay: null, abort: status(418), headers: [], maxActive: Number.POSITIVE_INFINITY }
    const to = (fault: FaultSpec | null) => ({
      action: { kind: 'forward' as const, clusters: [{ name: 'c', weight: 1, fault }] },
    })
    expect(faulty({ abort: status(503) }, to(own)).call().rejection).toMatchObject({ status: 418 })
    expect(faulty({ abort: status(503) }, to(null)).call().rejection).toBeNull()
  })

  it.each([
    [14, 503],
    [5, 404],
    [16, 401],
    [4, 504],
    [8, 429],
    [0, 200],
  ])('with gRPC status %i is %i to a caller of HTTP', (code, http) => {
    const lab = faulty({ abort: abort({ kind: 'grpc', code }) })
    expect(lab.call().rejection).toMatchObject({ status: http, grpcStatus: code })
  })

  it('hits its share of calls', () => {
    const lab = faulty({ abort: abort({ kind: 'http', status: 500 }, 250_000) })
    let hit = 0
    for (let i = 0; i < 4_000; i++) {
      const exchange = lab.call()
      if (exchange.rejection === null) exchange.latest.answer(200)
      else hit++
    }
    expect(Math.abs(hit / 4_000 - 0.25)).toBeLessThan(0.03)
  })

  it('of no share is none', () => {
    const lab = faulty({ abort: abort({ kind: 'http', status: 500 }, 0), delay: delay(100, 0) })
    for (let i = 0; i < 100; i++) lab.call().latest.answer(200)
  })

  it('only hits requests whose headers match', () => {
    const match = { kind: 'exact' as const, value: 'yes', ignoreCase: false }
    const headers = [{ name: 'x-chaos', invert: false, missingAsEmpty: false, kind: 'string' as const, match }]
    const lab = faulty({ abort: status(418), headers })
    expect(lab.call().rejection).toBeNull()
    expect(withHeaders(lab, { 'x-chaos': 'yes' }).rejection).toMatchObject({ status: 418 })
  })
})

describe('an injected delay', () => {
  it('holds the call, and not its place', () => {
    const lab = faulty({ delay: delay(500) })
    const held = [1, 2, 3].map(() => lab.call())
    expect(held.map((e) => e.attempts.length)).toEqual([0, 0, 0])
    lab.advance(400)
    expect(held[0]!.attempts).toEqual([])
    lab.advance(200)
    // Two may be in flight; the third was refused when it got there.
    expect(held.map((e) => e.attempts.length)).toEqual([1, 1, 0])
    expect(held[2]!.rejection).toMatchObject({ flag: 'UO,DI' })
    held[0]!.latest.answer(200)
    expect(held[0]!.call).toMatchObject({ status: 200, flag: 'DI' })
  })

  it('comes before the timeout of the route begins', () => {
    const lab = faulty({ delay: delay(1_000) }, { timeoutMs: 300 })
    const exchange = lab.call()
    lab.advance(1_200)
    expect(exchange.attempts.length).toBe(1)
    expect(exchange.rejection).toBeNull()
    lab.advance(300)
    expect(exchange.rejection).toMatchObject({ status: 504 })
    expect(exchange.call.flag).toBe('UT,DI')
  })

  it('does not outlast the deadline of the caller', () => {
    const lab = faulty({ delay: delay(1_000) })
    const exchange = lab.call(true, {}, lab.time + 200)
    lab.advance(300)
    expect(exchange.rejection).toMatchObject({ status: 504 })
    lab.advance(2_000)
    expect(exchange.attempts).toEqual([])
    expect(lab.engine.wheel.size).toBe(0)
  })

  it('is followed by an abort that is drawn by itself', () => {
    const lab = faulty({ delay: delay(100), abort: status(500) })
    const exchange = lab.call()
    expect(exchange.rejection).toBeNull()
    lab.advance(200)
    expect(exchange.rejection).toMatchObject({ status: 500, flag: 'DI,FI' })
    expect(exchange.call).toMatchObject({ flag: 'DI,FI', attempts: 0 })

    const both = faulty({ delay: delay(10, 500_000), abort: abort({ kind: 'http', status: 500 }, 500_000) })
    const count: Record<string, number> = {}
    for (let i = 0; i < 2_000; i++) {
      const one = both.call()
      both.advance(50)
      if (one.rejection === null) one.latest.answer(200)
      count[one.call.flag] = (count[one.call.flag] ?? 0) + 1
    }
    for (const flag of ['-', 'DI', 'FI', 'DI,FI']) expect(Math.abs(count[flag]! - 500)).toBeLessThan(90)
  })

  it('of a call that was given up ends with its time', () => {
    const lab = faulty({ delay: delay(100), maxActive: 1 })
    const exchange = lab.call()
    exchange.call.cancel(null)
    lab.advance(200)
    expect(exchange.attempts).toEqual([])
    const next = lab.call()
    expect(next.attempts).toEqual([])
    lab.advance(200)
    expect(next.attempts.length).toBe(1)
  })

  it('is not injected into more calls than allowed at a time', () => {
    const lab = faulty({ delay: delay(100), maxActive: 1 })
    const first = lab.call()
    expect(lab.call().attempts.length).toBe(1)
    lab.advance(200)
    first.latest.answer(200)
    expect(lab.call().attempts).toEqual([])
  })
})

it('counts the delayed calls of each route by itself', () => {
  const fault: FaultSpec = { delay: delay(100), abort: null, headers: [], maxActive: 1 }
  expect(compileFault(fault)).not.toBe(compileFault({ ...fault }))
  const unlimited = { ...fault, maxActive: Number.POSITIVE_INFINITY }
  expect(compileFault(unlimited)).toBe(compileFault({ ...unlimited }))
})

describe('faults that requests ask for', () => {
  it.each<[Record<string, string>, number | null]>([
    [{}, null],
    [{ 'x-envoy-fault-abort-request': '418' }, 418],
    [{ 'x-envoy-fault-abort-request': '99' }, null],
    [{ 'x-envoy-fault-abort-request': 'no' }, null],
    [{ 'x-envoy-fault-abort-grpc-request': '5' }, 404],
    [{ 'x-envoy-fault-abort-grpc-request': '17' }, null],
    [{ 'x-envoy-fault-abort-request': '418', 'x-envoy-fault-abort-grpc-request': '5' }, 418],
    [{ 'x-envoy-fault-abort-request': '418', 'x-envoy-fault-abort-request-percentage': '0' }, null],
    [{ 'x-envoy-fault-abort-request': '418', 'x-envoy-fault-abort-request-percentage': '100' }, 418],
  ])('abort: %j is %s', (headers, expected) => {
    const exchange = withHeaders(faulty({ abort: abort({ kind: 'header' }) }), headers)
    expect(exchange.rejection?.status ?? null).toBe(expected)
  })

  it('are no more than are configured', () => {
    const lab = faulty({ abort: abort({ kind: 'header' }, 0), delay: delay(null, 0) })
    const all = { 'x-envoy-fault-abort-request': '500', 'x-envoy-fault-abort-request-percentage': '100' }
    expect(withHeaders(lab, { ...all, 'x-envoy-fault-delay-request': '50' }).attempts.length).toBe(1)
  })

  it.each<[Record<string, string>, boolean]>([
    [{}, false],
    [{ 'x-envoy-fault-delay-request': '50' }, true],
    [{ 'x-envoy-fault-delay-request': '0' }, false],
    [{ 'x-envoy-fault-delay-request': '-1' }, false],
    [{ 'x-envoy-fault-delay-request': '50', 'x-envoy-fault-delay-request-percentage': '0' }, false],
  ])('delay: %j: %s', (headers, delayed) => {
    const lab = faulty({ delay: delay(null) })
    const exchange = withHeaders(lab, headers)
    expect(exchange.attempts.length).toBe(delayed ? 0 : 1)
    lab.advance(100)
    expect(exchange.attempts.length).toBe(1)
  })
})
