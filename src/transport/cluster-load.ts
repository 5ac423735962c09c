import type { ClusterRuntime } from '../engine/cluster.ts'

/** What a cluster's hosts have in common: its connection and queue limits (Envoy circuit_breakers) count over all of them. */
export class ClusterLoad {
  /** Open or being opened. */
  connections = 0
  /** Attempts without a connection. */
  waiting = 0
  /** Connections whose answer is complete and that undici has not let go. */
  finishing = 0
}

const loads = new WeakMap<ClusterRuntime, ClusterLoad>()

/** The one of this cluster; asked for once per link. */
export function loadOf(cluster: ClusterRuntime): ClusterLoad {
  let load = loads.get(cluster)
  if (load === undefined) {
    load = new ClusterLoad()
    loads.set(cluster, load)
  }
  return load
}
