import {
  type Cluster,
  Cluster_LbPolicy as LbPolicy,
  Cluster_LeastRequestLbConfigSchema as LeastRequestConfigSchema,
  type LoadBalancingPolicy,
  Cluster_MaglevLbConfigSchema as MaglevConfigSchema,
  Cluster_RingHashLbConfig_HashFunction as OldHashFunction,
  Cluster_RingHashLbConfigSchema as RingHashConfigSchema,
  Cluster_RoundRobinLbConfigSchema as RoundRobinConfigSchema,
} from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClientSideWeightedRoundRobinSchema } from '../../gen/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin_pb.js'
import {
  type LeastRequest,
  LeastRequestSchema,
  LeastRequest_SelectionMethod as SelectionMethod,
} from '../../gen/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.js'
import { MaglevSchema } from '../../gen/envoy/extensions/load_balancing_policies/maglev/v3/maglev_pb.js'
import { PickFirstSchema } from '../../gen/envoy/extensions/load_balancing_policies/pick_first/v3/pick_first_pb.js'
import { RandomSchema } from '../../gen/envoy/extensions/load_balancing_policies/random/v3/random_pb.js'
import {
  RingHash_HashFunction as HashFunction,
  RingHashSchema,
} from '../../gen/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash_pb.js'
import { RoundRobinSchema } from '../../gen/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.js'
import { WrrLocalitySchema } from '../../gen/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality_pb.js'
import { clusterDefaults, type LbSpec, type PrioritySpec, type SubsetSpec } from '../../model/cluster.ts'
import { holds, typeNameOf, unpack } from './any.ts'
import { type Field, names } from './field.ts'
import { type HashingInit, hashing, maglev, ringHash } from './hash-balancer.ts'
import { localitiesOf, localityConfig } from './locality-config.ts'
import { isRandomSubset, randomSubset } from './random-subset.ts'
import { type SlowStartInit, slowStart } from './slow-start.ts'
import { weightedRoundRobin } from './weighted-round-robin.ts'

/** How hosts are chosen, and how localities count. */
export interface Balancing {
  readonly lb: LbSpec
  readonly priorities: PrioritySpec
  readonly subset: SubsetSpec | null
}

/** `load_balancing_policy` comes before `lb_policy` (gRFC A52), and its locality config before that of the cluster. */
export function balancing(field: Field, cluster: Cluster): Balancing {
  const common = localitiesOf(field.at('common_lb_config'), cluster.commonLbConfig)
  if (cluster.loadBalancingPolicy !== undefined) {
    const { lb, priorities, subset } = fromList(field.at('load_balancing_policy'), cluster.loadBalancingPolicy, 0)
    return { lb, priorities: priorities ?? clusterDefaults.priorities, subset: subset ?? null }
  }
  return { lb: legacy(field, cluster), priorities: common ?? clusterDefaults.priorities, subset: null }
}

function legacy(field: Field, cluster: Cluster): LbSpec {
  const at = field.at('lb_policy')
  const config = cluster.lbConfig
  const common = hashing(
    field.at('common_lb_config.consistent_hashing_lb_config'),
    cluster.commonLbConfig?.consistentHashingLbConfig,
  )
  switch (cluster.lbPolicy) {
    case LbPolicy.ROUND_ROBIN: {
      const own = config.case === 'roundRobinLbConfig' ? config.value : undefined
      const ownAt = field.at('round_robin_lb_config')
      if (own !== undefined) ownAt.onlyReads(RoundRobinConfigSchema, own, names('slow_start_config'))
      return { policy: 'ROUND_ROBIN', ...slowStart(ownAt, own?.slowStartConfig) }
    }
    case LbPolicy.RANDOM:
      return { policy: 'RANDOM' }
    case LbPolicy.LEAST_REQUEST: {
      const own = config.case === 'leastRequestLbConfig' ? config.value : undefined
      const ownAt = field.at('least_request_lb_config')
      if (own !== undefined)
        ownAt.onlyReads(LeastRequestConfigSchema, own, names('choice_count active_request_bias slow_start_config'))
      return leastRequest(ownAt, own)
    }
    case LbPolicy.RING_HASH: {
      const own = config.case === 'ringHashLbConfig' ? config.value : undefined
      const ownAt = field.at('ring_hash_lb_config')
      if (own !== undefined)
        ownAt.onlyReads(RingHashConfigSchema, own, names('minimum_ring_size maximum_ring_size hash_function'))
      const isMurmur = own?.hashFunction === OldHashFunction.MURMUR_HASH_2
      return ringHash(ownAt, own?.minimumRingSize, own?.maximumRingSize, isMurmur, common)
    }
    case LbPolicy.MAGLEV: {
      const own = config.case === 'maglevLbConfig' ? config.value : undefined
      const ownAt = field.at('maglev_lb_config')
      if (own !== undefined) ownAt.onlyReads(MaglevConfigSchema, own, names('table_size'))
      return maglev(ownAt, own?.tableSize, common)
    }
    default:
      return at.fail(`${LbPolicy[cluster.lbPolicy] ?? cluster.lbPolicy} is not supported`)
  }
}

interface Chosen {
  readonly lb: LbSpec
  /** null = says nothing about localities. */
  readonly priorities: PrioritySpec | null
  readonly subset?: SubsetSpec
}

/** The first policy that is known wins; a list may nest 16 deep. */
function fromList(field: Field, list: LoadBalancingPolicy, depth: number): Chosen {
  if (depth > 16) field.fail('is nested more than 16 deep')
  const seen: string[] = []
  for (const [i, policy] of list.policies.entries()) {
    const at = field.at('policies').index(i).at('typed_extension_config')
    const config = policy.typedExtensionConfig?.typedConfig
    if (config === undefined) return at.at('typed_config').fail('is missing')
    if (holds(config, RoundRobinSchema)) {
      const message = unpack(at, config, RoundRobinSchema)
      at.onlyReads(RoundRobinSchema, message, names('slow_start_config locality_lb_config'))
      return {
        lb: { policy: 'ROUND_ROBIN', ...slowStart(at, message.slowStartConfig) },
        priorities: localityConfig(at, message.localityLbConfig),
      }
    }
    if (holds(config, PickFirstSchema)) {
      const { shuffleAddressList } = unpack(at, config, PickFirstSchema)
      return { lb: { policy: 'PICK_FIRST', shuffle: shuffleAddressList }, priorities: null }
    }
    if (holds(config, RandomSchema)) return { lb: { policy: 'RANDOM' }, priorities: null }
    if (holds(config, LeastRequestSchema)) return fromLeastRequest(at, unpack(at, config, LeastRequestSchema))
    if (holds(config, RingHashSchema)) {
      const message = unpack(at, config, RingHashSchema)
      at.onlyReads(RingHashSchema, message, ringFields)
      const isMurmur = message.hashFunction === HashFunction.MURMUR_HASH_2
      const older: HashingInit = {
        useHostnameForHashing: message.useHostnameForHashing,
        hashBalanceFactor: message.hashBalanceFactor,
      }
      const consistent = hashing(at.at('consistent_hashing_lb_config'), message.consistentHashingLbConfig ?? older)
      return {
        lb: ringHash(at, message.minimumRingSize, message.maximumRingSize, isMurmur, consistent),
        priorities: weighted(message.localityWeightedLbConfig),
      }
    }
    if (holds(config, MaglevSchema)) {
      const message = unpack(at, config, MaglevSchema)
      const consistent = hashing(at.at('consistent_hashing_lb_config'), message.consistentHashingLbConfig)
      return { lb: maglev(at, message.tableSize, consistent), priorities: weighted(message.localityWeightedLbConfig) }
    }
    if (holds(config, ClientSideWeightedRoundRobinSchema)) {
      const message = unpack(at, config, ClientSideWeightedRoundRobinSchema)
      return { lb: weightedRoundRobin(at, message), priorities: null }
    }
    if (isRandomSubset(config)) {
      const { size, child } = randomSubset(at, config)
      return { ...fromList(at.at('child_policy'), child, depth + 1), subset: { size, per: 'priority' } }
    }
    if (holds(config, WrrLocalitySchema)) {
      const child = unpack(at, config, WrrLocalitySchema).endpointPickingPolicy
      if (child === undefined) return at.at('endpoint_picking_policy').fail('is missing')
      const chosen = fromList(at.at('endpoint_picking_policy'), child, depth + 1)
      const { lb, subset } = chosen
      return {
        lb,
        priorities: weighted({}),
        ...(subset === undefined ? {} : { subset: { ...subset, per: 'locality' } }),
      }
    }
    seen.push(typeNameOf(config))
  }
  return field.at('policies').fail(seen.length === 0 ? 'must not be empty' : `none of ${seen.join(', ')} is supported`)
}

const ringFields = names(`hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor
  consistent_hashing_lb_config locality_weighted_lb_config`)

function weighted(config: object | undefined): PrioritySpec | null {
  return config === undefined ? null : { ...clusterDefaults.priorities, locality: 'weighted' }
}

function fromLeastRequest(field: Field, message: LeastRequest): Chosen {
  field.onlyReads(
    LeastRequestSchema,
    message,
    names('choice_count active_request_bias slow_start_config locality_lb_config enable_full_scan selection_method'),
  )
  if (message.selectionMethod === SelectionMethod.FULL_SCAN || message.enableFullScan === true)
    field.at('selection_method').warn('FULL_SCAN is not supported, hosts are drawn by choice_count')
  return { lb: leastRequest(field, message), priorities: localityConfig(field, message.localityLbConfig) }
}

/** gRFC A48: 2 choices when absent, fewer are refused. Envoy's bias is 1 when absent. */
function leastRequest(
  field: Field,
  config:
    | (Pick<LeastRequest, 'choiceCount' | 'activeRequestBias'> & {
        readonly slowStartConfig?: SlowStartInit | undefined
      })
    | undefined,
): LbSpec {
  const choices = config?.choiceCount ?? 2
  if (choices < 2) field.at('choice_count').fail(`must be at least 2, is ${choices}`)
  const bias = config?.activeRequestBias?.defaultValue
  if (bias !== undefined && !(bias >= 0 && Number.isFinite(bias)))
    field.at('active_request_bias').fail(`must not be negative, is ${bias}`)
  return {
    policy: 'LEAST_REQUEST',
    choiceCount: choices,
    ...(bias === undefined ? {} : { activeRequestBias: bias }),
    ...slowStart(field, config?.slowStartConfig),
  }
}
