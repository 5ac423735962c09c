import type { SlowStartSpec } from '../../model/cluster.ts'
import type { HostRuntime } from '../host.ts'

/**
 * The share of its weight that a host has since it joined or came back: grows to 1 over the window (Envoy SlowStartConfig).
 * 1 without slow start.
 */
export function slowStartShare(spec: SlowStartSpec | undefined, host: HostRuntime, now: number): number {
  if (spec === undefined) return 1
  const age = now - host.healthySince
  if (age >= spec.windowMs) return 1
  const time = Math.max(age, 1) / spec.windowMs
  const share = spec.aggression === 1 ? time : time ** (1 / spec.aggression)
  return Math.max(share, spec.minWeightPercent / 100)
}

/** Is a host in its window now? */
export function anySlow(spec: SlowStartSpec | undefined, hosts: readonly HostRuntime[], now: number): boolean {
  return spec !== undefined && hosts.some((host) => now - host.healthySince < spec.windowMs)
}
