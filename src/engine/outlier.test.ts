import { describe, expect, it } from 'vitest'
import type { OutlierSpec } from '../model/cluster.ts'
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
})
