import {
  type Cluster,
  Cluster_LeastRequestLbConfigSchema,
  Cluster_LbPolicy as LbPolicy,
  type LoadBalancingPolicy,
} from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { LeastRequestSchema } from '../../gen/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.js'
import { RandomSchema } from '../../gen/envoy/extensions/load_balancing_policies/random/v3/random_pb.js'
import { RoundRobinSchema } from '../../gen/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.js'
import { WrrLocalitySchema } from '../../gen/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality_pb.js'
import type { LbSpec } from '../../model/cluster.ts'
import { holds, typeNameOf, unpack } from './any.ts'
import { type Field, names } from './field.ts'

/** `load_balancing_policy` comes before `lb_policy` (gRFC A52). */
export function lbSpec(field: Field, cluster: Cluster): LbSpec {
  if (cluster.loadBalancingPolicy !== undefined)
    return fromList(field.at('load_balancing_policy'), cluster.loadBalancingPolicy, 0)
  const at = field.at('lb_policy')
  switch (cluster.lbPolicy) {
    case LbPolicy.ROUND_ROBIN:
      return { policy: 'ROUND_ROBIN' }
    case LbPolicy.RANDOM:
      return { policy: 'RANDOM' }
    case LbPolicy.LEAST_REQUEST: {
      const config = cluster.lbConfig.case === 'leastRequestLbConfig' ? cluster.lbConfig.value : undefined
      const configAt = field.at('least_request_lb_config')
      if (config !== undefined) configAt.onlyReads(Cluster_LeastRequestLbConfigSchema, config, names('choice_count'))
      return leastRequest(configAt, config?.choiceCount)
    }
    default:
      return at.fail(`${LbPolicy[cluster.lbPolicy] ?? cluster.lbPolicy} is not supported`)
  }
}

/** The first policy that is known wins; a list may nest 16 deep. */
function fromList(field: Field, list: LoadBalancingPolicy, depth: number): LbSpec {
  if (depth > 16) field.fail('is nested more than 16 deep')
  const seen: string[] = []
  for (const [i, policy] of list.policies.entries()) {
    const at = field.at('policies').index(i).at('typed_extension_config')
    const config = policy.typedExtensionConfig?.typedConfig
    if (config === undefined) return at.at('typed_config').fail('is missing')
    if (holds(config, RoundRobinSchema)) {
      at.onlyReads(RoundRobinSchema, unpack(at, config, RoundRobinSchema), names('locality_lb_config'))
      return { policy: 'ROUND_ROBIN' }
    }
    if (holds(config, RandomSchema)) return { policy: 'RANDOM' }
    if (holds(config, LeastRequestSchema)) {
      const message = unpack(at, config, LeastRequestSchema)
      at.onlyReads(LeastRequestSchema, message, names('choice_count locality_lb_config'))
      return leastRequest(at, message.choiceCount)
    }
    if (holds(config, WrrLocalitySchema)) {
      const child = unpack(at, config, WrrLocalitySchema).endpointPickingPolicy
      if (child === undefined) return at.at('endpoint_picking_policy').fail('is missing')
      return fromList(at.at('endpoint_picking_policy'), child, depth + 1)
    }
    seen.push(typeNameOf(config))
  }
  return field.at('policies').fail(seen.length === 0 ? 'must not be empty' : `none of ${seen.join(', ')} is supported`)
}

/** gRFC A48: 2 when absent, fewer are refused. */
function leastRequest(field: Field, choiceCount: number | undefined): LbSpec {
  const choices = choiceCount ?? 2
  if (choices < 2) field.at('choice_count').fail(`must be at least 2, is ${choices}`)
  return { policy: 'LEAST_REQUEST', choiceCount: choices }
}
