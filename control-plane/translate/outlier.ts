import type { MessageInitShape } from '@bufbuild/protobuf'
import type { OutlierDetectionSchema } from '../../src/gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import type { OutlierDetectionSpec } from '../resources/outlier-detection.ts'
import type { ServicePolicySpec } from '../resources/service-policy.ts'
import { duration } from './encode.ts'
import { hostBreaker } from './service-policy.ts'

type OutlierInit = MessageInitShape<typeof OutlierDetectionSchema>

const nothing = { interval: 1, baseEjectionTime: 1, minHealthPercent: 0, splitExternalLocalOriginErrors: false }

/** A DestinationRule's outlier detection comes before the breaker per host of a ServicePolicy. */
export function outliers(
  asked: OutlierDetectionSpec | undefined,
  policy: ServicePolicySpec | undefined,
  foreign: boolean,
): { outlierDetection?: OutlierInit } {
  if (asked !== undefined) return { outlierDetection: outlierDetection(asked) }
  if (policy?.breakerScope !== 'host' || foreign) return {}
  const off = { ...nothing, consecutive5xxErrors: 0, maxEjectionPercent: 100 }
  return { outlierDetection: { ...outlierDetection(off), ...hostBreaker(policy) } }
}

/**
 * Every field is written out: grpc-js-xds ends its process over fields that are not there. Statistical detection is
 * off, as in Istio.
 */
function outlierDetection(outlier: OutlierDetectionSpec): OutlierInit {
  const { consecutiveErrors: legacy, consecutiveGatewayErrors = legacy ?? 0, baseEjectionTime } = outlier
  // Who counts gateway errors by the older name wants nothing else counted (Istio).
  const { consecutive5xxErrors = legacy === undefined ? 5 : 0 } = outlier
  const split = outlier.splitExternalLocalOriginErrors
  const { consecutiveLocalOriginFailures = 5 } = outlier
  return {
    consecutive5xx: consecutive5xxErrors,
    enforcingConsecutive5xx: consecutive5xxErrors > 0 ? 100 : 0,
    consecutiveGatewayFailure: consecutiveGatewayErrors,
    enforcingConsecutiveGatewayFailure: consecutiveGatewayErrors > 0 ? 100 : 0,
    interval: duration(outlier.interval),
    baseEjectionTime: duration(baseEjectionTime),
    maxEjectionTime: duration(Math.max(300_000, baseEjectionTime)),
    maxEjectionPercent: outlier.maxEjectionPercent || 10,
    ...(split
      ? {
          splitExternalLocalOriginErrors: true,
          consecutiveLocalOriginFailure: consecutiveLocalOriginFailures,
          enforcingConsecutiveLocalOriginFailure: consecutiveLocalOriginFailures > 0 ? 100 : 0,
          enforcingLocalOriginSuccessRate: 0,
        }
      : {}),
    enforcingSuccessRate: 0,
    successRateMinimumHosts: 5,
    successRateRequestVolume: 100,
    successRateStdevFactor: 1900,
    enforcingFailurePercentage: 0,
    failurePercentageThreshold: 85,
    failurePercentageMinimumHosts: 5,
    failurePercentageRequestVolume: 50,
  }
}
