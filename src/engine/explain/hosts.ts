import type { ClusterRuntime } from '../cluster.ts'
import type { HostRuntime } from '../host.ts'
import type { ExplainedHost, ExplainedLevel } from './explanation.ts'
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

/** How priorities and localities share the calls now. */
export function explainLevels(cluster: ClusterRuntime, now: number): ExplainedLevel[] {
  const table = cluster.shares(now)
  return table.levels.map((level) => {
    const groups = level.load > 0 ? table.groupsOf(level, now) : []
    return {
      priority: level.priority,
      share: level.load / 100,
      healthy: level.healthy,
      hosts: level.hosts.length,
      panic: level.panic,
      localities: groups.length < 2 ? [] : groups.map((g) => ({ locality: g.locality, share: g.share })),
    }
  })
}

function whyNot(host: HostRuntime, now: number): string {
  if (host.ejectedUntil !== 0) {
    const left = host.ejectedUntil - now
    const by = `ejected by outlier detection (${host.outlier.reason})`
    return left > 0 ? `${by}, for ${duration(left)} more` : `${by}, until its next sweep`
  }
  if (host.spec.health === 'DRAINING') return 'draining: it is about to leave'
  if (host.spec.health !== 'HEALTHY') return 'unhealthy'
  if (host.checkFailed) return 'its health checks fail'
  if (host.backedOffUntil > now)
    return `refused connections: taken only when nobody else is there, for ${duration(host.backedOffUntil - now)} more`
  if (host.checkFailed) return 'its health checks fail'
  if (host.backedOffUntil > now)
    return `passed over for ${duration(host.backedOffUntil - now)} more: it refused connections`
  return `priority ${host.spec.priority} waits until those before it are not enough`
}

/** "10.0.0.1:8080", "[fd00::1]:8080". */
export function hostName({ spec }: HostRuntime): string {
  return spec.address.includes(':') ? `[${spec.address}]:${spec.port}` : `${spec.address}:${spec.port}`
}
