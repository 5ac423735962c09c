/** How one priority level is doing. */
export interface LevelHealth {
  /** Hosts, whatever their state. */
  readonly total: number
  readonly healthy: number
}

/** What each level gets. */
export interface LevelLoads {
  /** Percent; they sum up to 100. */
  readonly loads: readonly number[]
  /** The level uses all of its hosts, because too few are healthy. */
  readonly panic: readonly boolean[]
}

/**
 * Envoy's load by priority: the first level takes what its health allows, times the overprovisioning factor, the next ones
 * the rest. When all together are not enough, each gets its part of what there is, and levels below the threshold panic:
 * they use all hosts. When every level panics they share by their number of hosts.
 * @param panicPercent 0 = never (then nothing is healthy means nothing can be picked)
 */
export function priorityLoads(
  levels: readonly LevelHealth[],
  overprovisioningPercent: number,
  panicPercent: number,
): LevelLoads {
  const health = levels.map((l) => healthOf(l, overprovisioningPercent))
  const enough = sumOf(health) >= 100
  const panic = levels.map(
    ({ total, healthy }) =>
      panicPercent > 0 && !enough && (total === 0 ? 0 : (100 * healthy) / total) < Math.min(100, panicPercent),
  )
  if (panic.length > 0 && panic.every((p) => p)) return { loads: byHosts(levels), panic }
  return { loads: distribute(health), panic }
}

/** Percent, at most 100; whole, as Envoy counts. */
export function healthOf({ total, healthy }: LevelHealth, overprovisioningPercent: number): number {
  return total === 0 ? 0 : Math.min(100, Math.floor((overprovisioningPercent * healthy) / total))
}

/** Percent for each level; the first one gets everything when none is healthy. */
export function distribute(health: readonly number[]): number[] {
  const total = Math.min(100, sumOf(health))
  if (total === 0) return health.map((_, i) => (i === 0 ? 100 : 0))
  let left = 100
  const loads = health.map((h) => {
    const load = Math.min(left, Math.floor((h * 100) / total))
    left -= load
    return load
  })
  // Rounding.
  loads[health.findIndex((h) => h > 0)]! += left
  return loads
}

function byHosts(levels: readonly LevelHealth[]): number[] {
  const hosts = levels.reduce((sum, l) => sum + l.total, 0)
  if (hosts === 0) return levels.map((_, i) => (i === 0 ? 100 : 0))
  const loads = levels.map((l) => Math.floor((100 * l.total) / hosts))
  loads[levels.findIndex((l) => l.total > 0)]! += 100 - sumOf(loads)
  return loads
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0)
}
