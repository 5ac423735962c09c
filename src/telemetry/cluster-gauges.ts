import type { ClusterRuntime } from '../engine/cluster.ts'
import type { ClusterGauges } from './metrics.ts'

/** What metrics show of the engine's clusters, for `MetricSources.clusters`: `() => clusterGauges(engine.clusters.values())`. */
export function* clusterGauges(clusters: Iterable<ClusterRuntime>): Generator<ClusterGauges> {
  for (const { name, hosts, breaker } of clusters) {
    let ejected = 0
    for (const host of hosts) if (host.ejectedUntil !== 0) ejected++
    yield { name, endpoints: hosts.length, ejected, breaker: breaker === null ? null : breaker.state }
  }
}
