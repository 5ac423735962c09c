import { describe, expect, it } from 'vitest'
import type { OutlierRateSpec, OutlierSpec } from '../model/cluster.ts'
import type { HostRuntime } from './host.ts'
import { Kind } from './outcome.ts'
import { Lab } from './testing/lab.ts'
import { clusterSpec, endpoints, outlierSpec, routeSpec } from './testing/specs.ts'

const labOf = (count: number, over: Partial<OutlierSpec> = {}) =>
  Lab.of({ endpoints: endpoints(count), outlier: outlierSpec(over) })

/** Calls until `times` of them went to `host` and ended so; the others are well. */
function failAt(lab: Lab, host: HostRuntime, times: number, status: number): void {
  for (let left = times, guard = 0; left > 0; guard++) {
    if (guard > 1_000) throw new Error('the host is never picked')
    const { latest } = lab.call()
    if (latest.host === host) left--
    latest.answer(latest.host === host ? status : 200)
  }
}

describe('outlier detection', () => {
  it('ejects after errors in a row, which one success interrupts', () => {
    const lab = labOf(3)
    const host = lab.cluster.hosts[0]!
    failAt(lab, host, 2, 500)
    failAt(lab, host, 1, 200)
    failAt(lab, host, 2, 500)
    expect(host.ejectedUntil).toBe(0)
    failAt(lab, host, 1, 500)
    expect(host.ejectedUntil).toBe(lab.time + 2_000)
    expect(lab.cluster.usable).not.toContain(host)
  })

  it('counts gateway errors apart', () => {
    const over = { consecutive5xx: 0, consecutiveGatewayErrors: 2 }
    const lab = labOf(3, over)
    const host = lab.cluster.hosts[0]!
    failAt(lab, host, 5, 500)
    failAt(lab, host, 1, 502)
    failAt(lab, host, 1, 500)
    failAt(lab, host, 1, 504)
    expect(host.ejectedUntil).toBe(0)
    failAt(lab, host, 1, 503)
    expect(host.ejectedUntil).not.toBe(0)
  })

  it('takes connect failures, resets and timeouts for errors, and local refusals and cancels not', () => {
    for (const [kind, ejected] of [
      [Kind.ConnectFailure, true],
      [Kind.Reset, true],
      [Kind.TryTimeout, true],
      [Kind.Local, false],
      [Kind.Cancelled, false],
      [Kind.Refused, false],
    ] as const) {
      const lab = labOf(1)
      for (let i = 0; i < 3; i++) lab.call().latest.end(kind, null)
      expect(lab.cluster.hosts[0]!.ejectedUntil !== 0).toBe(ejected)
    }
  })

  it('ejects at most its share, and always one', () => {
    for (const [count, percent, most] of [
      [3, 10, 1],
      [1, 10, 1],
      [4, 50, 2],
      [10, 25, 2],
      [2, 100, 2],
    ] as const) {
      const lab = labOf(count, { maxEjectionPercent: percent, consecutive5xx: 1 })
      for (let i = 0; i < 100 && lab.cluster.usable.length > 0; i++) lab.answers(1, 500)
      expect(lab.cluster.hosts.filter((h) => h.ejectedUntil !== 0).length).toBe(most)
    }
  })

  it('lets hosts back in the sweep, for longer each time, and forgets while they do well', () => {
    const lab = labOf(2, { baseEjectionTimeMs: 2_000, maxEjectionTimeMs: 5_000, intervalMs: 1_000 })
    const host = lab.cluster.hosts[0]!
    for (const expected of [2_000, 4_000, 5_000, 5_000]) {
      failAt(lab, host, 3, 500)
      expect(host.ejectedUntil - lab.time).toBe(expected)
      lab.advance(expected - 20)
      expect(lab.cluster.usable).not.toContain(host)
      while (host.ejectedUntil !== 0) lab.advance(10)
      expect(lab.cluster.usable).toContain(host)
    }
    // Four intervals in which it is in.
    lab.advance(4_100)
    failAt(lab, host, 3, 500)
    expect(host.ejectedUntil - lab.time).toBe(2_000)
    lab.advance(20_000)
    expect(lab.engine.wheel.size).toBe(0)
  })

  it('lets a host back that left the cluster while it was out', () => {
    const lab = labOf(2)
    const [gone, stays] = lab.cluster.hosts
    const outlier = outlierSpec()
    const pending = lab.call()
    const other = lab.call()
    const flying = pending.latest.host === gone ? pending : other
    failAt(lab, gone!, 3, 500)
    lab.apply([clusterSpec('c', { endpoints: [stays!.spec], outlier })], [routeSpec('c')])
    lab.advance(500)
    lab.apply([clusterSpec('c', { endpoints: endpoints(2), outlier })], [routeSpec('c')])
    expect(lab.cluster.hosts[0]).toBe(gone)
    expect(lab.cluster.usable).not.toContain(gone)
    lab.advance(4_000)
    expect(lab.cluster.usable).toContain(gone)
    flying.latest.answer(200)
  })

  it('takes over who is out when its options change, and pardons all when it is switched off', () => {
    const lab = labOf(3)
    const host = lab.cluster.hosts[0]!
    failAt(lab, host, 3, 500)
    lab.apply([clusterSpec('c', { endpoints: endpoints(3), outlier: outlierSpec({ consecutive5xx: 9 }) })], [])
    expect(host.ejectedUntil).not.toBe(0)
    lab.advance(4_000)
    expect(host.ejectedUntil).toBe(0)

    const off = labOf(3)
    failAt(off, off.cluster.hosts[0]!, 3, 500)
    off.apply([clusterSpec('c', { endpoints: endpoints(3) })], [])
    expect(off.cluster.usable.length).toBe(3)
  })

  it('ejects a host whose bodies always break, though its heads are good', () => {
    const lab = labOf(3)
    const host = lab.cluster.hosts[0]!
    for (let i = 0; i < 30 && host.ejectedUntil === 0; i++) {
      const { latest } = lab.call()
      if (latest.host === host) {
        latest.sent()
        latest.head(200, -1)
        latest.end(Kind.Reset, null)
      } else latest.answer(200)
    }
    expect(host.ejectedUntil).not.toBe(0)
    expect(host.outlier).toMatchObject({ reason: 'consecutive-5xx', consecutive5xx: 3 })
  })

  it('counts an error whose body breaks once', () => {
    const lab = labOf(1)
    for (let i = 0; i < 2; i++) {
      const { latest } = lab.call()
      latest.sent()
      latest.head(500, -1)
      latest.end(Kind.Reset, null)
    }
    expect(lab.cluster.hosts[0]!.ejectedUntil).toBe(0)
  })

  it('counts failures of local origin apart when they are split', () => {
    const lab = labOf(3, { splitLocalOrigin: true, consecutiveLocalOrigin: 2 })
    const host = lab.cluster.hosts[0]!
    const fail = () => {
      for (let i = 0; i < 100; i++) {
        const { latest } = lab.call()
        if (latest.host === host) return latest.end(Kind.Reset, null)
        latest.answer(200)
      }
    }
    fail()
    // An answer, also a bad one, says that the host is there.
    failAt(lab, host, 2, 500)
    fail()
    expect(host.ejectedUntil).toBe(0)
    fail()
    expect(host.outlier.reason).toBe('consecutive-local-origin')
    const off = labOf(1, { splitLocalOrigin: true, consecutiveLocalOrigin: 0 })
    for (let i = 0; i < 20; i++) off.call().latest.end(Kind.ConnectFailure, null)
    expect(off.cluster.hosts[0]!.ejectedUntil).toBe(0)
  })

  it('takes for errors what it is told to', () => {
    const over = {
      errorStatuses: [
        { start: 429, end: 430 },
        { start: 503, end: 504 },
      ],
    }
    const lab = labOf(3, over)
    const host = lab.cluster.hosts[0]!
    failAt(lab, host, 2, 429)
    failAt(lab, host, 1, 500)
    failAt(lab, host, 2, 503)
    expect(host.ejectedUntil).toBe(0)
    failAt(lab, host, 1, 429)
    expect(host.ejectedUntil).not.toBe(0)
  })

  const rate: OutlierRateSpec = {
    minimumHosts: 5,
    requestVolume: 20,
    stdevFactor: 1.9,
    thresholdPercent: 85,
    enforcingPercent: 100,
  }
  const consecutiveOff = { consecutive5xx: 0, consecutiveGatewayErrors: 0 }

  /** 20 calls to each host; a host's share of failures by its index. */
  function interval(lab: Lab, failing: readonly number[]): void {
    const left = lab.cluster.hosts.map(() => 20)
    const bad = failing.map((share) => Math.round(share * 20))
    for (let guard = 0; guard < 5_000 && left.some((n) => n > 0); guard++) {
      const { latest } = lab.call()
      const i = lab.cluster.hosts.indexOf(latest.host)
      if (left[i]!-- <= 0) {
        latest.end(Kind.Local, null)
        continue
      }
      latest.answer((bad[i] ?? 0) > 0 ? 500 : 200)
      if (bad[i] !== undefined) bad[i]!--
    }
    lab.advance(1_100)
  }

  const out = (lab: Lab) => lab.cluster.hosts.flatMap((h, i) => (h.ejectedUntil === 0 ? [] : [i]))

  it('ejects by success rate who stands out from the others', () => {
    const lab = labOf(6, { ...consecutiveOff, successRate: rate })
    interval(lab, [0.5])
    expect(out(lab)).toEqual([0])
    expect(lab.cluster.hosts[0]!.outlier.reason).toBe('success-rate')
    // Everybody fails alike: nobody stands out.
    const alike = labOf(6, { ...consecutiveOff, successRate: rate })
    interval(alike, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    expect(out(alike)).toEqual([])
  })

  it('ejects by failure percentage', () => {
    const lab = labOf(5, { ...consecutiveOff, failurePercentage: rate })
    interval(lab, [0.8, 0.85])
    expect(out(lab)).toEqual([1])
    expect(lab.cluster.hosts[1]!.outlier.reason).toBe('failure-percentage')
  })

  it('asks for enough hosts and calls, and enforces a share', () => {
    for (const over of [{ minimumHosts: 7 }, { requestVolume: 21 }, { enforcingPercent: 0 }]) {
      const lab = labOf(6, { ...consecutiveOff, successRate: { ...rate, ...over } })
      interval(lab, [1])
      expect(out(lab)).toEqual([])
    }
  })

  it('forgets the calls of an interval, and sleeps when there are none', () => {
    const lab = labOf(5, { ...consecutiveOff, failurePercentage: { ...rate, requestVolume: 30 } })
    interval(lab, [1])
    interval(lab, [1])
    expect(out(lab)).toEqual([])
    lab.advance(3_000)
    expect(lab.engine.wheel.size).toBe(0)
  })
})
