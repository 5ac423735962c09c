import { Hash64 } from '../match/hash64.ts'
import { xxHash64 } from '../match/xxhash64.ts'
import type { EndpointSpec, SubsetSpec } from '../model/cluster.ts'

/**
 * The endpoints that this client goes to (gRFC A68): of each priority, or each locality of it, those whose addresses hash lowest
 * with the client's own seed. Who comes or goes changes one of them at most, and clients with other seeds have others.
 * @returns in the order of `endpoints`
 */
export function subsetOf(
  endpoints: readonly EndpointSpec[],
  { size, per }: SubsetSpec,
  seed: number,
): readonly EndpointSpec[] {
  const groups = new Map<string, EndpointSpec[]>()
  for (const endpoint of endpoints) {
    const key = per === 'locality' ? `${endpoint.priority} ${endpoint.locality}` : `${endpoint.priority}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [endpoint])
    else group.push(endpoint)
  }
  const chosen = new Set<EndpointSpec>()
  for (const group of groups.values()) for (const endpoint of lowest(group, size, seed)) chosen.add(endpoint)
  return chosen.size === endpoints.length ? endpoints : endpoints.filter((endpoint) => chosen.has(endpoint))
}

function lowest(group: readonly EndpointSpec[], size: number, seed: number): readonly EndpointSpec[] {
  if (group.length <= size) return group
  return group
    .map((endpoint) => ({ endpoint, hash: xxHash64(`${endpoint.address}:${endpoint.port}`, new Hash64(), seed) }))
    .sort((a, b) => (a.hash.hi >>> 0) - (b.hash.hi >>> 0) || (a.hash.lo >>> 0) - (b.hash.lo >>> 0))
    .slice(0, size)
    .map(({ endpoint }) => endpoint)
}
