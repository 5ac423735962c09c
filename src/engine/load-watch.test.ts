import { describe, expect, it } from 'vitest'
import { weightedRoundRobinDefaults } from '../model/cluster.ts'
import { emptyLoadReport, type LoadReport } from '../model/load-report.ts'
import type { HostRuntime } from './host.ts'
import type { LoadWatchEnd } from './load-watch.ts'
import { Lab } from './testing/lab.ts'
import { clusterSpec, endpoints, routeSpec } from './testing/specs.ts'

interface Stream {
  readonly host: HostRuntime
  readonly at: number
  readonly periodMs: number
  readonly report: (report: LoadReport) => void
  readonly ended: (how: LoadWatchEnd) => void
  stopped: boolean
}

/** A lab whose hosts are asked by the test. */
function labWith(count: number, oobReportingMs: number | null = 10_000) {
  const lab = new Lab()
  const streams: Stream[] = []
  let possible = true
  lab.engine.loadProbe = (_cluster, host, periodMs, report, ended) => {
    if (!possible) return null
    const stream = { host, at: lab.time, periodMs, report, ended, stopped: false }
    streams.push(stream)
    return () => {
      stream.stopped = true
    }
  }
  const apply = (n: number, period = oobReportingMs) => {
    const lb = { ...weightedRoundRobinDefaults, blackoutMs: 0, oobReportingMs: period }
    lab.apply([clusterSpec('c', { endpoints: endpoints(n), lb })], [routeSpec('c')])
  }
  apply(count)
  lab.advance(100)
  const can = (now: boolean) => {
    possible = now
  }
  return { lab, streams, apply, can }
}
const report = { ...emptyLoadReport, qps: 100, cpuUtilization: 0.5 }
const weightOf = (lab: Lab, host: HostRuntime) =>
  host.load?.weightAt({ ...weightedRoundRobinDefaults, blackoutMs: 0 }, lab.time) ?? 0

describe('load reports apart from calls', () => {
  it('are asked of every host, as often as the policy says; those of answers do not count besides', () => {
    const { lab, streams } = labWith(3)
    expect(streams.map(({ host, periodMs }) => [host, periodMs])).toEqual(lab.cluster.hosts.map((h) => [h, 10_000]))
    streams[0]!.report(report)
    expect(weightOf(lab, streams[0]!.host)).toBe(200)
    expect(lab.cluster.wantsLoad).toBe(false)
    lab.cluster.loadReported(streams[1]!.host, report, lab.time)
    expect(weightOf(lab, streams[1]!.host)).toBe(0)
    expect(labWith(3, null).streams).toEqual([])
  })

  it('follow hosts that come and go, a new period, and the end of the cluster', () => {
    const { lab, streams, apply } = labWith(2)
    apply(3)
    lab.advance(100)
    expect(streams).toHaveLength(3)
    apply(1)
    expect(streams.map((s) => s.stopped)).toEqual([false, true, true])
    apply(1, 5_000)
    lab.advance(100)
    expect(streams.map((s) => [s.periodMs, s.stopped]).slice(-2)).toEqual([
      [10_000, true],
      [5_000, false],
    ])
    lab.apply([], [])
    expect(streams.every((s) => s.stopped)).toBe(true)
  })

  it('are asked for again with back-off when a stream ends, at once after one that worked', () => {
    const { lab, streams } = labWith(1)
    const waits: number[] = []
    for (let i = 0; i < 12; i++) {
      const before = lab.time
      streams.at(-1)!.ended('failed')
      const count = streams.length
      while (streams.length === count) lab.advance(10)
      waits.push(lab.time - before)
    }
    expect(waits[0]).toBeLessThanOrEqual(1_210)
    expect(waits[2]!).toBeGreaterThan(waits[0]!)
    expect(waits.at(-1)).toBeGreaterThan(90_000)
    expect(Math.max(...waits)).toBeLessThanOrEqual(144_010)
    streams.at(-1)!.report(report)
    streams.at(-1)!.ended('failed')
    const count = streams.length
    lab.advance(1_210)
    expect(streams).toHaveLength(count + 1)
  })

  it('are seldom asked for again of a host that has no such service', () => {
    const { lab, streams } = labWith(1)
    streams[0]!.ended('unsupported')
    lab.advance(95_000)
    expect(streams).toHaveLength(1)
    lab.advance(50_000)
    expect(streams).toHaveLength(2)
  })

  it('wait while this process cannot ask', () => {
    const { lab, streams, apply, can } = labWith(1)
    can(false)
    apply(2)
    lab.advance(5_000)
    expect(streams).toHaveLength(1)
    can(true)
    lab.advance(10_000)
    expect(streams).toHaveLength(2)
  })

  it('that a stream says after its end are no business of the next one', () => {
    const { lab, streams } = labWith(1)
    const [first] = streams
    first!.ended('failed')
    first!.ended('failed')
    lab.advance(1_300)
    expect(streams).toHaveLength(2)
    first!.ended('failed')
    lab.advance(2_000)
    expect(streams).toHaveLength(2)
  })
})
