import type { Cluster_SlowStartConfig } from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import type { SlowStartConfig } from '../../gen/envoy/extensions/load_balancing_policies/common/v3/common_pb.js'
import type { SlowStartSpec } from '../../model/cluster.ts'
import { positiveMs } from './duration.ts'
import type { Field } from './field.ts'
import { percent } from './percent.ts'

/** Of lb_policy or of load_balancing_policy. */
export type SlowStartInit = Pick<
  Cluster_SlowStartConfig | SlowStartConfig,
  'slowStartWindow' | 'aggression' | 'minWeightPercent'
>

/** Envoy's SlowStartConfig; without a window there is none. Aggression 1 and at least 10 % when absent. */
export function slowStart(field: Field, config: SlowStartInit | undefined): { slowStart?: SlowStartSpec } {
  if (config?.slowStartWindow === undefined) return {}
  const at = field.at('slow_start_config')
  const aggression = config.aggression?.defaultValue ?? 1
  if (!(aggression > 0 && Number.isFinite(aggression)))
    at.at('aggression').fail(`must be greater than 0, is ${aggression}`)
  return {
    slowStart: {
      windowMs: positiveMs(at.at('slow_start_window'), config.slowStartWindow, 0),
      aggression,
      minWeightPercent: percent(at.at('min_weight_percent'), config.minWeightPercent?.value ?? 10),
    },
  }
}
