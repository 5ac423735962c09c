import { describe, expect, it } from 'vitest'
import type { EndpointSpec } from '../model/cluster.ts'
import { subsetOf } from './subset.ts'
import { Lab } from './testing/lab.ts'
import { clusterSpec, endpoint, routeSpec } from './testing/specs.ts'

const many = (count: number, over: Partial<EndpointSpec> = {}) =>
  Array.from({ length: count }, (_, i) => endpoint(0, { address: `10.${i >> 8}.${i & 255}.1`, ...over }))
const five = { size: 5, per: 'priority' } as const

describe('a random subset', () => {
  it('has so many of each priority, or of each locality of it; all where there are no more', () => {
    const all = [...many(20), ...many(20, { priority: 1, port: 81 }), ...many(3, { priority: 2, port: 82 })]
    const counts = (found: readonly EndpointSpec[]) =>
      [0, 1, 2].map((p) => found.filter((e) => e.priority === p).length)
    expect(counts(subsetOf(all, five, 1))).toEqual([5, 5, 3])
    const zones = [...many(20, { locality: 'a' }), ...many(2, { locality: 'b', port: 81 })]
    expect(subsetOf(zones, { size: 5, per: 'locality' }, 1)).toHaveLength(7)
    expect(subsetOf(zones, five, 1)).toHaveLength(5)
    const few = many(5)
    expect(subsetOf(few, five, 1)).toBe(few)
  })

  it('stays as it is but for those who come and go, whatever their order', () => {
    const all = many(100)
    const before = new Set(subsetOf(all, five, 7))
    expect(new Set(subsetOf([...all].reverse(), five, 7))).toEqual(before)
    const [gone] = before
    const after = subsetOf(
      all.filter((e) => e !== gone),
      five,
      7,
    )
    expect(after.filter((e) => before.has(e))).toHaveLength(4)
    const joined = subsetOf([...all, endpoint(0, { address: '10.9.9.9' })], five, 7)
    expect(joined.filter((e) => before.has(e)).length).toBeGreaterThanOrEqual(4)
  })

  it('spreads clients evenly over the endpoints', () => {
    const all = many(50)
    const clients = new Map(all.map((e) => [e, 0]))
    for (let seed = 0; seed < 1_000; seed++)
      for (const e of subsetOf(all, five, Math.imul(seed + 1, 2_654_435_761) >>> 0)) clients.set(e, clients.get(e)! + 1)
    const chiSquare = [...clients.values()].reduce((sum, n) => sum + (n - 100) ** 2 / 100, 0)
    // 99.99 % quantile of 49 degrees of freedom.
    expect(chiSquare).toBeLessThan(94)
  })

  it('is all that a cluster has: calls, checks and connections know no other host, and the seed stays', () => {
    const all = many(40)
    const lab = Lab.of({ endpoints: all, subset: five })
    const hosts = new Set(lab.cluster.hosts)
    expect(hosts.size).toBe(5)
    const called = new Set(Array.from({ length: 100 }, () => lab.call().latest.host))
    expect(called).toEqual(hosts)
    lab.apply([clusterSpec('c', { endpoints: [...all].reverse(), subset: five })], [routeSpec('c')])
    expect(new Set(lab.cluster.hosts)).toEqual(hosts)
    lab.apply([clusterSpec('c', { endpoints: all })], [routeSpec('c')])
    expect(lab.cluster.hosts).toHaveLength(40)
  })
})
