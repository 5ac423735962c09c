import { describe, expect, it } from 'vitest'
import type { HealthCheckSpec } from '../model/cluster.ts'
import type { CheckResult, HealthProbe } from './health.ts'
import type { HostRuntime } from './host.ts'
import { Lab } from './testing/lab.ts'
import { clusterSpec, endpoint, endpoints, routeSpec } from './testing/specs.ts'

function checkSpec(over: Partial<HealthCheckSpec> = {}): HealthCheckSpec {
  return {
    timeoutMs: 200,
    intervalMs: 1_000,
    intervalJitterPercent: 0,
    noTrafficIntervalMs: 1_000,
    unhealthyThreshold: 3,
    healthyThreshold: 2,
    how: { kind: 'tcp' },
    ...over,
  }
}

interface Pending {
  readonly host: HostRuntime
  readonly at: number
  readonly done: (result: CheckResult) => void
  givenUp: boolean
}

/** A lab whose checks are answered by the test. */
function labWith(specs: readonly HealthCheckSpec[], count = 2, over = {}) {
  const lab = new Lab()
  const checks: Pending[] = []
  const probe: HealthProbe = (_cluster, host, _spec, done) => {
    const check = { host, at: lab.time, done, givenUp: false }
    checks.push(check)
    return () => {
      check.givenUp = true
    }
  }
  lab.engine.probe = probe
  const apply = (n: number, healthChecks = specs) =>
    lab.apply([clusterSpec('c', { endpoints: endpoints(n), healthChecks, ...over })], [routeSpec('c')])
  apply(count)
  const latest = (index: number) => checks.findLast((c) => c.host === lab.cluster.hosts[index])!
  /** The next check of a host, answered. */
  const answer = (index: number, result: CheckResult) => {
    const before = checks.filter((c) => c.host === lab.cluster.hosts[index]).length
    for (let i = 0; i < 10_000; i++) {
      if (checks.filter((c) => c.host === lab.cluster.hosts[index]).length > before) break
      lab.advance(10)
    }
    latest(index).done(result)
  }
  return { lab, checks, latest, answer, apply }
}

describe('active health checks', () => {
  it('decide by the first result at once, either way', () => {
    const { lab, answer } = labWith([checkSpec()])
    expect(lab.cluster.usable.length).toBe(2)
    answer(0, 'failed')
    expect(lab.cluster.usable).toEqual([lab.cluster.hosts[1]])
    const other = labWith([checkSpec()])
    other.answer(0, 'healthy')
    other.answer(0, 'failed')
    expect(other.lab.cluster.hosts[0]!.checkFailed).toBe(false)
  })

  it('take a host out after so many in a row without an answer, and back after so many good ones', () => {
    const { lab, answer } = labWith([checkSpec()])
    const host = lab.cluster.hosts[0]!
    const seen = (results: readonly CheckResult[]) =>
      results.map((result) => {
        answer(0, result)
        return !host.checkFailed
      })
    expect(seen(['healthy', 'failed', 'failed', 'healthy', 'failed', 'failed', 'failed'])).toEqual([
      true,
      true,
      true,
      true,
      true,
      true,
      false,
    ])
    expect(seen(['healthy', 'failed', 'healthy', 'healthy'])).toEqual([false, false, false, true])
    expect(host.healthySince).toBe(lab.time)
  })

  it('believe a host at once that says it is not well', () => {
    const { lab, answer } = labWith([checkSpec()])
    answer(0, 'healthy')
    answer(0, 'unhealthy')
    expect(lab.cluster.hosts[0]!.checkFailed).toBe(true)
  })

  it('give a check up when its time is over, and count that as no answer', () => {
    const { lab, latest } = labWith([checkSpec({ timeoutMs: 200 })])
    lab.advance(20)
    const check = latest(0)
    lab.advance(230)
    expect(check.givenUp).toBe(true)
    expect(lab.cluster.hosts[0]!.checkFailed).toBe(true)
    check.done('healthy')
    expect(lab.cluster.hosts[0]!.checkFailed).toBe(true)
  })

  it('blame nobody for a timeout while the own loop stood still', () => {
    const { lab } = labWith([checkSpec({ timeoutMs: 200 })])
    lab.advance(20)
    lab.time += 500
    expect(lab.engine.wheel.tick(lab.time)).toBe(false)
    lab.engine.wheel.tick(lab.time, true)
    expect(lab.cluster.hosts.some((h) => h.checkFailed)).toBe(false)
  })

  it('come at their interval with jitter, and seldom while no call goes there', () => {
    const { lab, checks, answer } = labWith(
      [checkSpec({ intervalMs: 1_000, noTrafficIntervalMs: 5_000, intervalJitterPercent: 50 })],
      1,
    )
    for (let i = 0; i < 4; i++) answer(0, 'healthy')
    const pauses = (from: number, to: number) => checks.slice(from + 1, to).map((c, i) => c.at - checks[from + i]!.at)
    for (const pause of pauses(0, 4)) expect(pause >= 5_000 && pause <= 7_520).toBe(true)
    lab.answers(1, 200)
    for (let i = 0; i < 20; i++) answer(0, 'healthy')
    const now = pauses(5, 24)
    for (const pause of now) expect(pause >= 1_000 && pause <= 1_520).toBe(true)
    expect(new Set(now).size).toBeGreaterThan(5)
  })

  it('spread the first checks of a large cluster', () => {
    const { lab, checks } = labWith([checkSpec()], 500)
    lab.advance(100)
    expect(checks.length).toBeGreaterThan(20)
    expect(checks.length).toBeLessThan(200)
    lab.advance(500)
    expect(new Set(checks.map((c) => c.host)).size).toBe(500)
  })

  it('need all of several checks', () => {
    const { lab, checks } = labWith([checkSpec(), checkSpec({ intervalMs: 1_500 })], 1)
    lab.advance(20)
    checks[0]!.done('healthy')
    checks[1]!.done('unhealthy')
    expect(lab.cluster.usable).toEqual([])
  })

  it('end with the host, with the cluster and with their configuration', () => {
    const { lab, checks, answer, apply } = labWith([checkSpec()], 2)
    answer(0, 'unhealthy')
    lab.advance(1_000)
    apply(1)
    expect(checks.filter((c) => c.host.gone).every((c) => c.givenUp || lab.engine.wheel.size > 0)).toBe(true)
    apply(1, [])
    expect(lab.cluster.usable.length).toBe(1)
    expect(lab.engine.wheel.size).toBe(0)
    apply(2)
    lab.advance(20)
    lab.apply([], [])
    expect(lab.engine.wheel.size).toBe(0)
    expect(checks.at(-1)!.givenUp).toBe(true)
  })

  it('leave hosts as their registry says while nobody can make checks', () => {
    const { lab, apply } = labWith([checkSpec()])
    lab.engine.probe = null
    apply(3)
    lab.advance(10_000)
    expect(lab.cluster.usable.length).toBe(3)
  })

  it('do not make a host usable that its registry says is not', () => {
    const { lab, answer } = labWith([checkSpec()], 2, { endpoints: [endpoint(0, { health: 'DRAINING' }), endpoint(1)] })
    answer(0, 'healthy')
    expect(lab.cluster.usable.length).toBe(1)
  })
})
