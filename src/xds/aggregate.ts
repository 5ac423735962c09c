import { isDeepStrictEqual } from 'node:util'
import type { ClusterSpec, EndpointSpec } from '../model/cluster.ts'
import type { ClusterResource } from './resources/cluster.ts'

/** Most levels of aggregates within each other (gRFC A37). */
export const MAX_AGGREGATE_DEPTH = 16

/**
 * An aggregate cluster as one: the priorities of the first leaf, then those of the second, and so on (gRFC A37, A75). Balancing, limits and
 * TLS are those of the first leaf. A leaf that is spoken to in another way (TLS, names of its peers) is left out: one connection rule for
 * all is what a cluster has here, and none may be taken for another's.
 */
export function aggregateSpec(cluster: ClusterResource, leaves: readonly ClusterSpec[]): ClusterSpec {
  const [first] = leaves
  if (first === undefined) return { ...cluster.spec, endpoints: [] }
  const endpoints: EndpointSpec[] = []
  let offset = 0
  for (const leaf of leaves) {
    if (!isDeepStrictEqual(leaf.tls, first.tls) || leaf.protocol !== first.protocol) continue
    // A name is dialled as it is: the platform looks it up for each connection.
    const own = leaf.dns?.names.map((e) => ({ ...e, hostname: e.hostname || e.address })) ?? leaf.endpoints
    let levels = 0
    for (const endpoint of own) {
      endpoints.push({ ...endpoint, priority: endpoint.priority + offset })
      levels = Math.max(levels, endpoint.priority + 1)
    }
    offset += levels
  }
  return { ...first, name: cluster.spec.name, kind: 'eds', dns: null, endpoints }
}
