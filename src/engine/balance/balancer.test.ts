import { describe, expect, it } from 'vitest'
import { Hash64 } from '../../match/hash64.ts'
import { xxHash64 } from '../../match/xxhash64.ts'
import { type LbSpec, weightedRoundRobinDefaults } from '../../model/cluster.ts'
import { HostRuntime } from '../host.ts'
import { Dice } from '../testing/dice.ts'
import { endpoint } from '../testing/specs.ts'
import { type Balancer, createBalancer } from './balancer.ts'

const ring = { minimumRingSize: 1_024, maximumRingSize: 8_388_608, hashFunction: 'XX_HASH' } as const
const hashing = { balanceFactorPercent: 0, useHostname: false } as const
const policies: readonly LbSpec[] = [
  { policy: 'ROUND_ROBIN' },
  { policy: 'RANDOM' },
  { policy: 'LEAST_REQUEST', choiceCount: 2 },
  { policy: 'LEAST_REQUEST', choiceCount: 4, activeRequestBias: 2 },
  { policy: 'PEAK_EWMA', decayMs: 10_000 },
  weightedRoundRobinDefaults,
  { policy: 'RING_HASH', ...ring, ...hashing },
  { policy: 'RING_HASH', ...ring, ...hashing, hashFunction: 'MURMUR_HASH_2', balanceFactorPercent: 150 },
  { policy: 'MAGLEV', tableSize: 65_537, ...hashing },
  { policy: 'MAGLEV', tableSize: 251, balanceFactorPercent: 200, useHostname: true },
]

/** What every policy must keep; calls without a hash. */
describe.each(policies)('$policy $choiceCount $hashFunction $balanceFactorPercent', (spec) => {
  const { random } = new Dice(7, 7)
  const load = { active: 0 }

  function counts(all: readonly HostRuntime[], picks: number): number[] {
    const balancer = createBalancer(spec, { random, load })
    give(balancer, all)
    const count = new Map(all.map((h) => [h, 0]))
    for (let i = 0; i < picks; i++) {
      const host = balancer.pick(null, 0)
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
    const [heavy] = counts(hosts(1_000_000, 1, 1), 300_000)
    expect(heavy).toBeGreaterThan(100_000)
    expect(counts(hosts(4_294_967_295, 4_294_967_295), 100).every((n) => n > 10)).toBe(true)
  })

  it('follows the hosts from none to one to many and back', () => {
    const balancer = createBalancer(spec, { random, load })
    const all = hosts(1, 2, 3, 4)
    for (const now of [all.slice(0, 1), all, all.slice(2), [], all.slice(1, 3), all]) {
      give(balancer, now)
      if (now.length === 0) continue
      const seen = new Set(Array.from({ length: 200 }, () => balancer.pick(null, 0)))
      expect([...seen].sort(byAddress)).toEqual([...now].sort(byAddress))
    }
  })

  it('finds hosts for calls with a hash', () => {
    const balancer = createBalancer(spec, { random, load })
    const all = hosts(1, 1, 1)
    give(balancer, all)
    const seen = new Set(Array.from({ length: 200 }, (_, i) => balancer.pick(hashOf(`key ${i}`), 0)))
    expect([...seen].sort(byAddress)).toEqual(all)
  })
})

function hosts(...weights: number[]): HostRuntime[] {
  return weights.map((weight, i) => new HostRuntime(endpoint(i, { weight })))
}

function give(balancer: Balancer, all: readonly HostRuntime[]): void {
  balancer.update(
    all,
    all.map((h) => h.spec.weight),
    0,
  )
}

function hashOf(text: string): Hash64 {
  return xxHash64(text, new Hash64())
}

function byAddress(a: HostRuntime, b: HostRuntime): number {
  return a.address < b.address ? -1 : 1
}

describe('least request', () => {
  const { random } = new Dice(8, 8)
  const least = (over: { activeRequestBias?: number } = {}, ...all: HostRuntime[]) => {
    const balancer = createBalancer(
      { policy: 'LEAST_REQUEST', choiceCount: 2, ...over },
      { random, load: { active: 0 } },
    )
    give(balancer, all)
    return balancer
  }

  it('prefers the idle one of two, always', () => {
    const [busy, idle] = hosts(1, 1)
    busy!.active = 3
    const balancer = least({}, busy!, idle!)
    for (let i = 0; i < 100; i++) expect(balancer.pick(null, 0)).toBe(idle)
  })

  it.each([
    { bias: 1, share: 1 / (1 + 1 / 2) },
    { bias: 0, share: 4 / 5 },
    { bias: 2, share: 4 / 16 / (4 / 16 + 1 / 4) },
  ])('gives unequal hosts their weight by active requests, with bias $bias', ({ bias, share }) => {
    const [heavy, light] = hosts(4, 1)
    heavy!.active = 3
    light!.active = 1
    const balancer = least({ activeRequestBias: bias }, heavy!, light!)
    let n = 0
    for (let i = 0; i < 3_000; i++) if (balancer.pick(null, 0) === heavy) n++
    expect(n / 3_000).toBeCloseTo(share, 2)
  })
})
