import type { Socket } from 'node:net'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { HostRuntime } from '../engine/host.ts'
import { InmeshError } from '../errors.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import { dial } from '../transport/connect.ts'
import { allowedIds, externalOf, isSecure } from '../transport/peer-rules.ts'
import { protocolsOf } from './host-link.ts'

/**
 * A connection for something besides calls: made as those for calls are, with the cluster's TLS, verified as its TLS. Keeps no
 * process alive.
 * @param protocols that ALPN offers
 * @returns gives up; null = none can be made now, for a reason of this process
 */
export function dialHost(
  identity: IdentityState | null,
  cluster: ClusterRuntime,
  host: HostRuntime,
  { timeoutMs, protocols }: { readonly timeoutMs: number; readonly protocols: readonly string[] },
  done: (error: Error | null, socket: Socket | null) => void,
): (() => void) | null {
  const secure = isSecure(host.spec, cluster.spec)
  if (secure && identity === null) return null
  try {
    const target = {
      address: host.spec.address,
      port: host.spec.port,
      timeoutMs,
      identity: secure ? identity : null,
      allowedIds: allowedIds(host.spec, cluster.spec),
      external: externalOf(host.spec, cluster.spec, protocolsOf(cluster.spec)),
      protocols,
      background: true,
    }
    return dial(target, done)
  } catch (error) {
    // A file of ours cannot be read, or our own certificate is not valid: that is not the host's fault.
    if (error instanceof InmeshError) return null
    throw error
  }
}

/** What requests to a host besides calls name: "outbound|80|v1|shop.default.svc.cluster.local" is no authority that servers take. */
export function authorityOf(cluster: ClusterRuntime, host: HostRuntime): string {
  return host.spec.hostname || cluster.name.slice(cluster.name.lastIndexOf('|') + 1)
}
