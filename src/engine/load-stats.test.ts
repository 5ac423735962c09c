import { describe, expect, it } from 'vitest'
import { emptyLoadReport } from '../model/load-report.ts'
import { Kind } from './outcome.ts'
import { Dice } from './testing/dice.ts'
import { Lab } from './testing/lab.ts'
import { clusterSpec, endpoint, noLimits, routeSpec } from './testing/specs.ts'

const loadReporting = { serviceName: 'eds', metrics: [] }
const endpoints = [
  endpoint(1, { locality: 'r/a' }),
  endpoint(2, { locality: 'r/b' }),
  endpoint(3, { locality: 'r/b', priority: 1 }),
]
const labOf = (metrics: readonly string[] = []) => Lab.of({ endpoints, loadReporting: { ...loadReporting, metrics } })
const row = (locality: string, over: object) => ({
  ...{ locality, priority: 0, issued: 0, succeeded: 0, failed: 0, inProgress: 0, metrics: new Map() },
  ...over,
})

describe('what is counted for load reports', () => {
  it('each try by its locality: issued, succeeded, failed, under way; since the last look', () => {
    const lab = labOf()
    const calls = Array.from({ length: 8 }, () => lab.call().latest)
    const at = (locality: string) => calls.filter((attempt) => attempt.host.spec.locality === locality)
    const [a, b] = [at('r/a'), at('r/b')]
    expect([a.length, b.length]).toEqual([4, 4])
    a[0]!.answer(200)
    a[1]!.answer(404)
    a[2]!.answer(503)
    b[0]!.end(Kind.Reset, null)
    b[1]!.answer(200, {}, 14)
    b[2]!.answer(200, {}, 0)
    expect(lab.engine.takeLoads(null)).toEqual([
      {
        ...{ cluster: 'c', serviceName: 'eds', dropped: 0 },
        localities: expect.toSatisfy((rows: { locality: string }[]) => {
          expect([...rows].sort((x, y) => x.locality.localeCompare(y.locality))).toEqual([
            row('r/a', { issued: 4, succeeded: 2, failed: 1, inProgress: 1 }),
            row('r/b', { issued: 4, succeeded: 1, failed: 2, inProgress: 1 }),
          ])
          return true
        }),
      },
    ])
    a[3]!.answer(200)
    const [second] = lab.engine.takeLoads(null)
    expect(second?.localities).toContainEqual(row('r/a', { succeeded: 1 }))
    expect(second?.localities).toContainEqual(row('r/b', { inProgress: 1 }))
    b[3]!.answer(200)
    lab.engine.takeLoads(null)
    expect(lab.engine.takeLoads(null)).toEqual([])
  })

  it('a call whose caller gave up is issued, and neither a success nor a failure', () => {
    const lab = labOf()
    lab.call().call.cancel(null)
    const [load] = lab.engine.takeLoads(null)
    expect(load?.localities).toEqual([row(expect.any(String) as never, { issued: 1 })])
  })

  it('calls that the limit refuses are dropped', () => {
    const lab = Lab.of({ endpoints, loadReporting, limits: { ...noLimits, maxRequests: 1 } })
    const first = lab.call().latest
    for (let i = 0; i < 3; i++) expect(lab.call().rejection?.flag).toBe('UO')
    first.answer(200)
    expect(lab.engine.takeLoads(null)).toMatchObject([{ dropped: 3, localities: [{ issued: 1 }] }])
    expect(lab.engine.takeLoads(null)).toEqual([])
  })

  it('only where it is asked for, and only of the clusters that are asked about', () => {
    const lab = labOf()
    lab.call().latest.answer(200)
    expect(lab.engine.takeLoads(new Set(['other']))).toEqual([])
    expect(lab.engine.takeLoads(new Set(['c']))).toHaveLength(1)
    const silent = Lab.of({ endpoints })
    silent.call().latest.answer(200)
    expect(silent.cluster.stats).toBeNull()
    expect(silent.engine.takeLoads(null)).toEqual([])
  })

  it('from when it is asked for: what was under way before is not issued again', () => {
    const lab = Lab.of({ endpoints })
    const before = lab.call().latest
    lab.apply([clusterSpec('c', { endpoints, loadReporting })], [routeSpec('c')])
    before.answer(200)
    lab.call().latest.answer(200)
    const [load] = lab.engine.takeLoads(null)
    expect(load?.localities.reduce((sum, l) => sum + l.issued, 0)).toBe(1)
    expect(load?.localities.reduce((sum, l) => sum + l.succeeded, 0)).toBe(2)
    lab.apply([clusterSpec('c', { endpoints })], [routeSpec('c')])
    expect(lab.cluster.stats).toBeNull()
  })

  it('what hosts report, as far as it is asked for', () => {
    const lab = labOf(['cpu_utilization', 'named_metrics.queue', 'utilization.*'])
    expect(lab.cluster.wantsLoad).toBe(true)
    expect(labOf().cluster.wantsLoad).toBe(false)
    const report = {
      ...emptyLoadReport,
      cpuUtilization: 0.5,
      memUtilization: 0.9,
      namedMetrics: new Map([
        ['queue', 4],
        ['other', 1],
      ]),
      utilization: new Map([['disk', 0.25]]),
    }
    for (let i = 0; i < 2; i++) {
      const { latest } = lab.call()
      latest.loadReported(report)
      latest.answer(200)
    }
    const loads = lab.engine.takeLoads(null)
    const metrics = loads[0]!.localities.map((l) => [...l.metrics.entries()])
    const once = [
      ['cpu_utilization', { count: 1, total: 0.5 }],
      ['named_metrics.queue', { count: 1, total: 4 }],
      ['utilization.disk', { count: 1, total: 0.25 }],
    ]
    expect(metrics).toEqual([once, once])
  })

  it('adds up whatever happens: issued = ended + what is more under way', () => {
    const dice = new Dice(11, 11)
    const lab = labOf()
    const open: ReturnType<Lab['call']>['latest'][] = []
    let [issued, ended, begun, over] = [0, 0, 0, 0]
    for (let i = 0; i < 2_000; i++) {
      if (dice.chance(0.5) || open.length === 0) {
        open.push(lab.call().latest)
        begun++
      } else {
        const [attempt] = open.splice(dice.int(0, open.length - 1), 1)
        if (dice.chance(0.2)) attempt!.end(Kind.Reset, null)
        else attempt!.answer(dice.oneOf([200, 500]))
        over++
      }
      if (!dice.chance(0.05)) continue
      for (const load of lab.engine.takeLoads(null)) {
        for (const l of load.localities) {
          issued += l.issued
          ended += l.succeeded + l.failed
        }
        expect(load.localities.reduce((sum, l) => sum + l.inProgress, 0)).toBe(open.length)
      }
      expect([issued, ended]).toEqual([begun, over])
    }
    expect(begun).toBeGreaterThan(500)
  })
})
