import type { Hash64 } from '../../match/hash64.ts'
import type { ClusterSpec } from '../../model/cluster.ts'
import type { Attempt } from '../attempt.ts'
import { type HostRuntime, isFit } from '../host.ts'
import { below } from '../random.ts'
import { tried } from '../tried.ts'
import { type Balancer, type BalancerEnv, createBalancer } from './balancer.ts'
import { type Part, partsOf } from './level-parts.ts'
import { distribute, healthOf, priorityLoads } from './priority-load.ts'
import { WeightedDraw } from './weighted-draw.ts'

/** Hosts that one balancer chooses among. */
export interface Group extends Part {
  readonly balancer: Balancer
}

/** A priority level. */
export interface Level {
  readonly priority: number
  /** Whatever their state. */
  readonly hosts: readonly HostRuntime[]
  readonly healthy: number
  /** Percent of the calls. */
  readonly load: number
  /** All hosts are used because too few are healthy. */
  readonly panic: boolean
}

interface Compiled {
  readonly groups: readonly Group[]
  readonly draw: WeightedDraw
}

/** What the table needs to know of its cluster. */
export type TableSpec = Pick<ClusterSpec, 'lb' | 'priorities' | 'panicThresholdPercent'>

/**
 * Who gets the next call: priority, then locality, then host. What filters and counts happens in `update`; with one level and
 * one group, as is usual, a pick is the balancer's alone.
 */
export class HostTable {
  /** Hosts that a first try may get. */
  usable: readonly HostRuntime[] = []
  levels: readonly Level[] = []
  /** Those who were backed off and would be usable otherwise: for retries that have nobody else. */
  private asleep: readonly HostRuntime[] = []
  private readonly env: BalancerEnv
  private readonly locality: string
  private spec: TableSpec
  /** By priority and locality: turns and rings outlive updates. */
  private balancers = new Map<string, Balancer>()
  /** By priority; levels that get nothing are compiled when a retry asks for them. */
  private readonly compiled = new Map<number, Compiled>()
  /** The only group there is; null = none, or several. */
  private single: Group | null = null

  /** @param locality of this process, "region/zone/subzone"; '' = unknown */
  constructor(spec: TableSpec, env: BalancerEnv, locality: string) {
    this.spec = spec
    this.env = env
    this.locality = locality
  }

  /** Another policy: balancers start anew. */
  reset(): void {
    this.balancers = new Map()
  }

  update(hosts: readonly HostRuntime[], spec: TableSpec, now: number): void {
    this.spec = spec
    this.levels = levelsOf(hosts, spec)
    this.compiled.clear()
    const groups = this.levels.filter((l) => l.load > 0).flatMap((l) => this.compile(l, now).groups)
    this.single = groups.length === 1 ? groups[0]! : null
    this.usable = this.single === null ? [...new Set(groups.flatMap((g) => g.hosts))] : this.single.hosts
    this.asleep = hosts.some((h) => h.backedOffUntil > now) ? this.sleepers(now) : []
  }

  /** @returns null = there is nobody */
  pick(hash: Hash64 | null, now: number): HostRuntime | null {
    const group = this.single ?? this.draw(this.levels, hash, now)
    return group === null ? null : group.balancer.pick(hash, now)
  }

  /**
   * For another try: somebody who was not tried, while there is one.
   * @param frequency after so many tries their priorities are avoided (Envoy previous_priorities); 0 = never
   */
  pickAgain(latest: Attempt, hash: Hash64 | null, now: number, frequency: number): HostRuntime | null {
    const group = this.groupAgain(latest, hash, now, frequency)
    if (group === null) return null
    const host = group.balancer.pick(hash, now)
    if (!tried(latest, host)) return host
    const next = hash === null ? undefined : group.balancer.untried?.(hash, latest)
    // Drawing again would favour the dead host: it has the fewest requests.
    return next ?? this.search(group.hosts, latest) ?? this.untried(latest) ?? host
  }

  /** As `pickAgain`, and a host that was tried may come again (retries without previous_hosts). */
  drawAgain(latest: Attempt, hash: Hash64 | null, now: number, frequency: number): HostRuntime | null {
    return this.groupAgain(latest, hash, now, frequency)?.balancer.pick(hash, now) ?? null
  }

  /** A usable host that was not tried, from a random one on; null = there is none. */
  untried(latest: Attempt): HostRuntime | null {
    return this.search(this.usable, latest) ?? this.search(this.asleep, latest)
  }

  /** How a level is shared, for those who look. */
  groupsOf(level: Level, now: number): readonly Group[] {
    return (this.compiled.get(level.priority) ?? this.compile(level, now)).groups
  }

  private groupAgain(latest: Attempt, hash: Hash64 | null, now: number, frequency: number): Group | null {
    const levels = frequency > 0 ? this.without(latest, frequency) : this.levels
    return levels === this.levels && this.single !== null ? this.single : this.draw(levels, hash, now)
  }

  private sleepers(now: number): HostRuntime[] {
    const usable = new Set(this.usable)
    return this.levels
      .filter((level) => level.load > 0)
      .flatMap((level) => level.hosts.filter((h) => h.backedOffUntil > now && isFit(h) && !usable.has(h)))
  }

  private search(hosts: readonly HostRuntime[], latest: Attempt): HostRuntime | null {
    const { length } = hosts
    const start = below(this.env.random, length)
    for (let i = 0; i < length; i++) {
      const host = hosts[(start + i) % length]!
      if (!tried(latest, host)) return host
    }
    return null
  }

  /** Calls with a hash stay with their level. */
  private draw(levels: readonly Level[], hash: Hash64 | null, now: number): Group | null {
    let at = hash === null ? below(this.env.random, 100) : hash.mod(100)
    for (const level of levels) {
      at -= level.load
      if (at >= 0) continue
      const { groups, draw } = this.compiled.get(level.priority) ?? this.compile(level, now)
      if (groups.length === 0) return null
      return groups[groups.length === 1 ? 0 : draw.index()]!
    }
    return null
  }

  /** The levels without those that the first tries went to; as they are when nothing else is left. */
  private without(latest: Attempt, frequency: number): readonly Level[] {
    const { levels } = this
    const count = Math.floor(latest.number / frequency) * frequency
    if (count === 0 || levels.length === 1) return levels
    const seen = new Set<number>()
    for (let a: Attempt | null = latest; a !== null; a = a.previous)
      if (a.number <= count) seen.add(a.host.spec.priority)
    const { overprovisioningPercent } = this.spec.priorities
    const health = levels.map(({ priority, hosts, healthy }) =>
      seen.has(priority) ? 0 : healthOf({ total: hosts.length, healthy }, overprovisioningPercent),
    )
    if (health.every((h) => h === 0)) return levels
    return distribute(health).map((load, i) => ({ ...levels[i]!, load }))
  }

  private compile(level: Level, now: number): Compiled {
    const { lb, priorities } = this.spec
    const { locality, env } = this
    const { panic, priority } = level
    const parts = partsOf(level.hosts, { lb, priorities, locality, first: level === this.levels[0], panic, now })
    const groups = parts.map((part): Group => {
      const key = `${priority} ${part.locality}`
      const balancer = this.balancers.get(key) ?? createBalancer(lb, env)
      this.balancers.set(key, balancer)
      balancer.update(part.hosts, part.weights, now)
      return { ...part, balancer }
    })
    const draw = new WeightedDraw(env.random)
    draw.update(groups.map((g) => g.share))
    const made = { groups, draw }
    this.compiled.set(priority, made)
    return made
  }
}

function levelsOf(hosts: readonly HostRuntime[], spec: TableSpec): readonly Level[] {
  const byPriority = new Map<number, HostRuntime[]>()
  for (const host of hosts) {
    const level = byPriority.get(host.spec.priority)
    if (level === undefined) byPriority.set(host.spec.priority, [host])
    else level.push(host)
  }
  const levels = [...byPriority]
    .sort(([a], [b]) => a - b)
    .map(([priority, all]) => ({ priority, hosts: all, total: all.length, healthy: all.filter(isFit).length }))
  const { loads, panic } = priorityLoads(levels, spec.priorities.overprovisioningPercent, spec.panicThresholdPercent)
  return levels.map((level, i) => ({ ...level, load: loads[i]!, panic: panic[i]! }))
}
