import { describe, expect, it } from 'vitest'
import type { BreakerSpec } from '../model/cluster.ts'
import { Kind } from './outcome.ts'
import { Lab } from './testing/lab.ts'
import { breakerSpec, clusterSpec, endpoints, everyPath, outlierSpec, retrySpec, routeSpec } from './testing/specs.ts'

const labWith = (over: Partial<BreakerSpec> = {}) => Lab.of({ breaker: breakerSpec(over) }, { timeoutMs: 500 })

function stateOf(lab: Lab): string {
  return lab.cluster.breaker!.state
}

/** Opens a closed breaker; returns for how long, in ms. */
function open(lab: Lab): number {
  while (stateOf(lab) === 'closed') lab.answers(1, 503)
  return lab.cluster.breaker!.openUntil - lab.time
}

describe('the breaker', () => {
  it('opens above its share of failures, once there are enough calls', () => {
    const lab = labWith({ minimumRequests: 4 })
    lab.answers(3, 500)
    expect(stateOf(lab)).toBe('closed')
    lab.answers(1, 500)
    expect(stateOf(lab)).toBe('open')
    const half = labWith({ minimumRequests: 4 })
    half.answers(2, 200)
    half.answers(2, 500)
    expect(stateOf(half)).toBe('closed')
    half.answers(1, 500)
    expect(stateOf(half)).toBe('open')
  })

  it.each([400, 401, 404, 409, 429, 499])('is not moved by status %i', (status) => {
    const lab = labWith({ minimumRequests: 1, thresholdPercent: 1 })
    lab.answers(50, status)
    expect(stateOf(lab)).toBe('closed')
  })

  it.each([
    [Kind.ConnectFailure, 'open'],
    [Kind.Reset, 'open'],
    [Kind.ProtocolError, 'open'],
    [Kind.TryTimeout, 'open'],
    [Kind.Refused, 'closed'],
    [Kind.Local, 'closed'],
    [Kind.Cancelled, 'closed'],
  ])('takes attempts that ended as kind %i for: %s', (kind, state) => {
    const lab = labWith()
    for (let i = 0; i < 4; i++) lab.call().latest.end(kind, null)
    expect(stateOf(lab)).toBe(state)
  })

  it('counts deadlines, but not those of its own stall, nor callers who leave, nor its own refusals', () => {
    const lab = labWith()
    for (let i = 0; i < 4; i++) lab.call()
    lab.advance(600)
    expect(stateOf(lab)).toBe('open')

    const stalled = labWith()
    const calls = Array.from({ length: 4 }, () => stalled.call())
    stalled.time += 2_000
    expect(stalled.engine.wheel.tick(stalled.time)).toBe(false)
    stalled.engine.wheel.tick(stalled.time, true)
    expect(calls.every((c) => c.call.status === 504)).toBe(true)
    expect(stateOf(stalled)).toBe('closed')

    const left = labWith()
    for (let i = 0; i < 9; i++) left.call().call.cancel(null)
    expect(stateOf(left)).toBe('closed')

    const until = open(lab)
    const refused = lab.call()
    expect(refused.attempts.length).toBe(0)
    expect(refused.call.status).toBe(503)
    expect(lab.cluster.breaker!.openUntil - lab.time).toBe(until)
  })

  it('takes a body that breaks for a failure of that one call', () => {
    const lab = labWith()
    for (let i = 0; i < 4; i++) {
      const { latest } = lab.call()
      latest.sent()
      expect(latest.head(200, -1)).toBe(true)
      latest.end(Kind.Reset, null)
    }
    expect(stateOf(lab)).toBe('open')
  })

  it('stays open for its recovery time, give or take a fifth', () => {
    const waits = Array.from({ length: 200 }, (_, i) => {
      const lab = labWith()
      for (let n = 0; n < i; n++) lab.random.u32()
      return open(lab)
    })
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(800)
    expect(Math.max(...waits)).toBeLessThanOrEqual(1_200)
    expect(Math.max(...waits) - Math.min(...waits)).toBeGreaterThan(300)
  })

  it('doubles it after each bad probe up to the longest, and starts over once closed, with an empty window', () => {
    const lab = labWith({ recoveryMs: 1_000, maxRecoveryMs: 4_000 })
    open(lab)
    for (const expected of [2_000, 4_000, 4_000]) {
      lab.advance(lab.cluster.breaker!.openUntil - lab.time)
      lab.answers(1, 500)
      expect(stateOf(lab)).toBe('open')
      const wait = lab.cluster.breaker!.openUntil - lab.time
      expect(wait / expected).toBeGreaterThanOrEqual(0.8)
      expect(wait / expected).toBeLessThanOrEqual(1.2)
    }
    lab.advance(lab.cluster.breaker!.openUntil - lab.time)
    lab.answers(1, 200)
    expect(stateOf(lab)).toBe('closed')
    lab.answers(3, 500)
    expect(stateOf(lab)).toBe('closed')
    expect(open(lab)).toBeLessThanOrEqual(1_200)
  })

  it('lets as many probes pass as it is told, and another when they leave without an outcome', () => {
    const lab = labWith({ halfOpenProbes: 2 })
    open(lab)
    lab.advance(1_300)
    const probes = Array.from({ length: 4 }, () => lab.call())
    expect(probes.map((p) => p.attempts.length)).toEqual([1, 1, 0, 0])
    probes[0]!.call.cancel(null)
    expect(lab.call().attempts.length).toBe(1)
    expect(lab.call().attempts.length).toBe(0)
  })

  it('is not kept open by a probe that hangs, nor by the long answer of an old probe', () => {
    const lab = Lab.of({ breaker: breakerSpec() })
    open(lab)
    lab.advance(1_300)
    lab.call()
    expect(lab.call().attempts.length).toBe(0)
    lab.advance(1_300)
    const second = lab.call()
    expect(second.latest.head(200, -1)).toBe(true)
    expect(stateOf(lab)).toBe('closed')
    // The second one's body is still coming.
    open(lab)
    lab.advance(1_300)
    expect(lab.call().attempts.length).toBe(1)
  })

  it('forgets by time', () => {
    const lab = labWith({ windowMs: 1_000 })
    lab.answers(3, 500)
    lab.advance(1_100)
    lab.answers(1, 500)
    expect(stateOf(lab)).toBe('closed')
  })
})

describe('what a peer shed', () => {
  it('is no failure to breakers and outlier detection, and is paid for like any other repeat', () => {
    const lab = Lab.of(
      {
        endpoints: endpoints(3),
        breaker: breakerSpec({ minimumRequests: 1, thresholdPercent: 1 }),
        outlier: outlierSpec({ consecutive5xx: 1, consecutiveGatewayErrors: 1 }),
        retryBudget: { kind: 'window', percent: 0, windowMs: 10_000, floorPerSecond: 0.1 },
      },
      { retry: retrySpec({ numRetries: 1 }) },
    )
    const shed = () => {
      const call = lab.call()
      while (call.call.status === 0) {
        call.latest.overloaded = true
        call.latest.answer(503)
        lab.advance(300)
      }
      return call
    }
    expect(shed().call.flag).toBe('URX')
    expect(shed().call.flag).toBe('UO')
    expect(stateOf(lab)).toBe('closed')
    expect(lab.cluster.hosts.map((h) => h.ejectedUntil)).toEqual([0, 0, 0])
  })
})

describe('the breaker of a route', () => {
  it('tells of its changes with the name of the route, that of the cluster without', () => {
    const told: string[] = []
    const events = {
      callStart: () => undefined,
      attemptStart: () => undefined,
      attemptEnd: () => undefined,
      callEnd: () => undefined,
      breakerChange: (cluster: { name: string }, from: string, to: string, _now: number, route: string | null) =>
        void told.push(`${cluster.name} ${route}: ${from} to ${to}`),
    }
    const breaker = breakerSpec({ minimumRequests: 4 })
    const ofRoute = Lab.of({}, { name: 'fragile', breaker, timeoutMs: 500 }, events)
    ofRoute.answers(4, 503)
    expect(told.splice(0)).toEqual(['c fragile: closed to open'])
    Lab.of({ breaker }, { timeoutMs: 500 }, events).answers(4, 503)
    expect(told).toEqual(['c null: closed to open'])
  })

  const spec = breakerSpec({ minimumRequests: 2, recoveryMs: 1_000 })
  const path = (value: string) => ({ ...everyPath, path: { kind: 'prefix', value, ignoreCase: false } }) as const
  const routes = () => [
    routeSpec('c', { name: 'fragile', match: { ...path('/'), headers: [fragile] }, breaker: { ...spec } }),
    routeSpec('c', { name: 'other' }),
  ]
  const fragile = { name: 'x-fragile', kind: 'present', present: true, invert: false, missingAsEmpty: false } as const
  const lab = () => {
    const made = new Lab()
    made.apply([clusterSpec('c')], routes())
    return made
  }
  const failing = (made: Lab) => {
    for (let i = 0; i < 2; i++) made.call(true, { 'x-fragile': '1' }).latest.answer(500)
  }

  it('refuses calls of that route alone', () => {
    const made = lab()
    failing(made)
    expect(made.call(true, { 'x-fragile': '1' }).rejection?.details).toBe('circuit_breaker_open')
    expect(made.call().rejection).toBe(null)
  })

  it('keeps its state when configuration is new and its options are not', () => {
    const made = lab()
    failing(made)
    made.apply([clusterSpec('c', { endpoints: endpoints(3) })], routes())
    expect(made.call(true, { 'x-fragile': '1' }).rejection?.flag).toBe('UO')
    made.advance(1_300)
    made.call(true, { 'x-fragile': '1' }).latest.answer(200)
    expect(made.call(true, { 'x-fragile': '1' }).rejection).toBe(null)
  })

  it('begins anew with other options', () => {
    const made = lab()
    failing(made)
    const [first, second] = routes()
    made.apply([clusterSpec('c')], [{ ...first!, breaker: { ...spec, minimumRequests: 5 } }, second!])
    expect(made.call(true, { 'x-fragile': '1' }).rejection).toBe(null)
  })
})

describe('the limit on requests', () => {
  it('counts calls, not attempts, from their gates to their end', () => {
    const limits = { ...clusterSpec('c').limits, maxRequests: 2 }
    const lab = Lab.of({ limits, endpoints: endpoints(1) }, { retry: retrySpec() })
    const [first, second] = [lab.call(), lab.call()]
    const third = lab.call()
    expect(third.rejection?.flag).toBe('UO')
    first.latest.answer(503)
    expect(lab.call().rejection?.flag).toBe('UO')
    second.latest.answer(200)
    expect(lab.call().rejection).toBe(null)
    lab.apply([clusterSpec('c', { limits: { ...limits, maxRequests: 3 } })], [routeSpec('c')])
    expect(lab.call().rejection).toBe(null)
    expect(lab.call().rejection?.flag).toBe('UO')
  })
})
