import type { OutlierSpec } from '../model/cluster.ts'
import type { HostRuntime } from './host.ts'
import type { EjectionReason, Tally } from './outlier-state.ts'

/** A host that stands out, and by what. */
export interface Finding {
  readonly host: HostRuntime
  readonly reason: EjectionReason
  readonly enforcingPercent: number
}

/**
 * Who stands out in an interval (Envoy success_rate and failure_percentage): success below mean - deviation * factor among
 * those with enough calls, or failures at or above a share.
 */
export function outliers(
  hosts: readonly HostRuntime[],
  spec: OutlierSpec,
  tallyOf: (host: HostRuntime) => Tally,
): Finding[] {
  const findings: Finding[] = []
  const { successRate, failurePercentage } = spec
  if (successRate !== null) {
    const rated = ratesOf(hosts, successRate.requestVolume, tallyOf)
    if (rated.length >= Math.max(1, successRate.minimumHosts)) {
      const mean = rated.reduce((sum, r) => sum + r.rate, 0) / rated.length
      const variance = rated.reduce((sum, r) => sum + (r.rate - mean) ** 2, 0) / rated.length
      const least = mean - successRate.stdevFactor * Math.sqrt(variance)
      const { enforcingPercent } = successRate
      for (const { host, rate } of rated)
        if (rate < least) findings.push({ host, reason: 'success-rate', enforcingPercent })
    }
  }
  if (failurePercentage !== null) {
    const rated = ratesOf(hosts, failurePercentage.requestVolume, tallyOf)
    if (rated.length >= Math.max(1, failurePercentage.minimumHosts)) {
      const { enforcingPercent, thresholdPercent } = failurePercentage
      for (const { host, rate } of rated)
        if (100 - rate >= thresholdPercent) findings.push({ host, reason: 'failure-percentage', enforcingPercent })
    }
  }
  return findings
}

/** Success in percent of the hosts that are in and had enough calls. */
function ratesOf(hosts: readonly HostRuntime[], requestVolume: number, tallyOf: (host: HostRuntime) => Tally) {
  return hosts
    .filter((host) => host.ejectedUntil === 0 && tallyOf(host).total >= Math.max(1, requestVolume))
    .map((host) => ({ host, rate: (100 * tallyOf(host).good) / tallyOf(host).total }))
}
