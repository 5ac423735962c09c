import type { LbSpec, PrioritySpec } from '../../model/cluster.ts'
import { type HostRuntime, isFit } from '../host.ts'
import { type LocalityHealth, localityWeights, zoneAwareShares } from './locality-load.ts'

/** Hosts of a level that one balancer chooses among. */
export interface Part {
  /** '' = of every locality. */
  readonly locality: string
  readonly hosts: readonly HostRuntime[]
  /** Of the level's calls, 0 to 1. */
  readonly share: number
  readonly weights: readonly number[]
}

/** What decides about the parts of a level. */
export interface PartOptions {
  readonly lb: LbSpec
  readonly priorities: PrioritySpec
  /** Of this process; '' = unknown. */
  readonly locality: string
  /** Only the first level is routed by zone. */
  readonly first: boolean
  readonly panic: boolean
  readonly now: number
}

/** How localities share a level; one part for all of them where they do not count. */
export function partsOf(all: readonly HostRuntime[], options: PartOptions): readonly Part[] {
  const { priorities, panic, now, lb } = options
  const hosts = panic ? all : awake(all.filter(isFit), now)
  const whole = (share = 1): Part => part('', hosts, share)
  if (panic || priorities.locality === 'none') return [whole()].filter((p) => p.hosts.length > 0)
  const health = [...byLocality(all)].map(([name, members]) => healthIn(name, members))
  // Consistent hashing has one ring for all, on which localities count as weights.
  const hashing = lb.policy === 'RING_HASH' || lb.policy === 'MAGLEV'
  let shares: number[] | null
  let rest = 0
  if (priorities.locality === 'weighted') {
    const weights = localityWeights(health, priorities.overprovisioningPercent)
    const sum = weights === null ? 0 : weights.reduce((a, b) => a + b, 0)
    shares = weights?.map((w) => w / sum) ?? null
  } else {
    const enabled = options.first && !hashing ? priorities.routingEnabledPercent / 100 : 0
    const zones = enabled === 0 ? null : zoneAwareShares(health, options.locality, priorities)
    shares = zones?.map((s) => s * enabled) ?? null
    rest = 1 - enabled
  }
  if (shares === null) return [whole()].filter((p) => p.hosts.length > 0)
  const members = byLocality(hosts)
  const zones = health.map(({ name }, i) => part(name, members.get(name) ?? [], shares[i]!))
  const parts = (rest > 0 ? [...zones, whole(rest)] : zones).filter((p) => p.share > 0 && p.hosts.length > 0)
  return hashing ? [folded(parts)] : parts
}

function part(locality: string, hosts: readonly HostRuntime[], share: number): Part {
  return { locality, hosts, share, weights: hosts.map((h) => h.spec.weight) }
}

/** One part out of several: each host weighs its share of its locality's share. */
function folded(parts: readonly Part[]): Part {
  const weights = parts.flatMap((p) => {
    const sum = p.weights.reduce((a, b) => a + b, 0)
    return p.weights.map((w) => (p.share * w) / sum)
  })
  return { locality: '', hosts: parts.flatMap((p) => p.hosts), share: 1, weights }
}

/** Without those that refused connections a moment ago, while there are others. */
function awake(hosts: readonly HostRuntime[], now: number): readonly HostRuntime[] {
  if (!hosts.some((h) => h.backedOffUntil > now)) return hosts
  const others = hosts.filter((h) => h.backedOffUntil <= now)
  return others.length === 0 ? hosts : others
}

function byLocality(hosts: readonly HostRuntime[]): ReadonlyMap<string, HostRuntime[]> {
  const map = new Map<string, HostRuntime[]>()
  for (const host of hosts) {
    const known = map.get(host.spec.locality)
    if (known === undefined) map.set(host.spec.locality, [host])
    else known.push(host)
  }
  return map
}

function healthIn(name: string, hosts: readonly HostRuntime[]): LocalityHealth {
  const weight = hosts[0]!.spec.localityWeight ?? 1
  return { name, weight, total: hosts.length, healthy: hosts.filter(isFit).length }
}
