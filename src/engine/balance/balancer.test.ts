import { describe, expect, it } from 'vitest'
import type { LbSpec } from '../../model/cluster.ts'
import { HostRuntime } from '../host.ts'
import { Dice } from '../testing/dice.ts'
import { endpoint } from '../testing/specs.ts'
import { createBalancer } from './balancer.ts'

const policies: readonly LbSpec[] = [
  { policy: 'ROUND_ROBIN' },
  { policy: 'RANDOM' },
  { policy: 'LEAST_REQUEST', choiceCount: 2 },
  { policy: 'LEAST_REQUEST', choiceCount: 4 },
]

function hosts(...weights: number[]): HostRuntime[] {
  return weights.map((weight, i) => new HostRuntime(endpoint(i, { weight })))
}

describe.each(policies)('$policy $choiceCount', (spec) => {
  const { random } = new Dice(7, 7)

  function counts(all: readonly HostRuntime[], picks: number): number[] {
    const balancer = createBalancer(spec)
    balancer.update(all)
    const count = new Map(all.map((h) => [h, 0]))
    for (let i = 0; i < picks; i++) {
      const host = balancer.pick(random, null)
      count.set(host, count.get(host)! + 1)
    }
    return all.map((h) => count.get(h)!)
  }

  it.each([
    { weights: [1] },
    { weights: [1, 1] },
    { weights: [3, 3, 3, 3, 3] },
    { weights: [1, 9] },
    { weights: [1, 2, 3, 4] },
    { weights: [5, 1, 1, 1, 1] },
    { weights: [128, 64, 64] },
  ])('honours the weights $weights', ({ weights }) => {
    const picks = 10_000
    const total = weights.reduce((a, b) => a + b, 0)
    const chiSquare = counts(hosts(...weights), picks).reduce((sum, n, i) => {
      const expected = (picks * weights[i]!) / total
      return sum + (n - expected) ** 2 / expected
    }, 0)
    // 99.99 % quantile of four degrees of freedom, which are the most here.
    expect(chiSquare).toBeLessThan(23.5)
  })

  it('picks every host, also with weights beyond all measure', () => {
    for (const n of counts(hosts(1_000_000, 1, 1), 300_000).slice(0, 1)) expect(n).toBeGreaterThan(100_000)
    expect(counts(hosts(4_294_967_295, 4_294_967_295), 100).every((n) => n > 10)).toBe(true)
  })

  it('follows the hosts from none to one to many and back', () => {
    const balancer = createBalancer(spec)
    const all = hosts(1, 2, 3, 4)
    for (const now of [all.slice(0, 1), all, all.slice(2), [], all.slice(1, 3), all]) {
      balancer.update(now)
      if (now.length === 0) continue
      const seen = new Set(Array.from({ length: 200 }, () => balancer.pick(random, null)))
      expect([...seen].sort(byAddress)).toEqual([...now].sort(byAddress))
    }
  })
})

function byAddress(a: HostRuntime, b: HostRuntime): number {
  return a.address < b.address ? -1 : 1
}

describe('least request', () => {
  const { random } = new Dice(8, 8)
  it('prefers the idle one of two, always', () => {
    const [busy, idle] = hosts(1, 1)
    busy!.active = 3
    const balancer = createBalancer({ policy: 'LEAST_REQUEST', choiceCount: 2 })
    balancer.update([busy!, idle!])
    for (let i = 0; i < 100; i++) expect(balancer.pick(random, null)).toBe(idle)
  })

  it('lets a heavy host carry more', () => {
    const [heavy, light] = hosts(4, 1)
    heavy!.active = 3
    light!.active = 1
    const balancer = createBalancer({ policy: 'LEAST_REQUEST', choiceCount: 2 })
    balancer.update([heavy!, light!])
    for (let i = 0; i < 100; i++) expect(balancer.pick(random, null)).toBe(heavy)
  })
})
