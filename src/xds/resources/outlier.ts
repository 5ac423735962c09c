import {
  type OutlierDetection,
  OutlierDetectionSchema,
} from '../../gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import { type OutlierSpec, outlierDefaults } from '../../model/cluster.ts'
import { positiveMs } from './duration.ts'
import { type Field, names } from './field.ts'
import { percent } from './percent.ts'

const fields = names(`consecutive_5xx enforcing_consecutive_5xx consecutive_gateway_failure
  enforcing_consecutive_gateway_failure interval base_ejection_time max_ejection_time max_ejection_percent
  always_eject_one_host success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor
  enforcing_success_rate enforcing_failure_percentage enforcing_failure_percentage_local_origin
  failure_percentage_threshold failure_percentage_minimum_hosts failure_percentage_request_volume
  consecutive_local_origin_failure enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate`)

/**
 * envoy.config.cluster.v3.OutlierDetection, defaults field by field: 5 consecutive 5xx enforced, gateway failures
 * counted but not enforced, interval 10 s, ejection 30 s to 300 s, at most 10 % of the hosts. Statistical detection is
 * not done; asking for it is warned about.
 */
export function outlierSpec(field: Field, message: OutlierDetection | undefined): OutlierSpec | null {
  if (message === undefined) return null
  field.onlyReads(OutlierDetectionSchema, message, fields)
  if ((message.enforcingSuccessRate ?? 0) > 0) field.at('enforcing_success_rate').warn('not supported, has no effect')
  if ((message.enforcingFailurePercentage ?? 0) > 0)
    field.at('enforcing_failure_percentage').warn('not supported, has no effect')
  const baseEjectionTimeMs = positiveMs(field.at('base_ejection_time'), message.baseEjectionTime, 30_000)
  return {
    ...outlierDefaults,
    consecutive5xx: enforced(
      field.at('enforcing_consecutive_5xx'),
      message.enforcingConsecutive5xx ?? 100,
      message.consecutive5xx ?? 5,
    ),
    consecutiveGatewayErrors: enforced(
      field.at('enforcing_consecutive_gateway_failure'),
      message.enforcingConsecutiveGatewayFailure ?? 0,
      message.consecutiveGatewayFailure ?? 5,
    ),
    intervalMs: positiveMs(field.at('interval'), message.interval, 10_000),
    baseEjectionTimeMs,
    maxEjectionTimeMs: Math.max(
      baseEjectionTimeMs,
      positiveMs(field.at('max_ejection_time'), message.maxEjectionTime, 300_000),
    ),
    maxEjectionPercent: percent(field.at('max_ejection_percent'), message.maxEjectionPercent ?? 10),
  }
}

/** Enforcement is all or nothing here: a share of 0 switches the detector off. */
function enforced(field: Field, share: number, count: number): number {
  percent(field, share)
  if (share > 0 && share < 100) field.warn(`${share} % is treated as 100 %`)
  return share === 0 ? 0 : count
}
