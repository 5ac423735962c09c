import {
  type OutlierDetection,
  OutlierDetectionSchema,
} from '../../gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import type { OutlierRateSpec, OutlierSpec } from '../../model/cluster.ts'
import { positiveMs } from './duration.ts'
import { type Field, names } from './field.ts'
import { percent } from './percent.ts'

const fields = names(`consecutive_5xx enforcing_consecutive_5xx consecutive_gateway_failure
  enforcing_consecutive_gateway_failure interval base_ejection_time max_ejection_time max_ejection_percent
  always_eject_one_host success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor
  enforcing_success_rate enforcing_failure_percentage enforcing_failure_percentage_local_origin
  failure_percentage_threshold failure_percentage_minimum_hosts failure_percentage_request_volume
  split_external_local_origin_errors consecutive_local_origin_failure
  enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate`)

/**
 * envoy.config.cluster.v3.OutlierDetection, defaults field by field: 5 consecutive 5xx enforced, gateway failures
 * counted but not enforced, interval 10 s, ejection 30 s to 300 s, at most 10 % of the hosts, success rate enforced
 * (5 hosts with 100 requests, 1.9 standard deviations), failure percentage not (85 %, 5 hosts with 50 requests).
 *
 * @param errorStatuses inmesh's own: which statuses are errors; null = 500 to 599
 */
export function outlierSpec(
  field: Field,
  message: OutlierDetection | undefined,
  errorStatuses: OutlierSpec['errorStatuses'],
): OutlierSpec | null {
  if (message === undefined) return null
  field.onlyReads(OutlierDetectionSchema, message, fields)
  const baseEjectionTimeMs = positiveMs(field.at('base_ejection_time'), message.baseEjectionTime, 30_000)
  // gRPC ejects by statistics only (A50), so that control planes for its clients mean nothing by silence.
  const unsaid = field.dialect.providers === null ? 5 : 0
  const split = message.splitExternalLocalOriginErrors
  return {
    consecutive5xx: enforced(
      field.at('enforcing_consecutive_5xx'),
      message.enforcingConsecutive5xx ?? 100,
      message.consecutive5xx ?? unsaid,
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
    splitLocalOrigin: split,
    consecutiveLocalOrigin: enforced(
      field.at('enforcing_consecutive_local_origin_failure'),
      message.enforcingConsecutiveLocalOriginFailure ?? 100,
      message.consecutiveLocalOriginFailure ?? unsaid,
    ),
    successRate: successRate(field, message),
    failurePercentage: failurePercentage(field, message),
    errorStatuses,
  }
}

/** Enforcement of consecutive errors is all or nothing here: a share of 0 switches the detector off. */
function enforced(field: Field, share: number, count: number): number {
  percent(field, share)
  if (share > 0 && share < 100) field.warn(`${share} % is treated as 100 %`)
  return share === 0 ? 0 : count
}

function successRate(field: Field, message: OutlierDetection): OutlierRateSpec | null {
  const enforcing = percent(field.at('enforcing_success_rate'), message.enforcingSuccessRate ?? 100)
  const local = percent(field.at('enforcing_local_origin_success_rate'), message.enforcingLocalOriginSuccessRate ?? 100)
  if (message.splitExternalLocalOriginErrors && local !== enforcing)
    field.at('enforcing_local_origin_success_rate').warn('not supported apart from enforcing_success_rate')
  if (enforcing === 0) return null
  return {
    minimumHosts: message.successRateMinimumHosts ?? 5,
    requestVolume: message.successRateRequestVolume ?? 100,
    stdevFactor: (message.successRateStdevFactor ?? 1900) / 1000,
    thresholdPercent: 0,
    enforcingPercent: enforcing,
  }
}

function failurePercentage(field: Field, message: OutlierDetection): OutlierRateSpec | null {
  const enforcing = percent(field.at('enforcing_failure_percentage'), message.enforcingFailurePercentage ?? 0)
  percent(field.at('enforcing_failure_percentage_local_origin'), message.enforcingFailurePercentageLocalOrigin ?? 0)
  const threshold = percent(field.at('failure_percentage_threshold'), message.failurePercentageThreshold ?? 85)
  if (enforcing === 0) return null
  return {
    minimumHosts: message.failurePercentageMinimumHosts ?? 5,
    requestVolume: message.failurePercentageRequestVolume ?? 50,
    stdevFactor: 0,
    thresholdPercent: threshold,
    enforcingPercent: enforcing,
  }
}
