import type { MessageInitShape } from '@bufbuild/protobuf'
import type { CircuitBreakersSchema } from '../../src/gen/envoy/config/cluster/v3/circuit_breaker_pb.js'
import {
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  ClusterSchema,
} from '../../src/gen/envoy/config/cluster/v3/cluster_pb.js'
import type { OutlierDetectionSchema } from '../../src/gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import { HttpProtocolOptionsSchema } from '../../src/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { ClusterPolicySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { clusterName, MetadataKey, PASSTHROUGH_CLUSTER, TRUST_BUNDLE_SECRET, TypeUrl } from '../../src/xds/proto.ts'
import type { PolicyBlocks } from '../resources/destination-rule.ts'
import type { ServicePolicySpec } from '../resources/service-policy.ts'
import { isForeign } from './class.ts'
import { type Built, duration, encode, pack, sorted, struct } from './encode.ts'
import { selectedEndpoints } from './endpoints.ts'
import { effectivePolicy, mergedRule } from './merge.ts'
import type { MeshIndex } from './mesh-index.ts'
import { compareText } from './rule.ts'
import { errorRateBreaker, healthChecks, hostBreaker } from './service-policy.ts'
import { ads, plaintext, upstreamTls } from './tls.ts'
import type { ClientView } from './types.ts'

const unlimited = 4_294_967_295

/** Defaults of services that register themselves (ms). */
const defaults = { connectTimeout: 1_000, idleTimeout: 300_000 }

/** CDS: how the endpoints of a service, or of one of its subsets, are used. */
export function cluster(index: MeshIndex, host: string, subset: string, port: number, client: ClientView): Built {
  const name = clusterName(port, subset, host)
  const foreign = isForeign(client.clientClass)
  const policy = effectivePolicy(mergedRule(index, host, client.namespace), subset, port)
  const tls = transport(index, host, subset, policy, client)
  const servicePolicy = index.servicePolicy(host)
  const own: Partial<ServicePolicySpec> = servicePolicy?.spec ?? {}
  const resource = encode(TypeUrl.cluster, name, ClusterSchema, {
    name,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.EDS },
    edsClusterConfig: { edsConfig: ads, serviceName: name },
    connectTimeout: duration(
      policy.connectionPool?.tcp?.connectTimeout ?? index.settings.connectTimeoutMs ?? defaults.connectTimeout,
    ),
    ...loadBalancing(policy, own.loadBalancer, foreign),
    // Unhealthy endpoints are never used, not even when no other is left.
    commonLbConfig: { healthyPanicThreshold: { value: policy.outlierDetection?.minHealthPercent ?? 0 } },
    circuitBreakers: circuitBreakers(policy, foreign),
    ...outliers(policy, servicePolicy?.spec, foreign),
    ...tls,
    ...(foreign ? {} : { healthChecks: healthChecks(servicePolicy?.spec), ...forInmesh(index, host, policy) }),
  })
  const secure = !foreign && Object.keys(tls).length > 0
  return {
    resource,
    references: [
      { typeUrl: TypeUrl.endpoints, name },
      ...(secure ? [{ typeUrl: TypeUrl.secret, name: TRUST_BUNDLE_SECRET }] : []),
    ],
  }
}

/** Stands for "the address that the caller named". */
export function passthroughCluster(): Built {
  const resource = encode(TypeUrl.cluster, PASSTHROUGH_CLUSTER, ClusterSchema, {
    name: PASSTHROUGH_CLUSTER,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST },
    connectTimeout: duration(10_000),
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
  })
  return { resource, references: [] }
}

/** C-core and grpc-js-xds refuse LEAST_REQUEST, all of gRPC refuses RANDOM: they get the default. */
function loadBalancing({ loadBalancer }: PolicyBlocks, ofService: ServicePolicySpec['loadBalancer'], foreign: boolean) {
  const chosen = loadBalancer === undefined || loadBalancer.simple === 'UNSPECIFIED' ? ofService : loadBalancer.simple
  const simple = foreign ? 'ROUND_ROBIN' : chosen
  if (simple === 'RANDOM') return { lbPolicy: Cluster_LbPolicy.RANDOM }
  if (simple === 'LEAST_REQUEST' || simple === 'LEAST_CONN')
    return {
      lbPolicy: Cluster_LbPolicy.LEAST_REQUEST,
      lbConfig: { case: 'leastRequestLbConfig' as const, value: { choiceCount: 2 } },
    }
  return { lbPolicy: Cluster_LbPolicy.ROUND_ROBIN }
}

/** Istio's defaults: no limits. What is not sent would be Envoy's 1024 and 3. 0 = unset. */
function circuitBreakers(
  { connectionPool, retryBudget }: PolicyBlocks,
  foreign: boolean,
): MessageInitShape<typeof CircuitBreakersSchema> {
  const maxRequests = connectionPool?.http?.http2MaxRequests || unlimited
  if (foreign) return { thresholds: [{ maxRequests }] }
  return {
    thresholds: [
      {
        maxConnections: connectionPool?.tcp?.maxConnections || unlimited,
        maxPendingRequests: connectionPool?.http?.http1MaxPendingRequests || unlimited,
        maxRequests,
        maxRetries: connectionPool?.http?.maxRetries || unlimited,
        ...(retryBudget === undefined
          ? {}
          : {
              retryBudget: {
                budgetPercent: { value: retryBudget.percent },
                minRetryConcurrency: retryBudget.minRetryConcurrency,
              },
            }),
      },
    ],
  }
}

/** A DestinationRule's outlier detection comes before the breaker per host of a ServicePolicy. */
function outliers({ outlierDetection: asked }: PolicyBlocks, policy: ServicePolicySpec | undefined, foreign: boolean) {
  if (asked !== undefined) return { outlierDetection: outlierDetection(asked) }
  if (policy?.breakerScope !== 'host' || foreign) return {}
  const off = { consecutive5xxErrors: 0, consecutiveGatewayErrors: 0, interval: 1, baseEjectionTime: 1 }
  const base = outlierDetection({ ...off, maxEjectionPercent: 100, minHealthPercent: 0 })
  return { outlierDetection: { ...base, ...hostBreaker(policy) } }
}

/**
 * Every field is written out: grpc-js-xds ends its process over fields that are not there. Statistical detection is
 * off, as in Istio.
 */
function outlierDetection(
  outlier: NonNullable<PolicyBlocks['outlierDetection']>,
): MessageInitShape<typeof OutlierDetectionSchema> {
  const { consecutive5xxErrors, consecutiveGatewayErrors, baseEjectionTime } = outlier
  return {
    consecutive5xx: consecutive5xxErrors,
    enforcingConsecutive5xx: consecutive5xxErrors > 0 ? 100 : 0,
    consecutiveGatewayFailure: consecutiveGatewayErrors,
    enforcingConsecutiveGatewayFailure: consecutiveGatewayErrors > 0 ? 100 : 0,
    interval: duration(outlier.interval),
    baseEjectionTime: duration(baseEjectionTime),
    maxEjectionTime: duration(Math.max(300_000, baseEjectionTime)),
    maxEjectionPercent: outlier.maxEjectionPercent || 10,
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

/**
 * No `tls` in the rules: mutual TLS to endpoints that speak it. gRPC cannot choose per endpoint, and not every client
 * has certificates, so it gets TLS only where a rule says ISTIO_MUTUAL, as from istiod.
 */
function transport(index: MeshIndex, host: string, subset: string, { tls }: PolicyBlocks, client: ClientView) {
  const { clientClass } = client
  const auto = index.settings.autoMtls && !isForeign(clientClass)
  if (tls?.mode === 'DISABLE' || (tls === undefined && !auto)) return {}
  const ids = selectedEndpoints(index, host, subset, client).map((endpoint) => endpoint.spiffeId)
  const secure = upstreamTls(clientClass, [...new Set(ids)].filter((id) => id !== '').sort(compareText))
  if (tls?.mode === 'ISTIO_MUTUAL') return { transportSocket: secure }
  return {
    transportSocketMatches: [
      { name: 'tlsMode-istio', match: struct({ tlsMode: 'istio' }), transportSocket: secure },
      { name: 'tlsMode-disabled', match: {}, transportSocket: plaintext() },
    ],
  }
}

const httpOptionsKey = `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`

/** What only our data plane reads. */
function forInmesh(index: MeshIndex, host: string, policy: PolicyBlocks) {
  const { http, tcp } = policy.connectionPool ?? {}
  const http2 = index.servicePolicy(host)?.spec.http2 ?? index.settings.h2Upgrade
  const options = pack(HttpProtocolOptionsSchema, {
    commonHttpProtocolOptions: {
      idleTimeout: duration(http?.idleTimeout ?? tcp?.idleTimeout ?? defaults.idleTimeout),
      ...(http?.maxRequestsPerConnection ? { maxRequestsPerConnection: http.maxRequestsPerConnection } : {}),
    },
    upstreamProtocolOptions: {
      case: 'explicitHttpConfig',
      value: {
        protocolConfig: http2
          ? { case: 'http2ProtocolOptions', value: {} }
          : { case: 'httpProtocolOptions', value: {} },
      },
    },
  })
  return {
    typedExtensionProtocolOptions: { [httpOptionsKey]: options },
    metadata: { typedFilterMetadata: { [MetadataKey.cluster]: clusterPolicy(index, host, policy) } },
  }
}

function clusterPolicy(index: MeshIndex, host: string, { loadBalancer }: PolicyBlocks) {
  const rule = index.servicePolicy(host)
  const spec = rule?.spec
  const chosen = loadBalancer !== undefined && loadBalancer.simple !== 'UNSPECIFIED'
  const { breakerScope = 'service', retryBudgetPercent = 20 } = spec ?? {}
  const says = (part: keyof ServicePolicySpec) => spec?.[part] !== undefined
  const decided = {
    ...(says('loadBalancer') && !chosen ? { loadBalancer: rule!.name } : {}),
    ...(says('healthCheck') ? { healthCheck: rule!.name } : {}),
    ...(says('http2') ? { protocol: rule!.name } : {}),
    ...(says('retryBudgetPercent') ? { retryBudget: rule!.name } : {}),
    ...(says('cbThreshold') || says('breakerScope') ? { breaker: rule!.name } : {}),
  }
  return pack(ClusterPolicySchema, {
    ...(breakerScope === 'service' ? { errorRateBreaker: errorRateBreaker(spec) } : {}),
    ...(spec?.loadBalancer === 'PEAK_EWMA' && !chosen ? { peakEwma: {} } : {}),
    retryBudget: {
      percent: retryBudgetPercent,
      window: duration(10_000),
      floorPerSecond: retryFloor(index.instances),
    },
    decidedBy: sorted(decided),
  })
}

/**
 * Retries per second that each process may always make: 10 for all of them together, but at least one in 10 s. In steps
 * of four, so that a process more or less seldom changes every cluster.
 */
export function retryFloor(instances: number): number {
  const processes = 4 ** Math.ceil(Math.log2(Math.max(1, instances)) / 2)
  return Math.max(0.1, 10 / processes)
}
