import type { PrioritySpec } from '../../model/cluster.ts'

/** How one locality of a level is doing. */
export interface LocalityHealth {
  readonly name: string
  /** Its weight among those of its level. */
  readonly weight: number
  readonly total: number
  readonly healthy: number
}

/**
 * Envoy's effective locality weights: by health, times the overprovisioning factor, at most the whole weight.
 * @returns null = no locality has any, so localities do not count
 */
export function localityWeights(all: readonly LocalityHealth[], overprovisioningPercent: number): number[] | null {
  const weights = all.map(
    ({ weight, total, healthy }) => weight * Math.min(1, (overprovisioningPercent * healthy) / (100 * total)),
  )
  return weights.some((w) => w > 0) ? weights : null
}

/**
 * Envoy's zone-aware routing. Callers are taken to be spread evenly over the localities, so each is due an equal share: when
 * the own one has at least that share of the healthy hosts it gets all calls, else as many as it can carry, and the rest goes
 * where there are hosts to spare.
 * @returns shares that sum up to 1; null = zone-aware routing does not apply
 */
export function zoneAwareShares(all: readonly LocalityHealth[], own: string, spec: PrioritySpec): number[] | null {
  const healthy = all.reduce((sum, l) => sum + l.healthy, 0)
  const at = all.findIndex((l) => l.name === own)
  if (at < 0 || all.length < 2 || healthy < spec.minClusterSize || all[at]!.healthy === 0) return null
  const due = 1 / all.length
  const kept = Math.min(1, all[at]!.healthy / healthy / due)
  const spare = all.map((l, i) => (i === at ? 0 : Math.max(0, l.healthy / healthy - due)))
  const sum = spare.reduce((a, b) => a + b, 0)
  return spare.map((s, i) => (i === at ? kept : kept === 1 ? 0 : ((1 - kept) * s) / sum))
}
