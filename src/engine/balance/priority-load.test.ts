import { describe, expect, it } from 'vitest'
import { clusterDefaults } from '../../model/cluster.ts'
import { localityWeights, zoneAwareShares } from './locality-load.ts'
import { priorityLoads } from './priority-load.ts'

describe('load by priority', () => {
  // Healthy of total per level, the panic threshold, the loads, which levels panic.
  it.each([
    [[[10, 10]], 50, [100], [false]],
    [
      [
        [10, 10],
        [10, 10],
      ],
      50,
      [100, 0],
      [false, false],
    ],
    // 72 % is enough, 71 % is not.
    [
      [
        [72, 100],
        [10, 10],
      ],
      50,
      [100, 0],
      [false, false],
    ],
    [
      [
        [71, 100],
        [10, 10],
      ],
      50,
      [99, 1],
      [false, false],
    ],
    [
      [
        [50, 100],
        [10, 10],
      ],
      50,
      [70, 30],
      [false, false],
    ],
    [
      [
        [25, 100],
        [25, 100],
        [100, 100],
      ],
      50,
      [35, 35, 30],
      [false, false, false],
    ],
    [
      [
        [0, 10],
        [10, 10],
      ],
      50,
      [0, 100],
      [false, false],
    ],
    // Not enough together: each its part, and who is below the threshold panics.
    [
      [
        [25, 100],
        [20, 100],
      ],
      50,
      [50, 50],
      [true, true],
    ],
    [
      [
        [25, 100],
        [10, 100],
        [20, 100],
      ],
      0,
      [46, 18, 36],
      [false, false, false],
    ],
    [[[60, 100]], 50, [100], [false]],
    [[[49, 100]], 50, [100], [true]],
    [[[50, 100]], 50, [100], [false]],
    // Above 72 % nobody panics, whatever the threshold.
    [[[80, 100]], 100, [100], [false]],
    // Every level panics: by hosts.
    [
      [
        [0, 30],
        [0, 10],
      ],
      50,
      [75, 25],
      [true, true],
    ],
    [
      [
        [0, 3],
        [0, 0],
      ],
      1,
      [100, 0],
      [true, true],
    ],
    // Nothing is healthy and nobody may panic.
    [
      [
        [0, 3],
        [0, 3],
      ],
      0,
      [100, 0],
      [false, false],
    ],
    [[], 50, [], []],
  ] as const)('%j with a threshold of %i %%', (levels, threshold, loads, panic) => {
    const given = levels.map(([healthy, total]) => ({ healthy, total }))
    const found = priorityLoads(given, 140, threshold)
    expect(found.loads).toEqual(loads)
    expect(found.panic).toEqual(panic)
  })
})

describe('load by locality', () => {
  const locality = (name: string, healthy: number, total = healthy, weight = 1) => ({ name, healthy, total, weight })

  it('is by weight and health', () => {
    expect(localityWeights([locality('a', 4, 4, 3), locality('b', 2, 4, 1)], 140)).toEqual([3, 0.7])
    expect(localityWeights([locality('a', 3, 4, 2), locality('b', 0, 4, 1)], 140)).toEqual([2, 0])
    expect(localityWeights([locality('a', 3, 4, 0)], 140)).toBe(null)
  })

  const spec = { ...clusterDefaults.priorities, locality: 'zone-aware' as const }

  it.each([
    ['the own one has its part', [4, 4], [1, 0]],
    ['the own one has more', [6, 2], [1, 0]],
    ['the own one has half of its part', [2, 6], [0.5, 0.5]],
    ['the rest goes where hosts are to spare', [1, 3, 8], [0.25, 0, 0.75]],
  ])('stays in the zone as far as it can carry: %s', (_name, counts, shares) => {
    const all = counts.map((n, i) => locality(`z${i}`, n))
    zoneAwareShares(all, 'z0', spec)!.forEach((share, i) => {
      expect(share).toBeCloseTo(shares[i]!, 9)
    })
  })

  it('does not apply to few hosts, one zone, an unknown zone, or one without a healthy host', () => {
    expect(zoneAwareShares([locality('z0', 3), locality('z1', 2)], 'z0', spec)).toBe(null)
    expect(zoneAwareShares([locality('z0', 10)], 'z0', spec)).toBe(null)
    expect(zoneAwareShares([locality('z0', 5), locality('z1', 5)], '', spec)).toBe(null)
    expect(zoneAwareShares([locality('z0', 0, 5), locality('z1', 8)], 'z0', spec)).toBe(null)
  })
})
