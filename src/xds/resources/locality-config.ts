import {
  type Cluster_CommonLbConfig as CommonLbConfig,
  Cluster_CommonLbConfigSchema as CommonLbConfigSchema,
} from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import type { LocalityLbConfig } from '../../gen/envoy/extensions/load_balancing_policies/common/v3/common_pb.js'
import type { Percent } from '../../gen/envoy/type/v3/percent_pb.js'
import { clusterDefaults, type PrioritySpec } from '../../model/cluster.ts'
import { type Field, names } from './field.ts'
import { percent } from './percent.ts'

const fields = names(`healthy_panic_threshold zone_aware_lb_config locality_weighted_lb_config update_merge_window
  ignore_new_hosts_until_first_hc consistent_hashing_lb_config override_host_status`)

/**
 * Of a cluster's common_lb_config; null = it says nothing. Envoy is zone-aware where nothing is said and its own zone is
 * known; here as in gRPC that must be asked for.
 */
export function localitiesOf(field: Field, config: CommonLbConfig | undefined): PrioritySpec | null {
  if (config === undefined) return null
  field.onlyReads(CommonLbConfigSchema, config, fields)
  return choice(field, config.localityConfigSpecifier)
}

/** Of a policy in load_balancing_policy; null = it says nothing. */
export function localityConfig(field: Field, config: LocalityLbConfig | undefined): PrioritySpec | null {
  return config === undefined ? null : choice(field.at('locality_lb_config'), config.localityConfigSpecifier)
}

interface ZoneAware {
  readonly routingEnabled?: Percent | undefined
  readonly minClusterSize?: bigint | undefined
  readonly failTrafficOnPanic: boolean
}

type Choice =
  | { readonly case: 'zoneAwareLbConfig'; readonly value: ZoneAware }
  | { readonly case: 'localityWeightedLbConfig'; readonly value: object }
  | { readonly case: undefined; readonly value?: undefined }

function choice(field: Field, specifier: Choice): PrioritySpec | null {
  if (specifier.case === undefined) return null
  if (specifier.case === 'localityWeightedLbConfig') return { ...clusterDefaults.priorities, locality: 'weighted' }
  const at = field.at('zone_aware_lb_config')
  const { routingEnabled, minClusterSize, failTrafficOnPanic } = specifier.value
  if (failTrafficOnPanic) at.at('fail_traffic_on_panic').warn('not supported, has no effect')
  return {
    ...clusterDefaults.priorities,
    locality: 'zone-aware',
    minClusterSize: Number(minClusterSize ?? 6n),
    routingEnabledPercent: percent(at.at('routing_enabled'), routingEnabled?.value ?? 100),
  }
}
