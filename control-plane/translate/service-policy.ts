import type { MessageInitShape } from '@bufbuild/protobuf'
import type { HealthCheckSchema } from '../../src/gen/envoy/config/core/v3/health_check_pb.js'
import type { ErrorRateBreakerSchema, RoutePolicySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { type ServicePolicySpec, servicePolicyDefaults } from '../resources/service-policy.ts'
import { duration } from './encode.ts'
import type { MeshIndex } from './mesh-index.ts'

/** Least calls in a window before the breaker judges, and its longest open time (ms). */
const minimumRequests = 20
const maxRecovery = 30_000

/** What a ServicePolicy adds to every route of its service. */
export interface RouteExtras {
  readonly message: MessageInitShape<typeof RoutePolicySchema>
  /** For a filter of the route; undefined = none. */
  readonly stickySession: ServicePolicySpec['stickySession']
  /** For the mirrors of the route. */
  readonly mirrorCompare: boolean
  /** For decided_by. */
  readonly decidedBy: Readonly<Record<string, string>>
}

export const noRouteExtras: RouteExtras = { message: {}, stickySession: undefined, mirrorCompare: false, decidedBy: {} }

/** The parts of a route that only ServicePolicy speaks about. */
export function routeExtras(index: MeshIndex, host: string): RouteExtras {
  const rule = index.servicePolicy(host)
  if (rule === undefined) return noRouteExtras
  const { hedging, coalesce, priority, retryNonIdempotent, maxReplayBytes, breakerScope, mirrorCompare } = rule.spec
  const { stickySession } = rule.spec
  const message: MessageInitShape<typeof RoutePolicySchema> = {
    ...(retryNonIdempotent === undefined ? {} : { retryNonIdempotent }),
    ...(hedging === undefined
      ? {}
      : {
          hedge: {
            ...(hedging.delayMs === undefined ? {} : { delay: duration(hedging.delayMs) }),
            ...(hedging.percentile === undefined ? {} : { percentile: hedging.percentile }),
            maxHedges: hedging.maxHedges,
          },
        }),
    ...(breakerScope === 'route' ? { errorRateBreaker: errorRateBreaker(rule.spec) } : {}),
    ...(coalesce === undefined ? {} : { coalesce }),
    ...(priority === undefined ? {} : { priority }),
    ...(maxReplayBytes === undefined ? {} : { maxReplayBytes }),
  }
  return {
    message,
    stickySession,
    mirrorCompare: mirrorCompare ?? false,
    decidedBy: Object.fromEntries(
      [...Object.keys(message), ...(stickySession === undefined ? [] : ['session'])].map((part) => [part, rule.name]),
    ),
  }
}

export function errorRateBreaker(
  policy: ServicePolicySpec | undefined,
): MessageInitShape<typeof ErrorRateBreakerSchema> {
  const { cbThreshold, cbWindowSec, cbRecoverySec } = breakerNumbers(policy)
  const recovery = cbRecoverySec * 1000
  return {
    thresholdPercent: cbThreshold,
    window: duration(cbWindowSec * 1000),
    minimumRequests,
    recovery: duration(recovery),
    maxRecovery: duration(Math.max(maxRecovery, recovery)),
    halfOpenProbes: 1,
  }
}

/**
 * A breaker per host in Envoy's own words: outlier detection by failure percentage. A host whose calls of the last
 * interval failed too often is ejected for the recovery time, times the number of ejections in a row.
 */
export function hostBreaker(policy: ServicePolicySpec) {
  const { cbThreshold, cbWindowSec, cbRecoverySec } = breakerNumbers(policy)
  return {
    interval: duration(cbWindowSec * 1000),
    baseEjectionTime: duration(cbRecoverySec * 1000),
    maxEjectionTime: duration(Math.max(maxRecovery, cbRecoverySec * 1000)),
    maxEjectionPercent: 100,
    enforcingFailurePercentage: 100,
    enforcingFailurePercentageLocalOrigin: 100,
    failurePercentageThreshold: Math.round(cbThreshold),
    failurePercentageMinimumHosts: 1,
    failurePercentageRequestVolume: minimumRequests,
  }
}

function breakerNumbers(policy: ServicePolicySpec | undefined) {
  const { cbThreshold, cbWindowSec, cbRecoverySec } = servicePolicyDefaults
  return {
    cbThreshold: policy?.cbThreshold ?? cbThreshold,
    cbWindowSec: policy?.cbWindowSec ?? cbWindowSec,
    cbRecoverySec: policy?.cbRecoverySec ?? cbRecoverySec,
  }
}

/** Envoy's health_checks for a policy; none without. */
export function healthChecks(policy: ServicePolicySpec | undefined): MessageInitShape<typeof HealthCheckSchema>[] {
  const check = policy?.healthCheck
  if (check === undefined) return []
  const healthChecker: MessageInitShape<typeof HealthCheckSchema>['healthChecker'] =
    check.path !== undefined
      ? { case: 'httpHealthCheck', value: { path: check.path } }
      : check.grpc !== undefined
        ? { case: 'grpcHealthCheck', value: { serviceName: check.grpc === true ? '' : check.grpc } }
        : { case: 'tcpHealthCheck', value: {} }
  return [
    {
      timeout: duration(check.timeoutMs),
      interval: duration(check.intervalMs),
      healthyThreshold: check.healthyThreshold,
      unhealthyThreshold: check.unhealthyThreshold,
      healthChecker,
    },
  ]
}
