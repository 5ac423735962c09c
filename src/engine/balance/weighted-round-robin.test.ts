import { describe, expect, it } from 'vitest'
import { type WeightedRoundRobinSpec, weightedRoundRobinDefaults } from '../../model/cluster.ts'
import { emptyLoadReport, type LoadReport } from '../../model/load-report.ts'
import type { HostRuntime } from '../host.ts'
import { Kind } from '../outcome.ts'
import { Dice } from '../testing/dice.ts'
import { Lab } from '../testing/lab.ts'
import { endpoint } from '../testing/specs.ts'

const spec: WeightedRoundRobinSpec = { ...weightedRoundRobinDefaults, blackoutMs: 0 }

function labOf(count: number, over: Partial<WeightedRoundRobinSpec> = {}): Lab {
  const endpoints = Array.from({ length: count }, (_, i) => endpoint(0, { address: `10.${i >> 8}.${i & 255}.1` }))
  return Lab.of({ lb: { ...spec, ...over }, endpoints })
}

/** Weight 100 per unit of `load`, at utilization 1. */
function says(lab: Lab, host: HostRuntime, load: number, over: Partial<LoadReport> = {}): void {
  const report = { ...emptyLoadReport, qps: 100 * load, applicationUtilization: 1, ...over }
  lab.cluster.loadReported(host, report, lab.time)
}

/** Calls that each host gets out of so many. */
function counts(lab: Lab, calls: number): number[] {
  const count = new Map<HostRuntime, number>(lab.cluster.hosts.map((host) => [host, 0]))
  for (let i = 0; i < calls; i++) {
    const { latest } = lab.call()
    count.set(latest.host, count.get(latest.host)! + 1)
    latest.answer(200)
  }
  return [...count.values()]
}

function chiSquare(found: readonly number[], weights: readonly number[]): number {
  const picks = found.reduce((a, b) => a + b, 0)
  const total = weights.reduce((a, b) => a + b, 0)
  return found.reduce((sum, n, i) => {
    const expected = (picks * weights[i]!) / total
    return sum + (n - expected) ** 2 / expected
  }, 0)
}

describe('weighted round robin', () => {
  it.each([{ loads: [1, 1] }, { loads: [1, 2, 3, 4] }, { loads: [9, 1, 1] }, { loads: [5, 5, 0.5, 7, 2] }])(
    'gives hosts what they report that they can take: $loads',
    ({ loads }) => {
      const lab = labOf(loads.length)
      lab.cluster.hosts.forEach((host, i) => void says(lab, host, loads[i]!))
      lab.advance(spec.updateMs)
      // 99.99 % quantile of four degrees of freedom, which are the most here; turns that are spread evenly stay far below it.
      expect(chiSquare(counts(lab, 10_000), loads)).toBeLessThan(23.5)
    },
  )

  it('goes by application utilization, else by CPU, and counts errors as utilization', () => {
    const lab = labOf(4)
    const [a, b, c, d] = lab.cluster.hosts as [HostRuntime, HostRuntime, HostRuntime, HostRuntime]
    says(lab, a, 1)
    says(lab, b, 1, { applicationUtilization: 0.5, cpuUtilization: 4 })
    says(lab, c, 1, { applicationUtilization: 0, cpuUtilization: 0.25 })
    says(lab, d, 1, { eps: 100 })
    lab.advance(spec.updateMs)
    expect(chiSquare(counts(lab, 7_500), [1, 2, 4, 0.5])).toBeLessThan(23.5)
  })

  it('the errors of a penalty of 0 count for nothing', () => {
    const lab = labOf(2, { errorPenalty: 0 })
    const [a, b] = lab.cluster.hosts as [HostRuntime, HostRuntime]
    says(lab, a, 1)
    says(lab, b, 1, { eps: 90 })
    lab.advance(spec.updateMs)
    expect(counts(lab, 1_000)).toEqual([500, 500])
  })

  it('is round robin by the weights of the endpoints while fewer than two hosts have reported', () => {
    const endpoints = [endpoint(0, { weight: 3 }), endpoint(1, { weight: 1 })]
    const lab = Lab.of({ lb: spec, endpoints })
    says(lab, lab.cluster.hosts[1]!, 50)
    lab.advance(spec.updateMs)
    expect(chiSquare(counts(lab, 4_000), [3, 1])).toBeLessThan(23.5)
  })

  it('gives the mean share to a host that said nothing, or nothing that can be used', () => {
    const lab = labOf(5)
    const [a, b, c, d] = lab.cluster.hosts as [HostRuntime, HostRuntime, HostRuntime, HostRuntime]
    says(lab, a, 1)
    says(lab, b, 3)
    says(lab, c, 0)
    says(lab, d, 1, { applicationUtilization: 0 })
    lab.advance(spec.updateMs)
    expect(chiSquare(counts(lab, 10_000), [1, 3, 2, 2, 2])).toBeLessThan(23.5)
  })

  it('follows no host beyond ten times the mean, nor below a tenth of it', () => {
    const lab = labOf(101)
    lab.cluster.hosts.forEach((host, i) => void says(lab, host, i === 0 ? 1_000_000 : 1))
    lab.advance(spec.updateMs)
    const found = counts(lab, 20_000)
    const [first, ...others] = found
    expect(first! / found.reduce((a, b) => a + b)).toBeCloseTo(10 / (10 + 100 * 0.1), 1)
    expect(Math.min(...others)).toBeGreaterThan(50)
  })

  it('believes a host after the blackout, and begins anew when its reports have expired', () => {
    const lab = labOf(2, { blackoutMs: 10_000, expirationMs: 60_000 })
    const [a, b] = lab.cluster.hosts as [HostRuntime, HostRuntime]
    const report = () => {
      says(lab, a, 1)
      says(lab, b, 9)
    }
    const even = () => expect(counts(lab, 100)).toEqual([50, 50])
    const uneven = () => expect(chiSquare(counts(lab, 1_000), [1, 9])).toBeLessThan(23.5)
    report()
    lab.advance(9_000)
    even()
    lab.advance(1_000)
    uneven()
    lab.advance(49_900)
    uneven()
    lab.advance(1_100)
    even()
    report()
    lab.advance(9_000)
    even()
    lab.advance(1_000)
    uneven()
  })

  it('takes new reports into account once per update period', () => {
    const lab = labOf(2, { updateMs: 5_000 })
    const [a, b] = lab.cluster.hosts as [HostRuntime, HostRuntime]
    says(lab, a, 1)
    says(lab, b, 4)
    expect(counts(lab, 10)).toEqual([5, 5])
    lab.advance(4_900)
    expect(counts(lab, 10)).toEqual([5, 5])
    lab.advance(100)
    expect(chiSquare(counts(lab, 5_000), [1, 4])).toBeLessThan(23.5)
  })

  it('forgets what a host said when it refuses connections: it may be another process that comes back', () => {
    const lab = labOf(2)
    const [a, b] = lab.cluster.hosts as [HostRuntime, HostRuntime]
    says(lab, a, 1)
    says(lab, b, 9)
    lab.advance(spec.updateMs)
    for (let refused = false; !refused; ) {
      const { latest } = lab.call()
      refused = latest.host === b
      if (refused) latest.end(Kind.ConnectFailure, null)
      else latest.answer(200)
    }
    lab.advance(1_100)
    expect(counts(lab, 10)).toEqual([5, 5])
  })

  it('transports are asked for reports where somebody goes by those of answers', () => {
    expect(labOf(2).cluster.wantsLoad).toBe(true)
    expect(labOf(2, { oobReportingMs: 10_000 }).cluster.wantsLoad).toBe(false)
    expect(Lab.of({}).cluster.wantsLoad).toBe(false)
    const lab = Lab.of({})
    says(lab, lab.cluster.hosts[0]!, 1)
    expect(lab.cluster.hosts[0]!.load).toBeNull()
  })

  it('whatever is reported, every host gets its share to within one turn per round, and nobody waits for ever', () => {
    const dice = new Dice(5, 5)
    for (let world = 0; world < 60; world++) {
      const count = dice.int(2, 40)
      const lab = labOf(count)
      const loads = lab.cluster.hosts.map(() => dice.between(1, 9))
      lab.cluster.hosts.forEach((host, i) => void says(lab, host, loads[i]!))
      lab.advance(spec.updateMs)
      const total = loads.reduce((a, b) => a + b, 0)
      const calls = 100 * count
      // Turns of one host are a Bresenham line over rounds, so only the ends of it are off.
      const rounds = (calls * Math.max(...loads)) / total
      counts(lab, calls).forEach((n, i) => {
        const due = (rounds * loads[i]!) / Math.max(...loads)
        expect(Math.abs(n - due)).toBeLessThan(2 + due * 0.05)
      })
    }
  })
})
