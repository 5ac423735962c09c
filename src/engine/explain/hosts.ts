import type { ClusterRuntime } from '../cluster.ts'
import type { HostRuntime } from '../host.ts'
import type { ExplainedHost } from './explanation.ts'
import { duration } from './words.ts'

/** Every host of the cluster, in the order of the configuration, and why some get no calls now. */
export function explainHosts(cluster: ClusterRuntime, now: number): ExplainedHost[] {
  const usable = new Set(cluster.usable)
  return cluster.hosts.map((host) => ({
    address: hostName(host),
    locality: host.spec.locality,
    priority: host.spec.priority,
    weight: host.spec.weight,
    labels: host.spec.labels,
    tls: host.spec.tlsMode === 'mtls',
    active: host.active,
    usable: usable.has(host),
    why: usable.has(host) ? null : whyNot(host, now),
  }))
}

function whyNot(host: HostRuntime, now: number): string {
  if (host.ejectedUntil !== 0) {
    const left = host.ejectedUntil - now
    return left > 0
      ? `ejected by outlier detection, for ${duration(left)} more`
      : 'ejected by outlier detection, until its next sweep'
  }
  if (host.spec.health === 'DRAINING') return 'draining: it is about to leave'
  if (host.spec.health !== 'HEALTHY') return 'unhealthy'
  return `priority ${host.spec.priority} waits until those before it are not enough`
}

/** "10.0.0.1:8080", "[fd00::1]:8080". */
export function hostName({ spec }: HostRuntime): string {
  return spec.address.includes(':') ? `[${spec.address}]:${spec.port}` : `${spec.address}:${spec.port}`
}
