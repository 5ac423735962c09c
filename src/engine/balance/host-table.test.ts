import { describe, expect, it } from 'vitest'
import { Hash64 } from '../../match/hash64.ts'
import { clusterDefaults, type EndpointSpec, type PrioritySpec } from '../../model/cluster.ts'
import type { Attempt } from '../attempt.ts'
import { HostRuntime } from '../host.ts'
import { Dice } from '../testing/dice.ts'
import { endpoint } from '../testing/specs.ts'
import { HostTable, type TableSpec } from './host-table.ts'

const { random } = new Dice(5, 5)

function specOf(over: Partial<TableSpec> = {}, priorities: Partial<PrioritySpec> = {}): TableSpec {
  return {
    lb: { policy: 'ROUND_ROBIN' },
    panicThresholdPercent: 0,
    ...over,
    priorities: { ...clusterDefaults.priorities, ...priorities },
  }
}

let next = 0
function hostsOf(count: number, over: Partial<EndpointSpec> = {}): HostRuntime[] {
  return Array.from({ length: count }, () => new HostRuntime(endpoint(next++, over)))
}

function tableOf(hosts: readonly HostRuntime[], spec = specOf(), locality = ''): HostTable {
  const table = new HostTable(spec, { random, load: { active: 0 } }, locality)
  table.update(hosts, spec, 0)
  return table
}

/** Shares of picks by what `by` says of the host. */
function sharesOf(table: HostTable, by: (host: HostRuntime) => string, picks = 20_000): Record<string, number> {
  const shares: Record<string, number> = {}
  for (let i = 0; i < picks; i++) {
    const key = by(table.pick(null, 0)!)
    shares[key] = (shares[key] ?? 0) + 1 / picks
  }
  return shares
}

function tryAt(host: HostRuntime, previous: Attempt | null = null): Attempt {
  return { host, previous, number: (previous?.number ?? 0) + 1 } as Attempt
}

const priorityOf = (host: HostRuntime) => String(host.spec.priority)
const localityOf = (host: HostRuntime) => host.spec.locality

describe('the table of hosts', () => {
  it('spills over to the next level by what the first cannot carry', () => {
    const hosts = [
      ...hostsOf(5),
      ...hostsOf(5, { health: 'UNHEALTHY' }),
      ...hostsOf(3, { priority: 1 }),
      ...hostsOf(3, { priority: 7 }),
    ]
    const table = tableOf(hosts)
    const shares = sharesOf(table, priorityOf)
    expect(Object.keys(shares).sort()).toEqual(['0', '1'])
    expect(shares['0']!).toBeCloseTo(0.7, 1)
    expect(table.levels.map((l) => l.load)).toEqual([70, 30, 0])
    expect(table.usable.length).toBe(8)
  })

  it('uses all hosts of a level in a panic, and none when nobody may panic', () => {
    const hosts = [...hostsOf(1), ...hostsOf(4, { health: 'UNHEALTHY' }), ...hostsOf(1, { health: 'DRAINING' })]
    expect(tableOf(hosts, specOf({ panicThresholdPercent: 50 })).usable.length).toBe(6)
    expect(tableOf(hosts).usable.length).toBe(1)
    const none = tableOf(hosts.slice(1))
    expect([none.usable.length, none.pick(null, 0)]).toEqual([0, null])
    expect(tableOf([]).pick(null, 0)).toBe(null)
  })

  it('shares a level by weighted localities and their health', () => {
    const hosts = [
      ...hostsOf(1, { locality: 'r/a/', localityWeight: 3 }),
      ...hostsOf(5, { locality: 'r/b/', localityWeight: 1 }),
      ...hostsOf(5, { locality: 'r/c/', localityWeight: 0 }),
    ]
    const shares = sharesOf(tableOf(hosts, specOf({}, { locality: 'weighted' })), localityOf)
    expect(shares['r/a/']!).toBeCloseTo(0.75, 1)
    expect(shares['r/c/']).toBe(undefined)
    const ignored = sharesOf(tableOf(hosts), localityOf)
    expect(ignored['r/c/']!).toBeCloseTo(5 / 11, 1)
  })

  it('has one ring for weighted localities', () => {
    const hosts = [
      ...hostsOf(2, { locality: 'r/a/', localityWeight: 9 }),
      ...hostsOf(10, { locality: 'r/b/', localityWeight: 1 }),
    ]
    const lb = { policy: 'MAGLEV', tableSize: 65_537, balanceFactorPercent: 0, useHostname: false } as const
    const table = tableOf(hosts, specOf({ lb }, { locality: 'weighted' }))
    const picked = Array.from({ length: 5_000 }, (_, i) => {
      const hash = new Hash64(0, Math.imul(i, 2_654_435_761))
      expect(table.pick(hash, 0)).toBe(table.pick(hash, 0))
      return table.pick(hash, 0)!
    })
    expect(picked.filter((h) => h.spec.locality === 'r/a/').length / 5_000).toBeCloseTo(0.9, 1)
  })

  it('stays in the own zone as far as it can carry', () => {
    const spec = specOf({}, { locality: 'zone-aware' })
    const even = [...hostsOf(3, { locality: 'r/a/' }), ...hostsOf(3, { locality: 'r/b/' })]
    expect(sharesOf(tableOf(even, spec, 'r/a/'), localityOf)).toEqual({ 'r/a/': expect.closeTo(1, 5) })
    const small = [...hostsOf(2, { locality: 'r/a/' }), ...hostsOf(6, { locality: 'r/b/' })]
    expect(sharesOf(tableOf(small, spec, 'r/a/'), localityOf)['r/a/']!).toBeCloseTo(0.5, 1)
    expect(sharesOf(tableOf(even, spec, ''), localityOf)['r/b/']!).toBeCloseTo(0.5, 1)
    const half = specOf({}, { locality: 'zone-aware', routingEnabledPercent: 50 })
    expect(sharesOf(tableOf(even, half, 'r/a/'), localityOf)['r/b/']!).toBeCloseTo(0.25, 1)
  })

  it('passes over hosts that are backed off, until they are all there is', () => {
    const hosts = hostsOf(3)
    hosts[0]!.backedOffUntil = 500
    const table = tableOf(hosts)
    expect(table.usable).toEqual(hosts.slice(1))
    // A retry that has nobody else takes it, and only then.
    expect(table.untried(tryAt(hosts[1]!))).toBe(hosts[2])
    expect(table.untried(tryAt(hosts[2]!, tryAt(hosts[1]!)))).toBe(hosts[0])
    hosts[1]!.backedOffUntil = 500
    hosts[2]!.backedOffUntil = 500
    table.update(hosts, specOf(), 100)
    expect(table.usable.length).toBe(3)
  })

  it('avoids the priorities of the tries before, after so many', () => {
    const hosts = [...hostsOf(2), ...hostsOf(2, { priority: 1 }), ...hostsOf(2, { priority: 2 })]
    const table = tableOf(hosts)
    const first = tryAt(hosts[0]!)
    const second = tryAt(hosts[1]!, first)
    const priorities = (latest: Attempt, frequency: number) =>
      new Set(Array.from({ length: 50 }, () => table.pickAgain(latest, null, 0, frequency)!.spec.priority))
    expect(priorities(first, 0)).toEqual(new Set([0]))
    expect(priorities(first, 1)).toEqual(new Set([1]))
    expect(priorities(first, 2)).toEqual(new Set([0]))
    expect(priorities(second, 2)).toEqual(new Set([1]))
    const third = tryAt(hosts[2]!, first)
    expect(priorities(third, 1)).toEqual(new Set([2]))
    // All were tried: as if none had been.
    expect(priorities(tryAt(hosts[4]!, third), 1)).toEqual(new Set([0]))
  })

  it('keeps the turns of its balancers when hosts change', () => {
    const hosts = hostsOf(4)
    const table = tableOf(hosts)
    const seen: HostRuntime[] = []
    for (let i = 0; i < 8; i++) {
      table.update(hosts, specOf(), i)
      seen.push(table.pick(null, i)!)
    }
    for (const host of hosts) expect(seen.filter((h) => h === host).length).toBe(2)
  })
})
