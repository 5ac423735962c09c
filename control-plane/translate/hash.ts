import type { HashSpec } from '../../src/model/route.ts'
import type { ConsistentHash } from '../resources/consistent-hash.ts'
import { parseClusterName } from './cluster-name.ts'
import { effectivePolicy, mergedRule } from './merge.ts'
import type { MeshIndex } from './mesh-index.ts'
import type { RoutePlan } from './route-plan.ts'
import type { ClientView } from './types.ts'

/**
 * What the hosts of a route's destinations are chosen by: the consistentHash of each destination's DestinationRule, in the
 * order of the destinations (as istiod does it). A retry may then go to the host of before: its key belongs there.
 */
export function withHash(index: MeshIndex, plan: RoutePlan, client: ClientView): RoutePlan {
  const specs = new Map<string, HashSpec>()
  let decider = ''
  for (const { name } of plan.clusters) {
    const target = parseClusterName(name)
    if (target === undefined) continue
    const { blocks, decidedBy: said } = effectivePolicy(
      mergedRule(index, target.host, client),
      target.subset,
      target.port,
    )
    const spec = hashSpec(blocks.loadBalancer?.consistentHash)
    if (spec === undefined) continue
    specs.set(JSON.stringify(spec), spec)
    decider ||= said.loadBalancer ?? ''
  }
  if (specs.size === 0) return plan
  return {
    ...plan,
    actions: { ...plan.actions, hash: [...specs.values()] },
    retry: plan.retry === null ? null : { ...plan.retry, previousHosts: true },
    decidedBy: { ...plan.decidedBy, hash: decider },
  }
}

function hashSpec(hash: ConsistentHash | undefined): HashSpec | undefined {
  if (hash === undefined) return undefined
  const terminal = false
  if (hash.httpHeaderName !== undefined) return { kind: 'header', name: hash.httpHeaderName, terminal }
  if (hash.httpCookie !== undefined) {
    const { name, path = '', ttl } = hash.httpCookie
    return { kind: 'cookie', name, path, ttlMs: ttl ?? null, terminal }
  }
  if (hash.useSourceIp === true) return { kind: 'source-ip', terminal }
  return hash.httpQueryParameterName === undefined
    ? undefined
    : { kind: 'query', name: hash.httpQueryParameterName, terminal }
}
