import { type Cluster, ClusterSchema } from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { HealthStatus as WireHealth } from '../../gen/envoy/config/core/v3/health_check_pb.js'
import { HttpProtocolOptionsSchema as CommonOptionsSchema } from '../../gen/envoy/config/core/v3/protocol_pb.js'
import {
  type HttpProtocolOptions,
  HttpProtocolOptionsSchema,
} from '../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { type ClusterPolicy, ClusterPolicySchema, type RetryBudget } from '../../gen/inmesh/v1/extensions_pb.js'
import {
  type ClusterSpec,
  clusterDefaults,
  type HealthStatus,
  type OutlierSpec,
  type RetryBudgetSpec,
} from '../../model/cluster.ts'
import { MetadataKey, TypeUrl } from '../proto.ts'
import { typeUrlOf, unpack } from './any.ts'
import { discovery } from './discovery.ts'
import { limitMs, positiveMs } from './duration.ts'
import type { EndpointsResource } from './endpoints.ts'
import { errorRateBreaker } from './error-rate-breaker.ts'
import { type Field, names } from './field.ts'
import { healthChecks } from './health-checks.ts'
import { limits, retryBudget } from './limits.ts'
import { balancing } from './load-balancing.ts'
import { loadReporting } from './load-reporting.ts'
import { typedMetadata } from './metadata.ts'
import { outlierSpec } from './outlier.ts'
import { ownBalancer } from './own-balancer.ts'
import { percent } from './percent.ts'
import { resourceType } from './resource-type.ts'
import { clusterTls } from './transport-socket.ts'

/** A cluster as CDS says it: without its endpoints where they come by EDS. */
export interface ClusterResource {
  readonly spec: Omit<ClusterSpec, 'endpoints'>
  /** Name of the EDS resource; null = the cluster needs none. */
  readonly edsName: string | null
  /** Endpoints that came with the cluster; null = by EDS, by DNS, or none at all. */
  readonly inline: EndpointsResource | null
  /** Clusters that an aggregate stands for, best first; empty = it is none (gRFC A37). */
  readonly children: readonly string[]
  /**
   * Localities count by their weights as soon as one has any, and one without gets nothing: so gRPC's clients, to which foreign
   * control planes talk, have it where the cluster says nothing.
   */
  readonly weighsLocalities: boolean
}

/** CDS. Types: EDS, STATIC, STRICT_DNS, LOGICAL_DNS, ORIGINAL_DST. */
export const clusterType = resourceType({
  typeUrl: TypeUrl.cluster,
  label: 'Cluster',
  fullState: true,
  schema: ClusterSchema,
  nameOf: (m) => m.name,
  convert: clusterResource,
})

const fields = names(`name alt_stat_name type cluster_type eds_cluster_config load_assignment connect_timeout lb_policy
  load_balancing_policy least_request_lb_config round_robin_lb_config ring_hash_lb_config maglev_lb_config
  common_lb_config circuit_breakers outlier_detection health_checks max_requests_per_connection
  common_http_protocol_options http_protocol_options http2_protocol_options typed_extension_protocol_options
  dns_refresh_rate dns_lookup_family dns_failure_refresh_rate
  transport_socket transport_socket_matches metadata track_cluster_stats wait_for_warm_on_init cleanup_interval
  per_connection_buffer_limit_bytes lrs_server lrs_report_endpoint_metrics`)

function clusterResource(message: Cluster, field: Field): ClusterResource {
  field.onlyReads(ClusterSchema, message, fields)
  const policy = typedMetadata(field.at('metadata'), message.metadata, MetadataKey.cluster, ClusterPolicySchema)
  const policyAt = field.at('metadata.typed_filter_metadata').index(MetadataKey.cluster)
  const { kind, edsName, dns, inline, children } = discovery(field, message)
  const http = httpOptions(field, message)
  const { lb, priorities, subset } =
    kind === 'passthrough'
      ? ({ lb: { policy: 'ROUND_ROBIN' }, priorities: clusterDefaults.priorities, subset: null } as const)
      : balancing(field, message)
  return {
    edsName,
    inline,
    children,
    weighsLocalities: field.dialect.providers !== null && priorities.locality === 'none',
    spec: {
      ...clusterDefaults,
      name: message.name,
      kind,
      dns,
      lb: policy === undefined ? lb : ownBalancer(policyAt, policy, lb),
      priorities,
      subset,
      connectTimeoutMs: positiveMs(field.at('connect_timeout'), message.connectTimeout, 5_000),
      idleTimeoutMs: http.idleTimeoutMs,
      limits: {
        ...limits(field.at('circuit_breakers'), message.circuitBreakers),
        maxRequestsPerConnection: http.maxRequestsPerConnection,
      },
      outlier: outlierSpec(
        field.at('outlier_detection'),
        message.outlierDetection,
        errorStatuses(policyAt.at('outlier_error_statuses'), policy),
      ),
      breaker:
        policy?.errorRateBreaker === undefined
          ? null
          : errorRateBreaker(policyAt.at('error_rate_breaker'), policy.errorRateBreaker),
      // A DestinationRule's budget (Envoy's field) comes before inmesh's own.
      retryBudget:
        retryBudget(field.at('circuit_breakers'), message.circuitBreakers) ??
        (policy?.retryBudget === undefined ? null : windowBudget(policyAt.at('retry_budget'), policy.retryBudget)),
      tls: clusterTls(field, message, http.protocol),
      // gRPC has no panic mode and Istio switches it off; so absent is 0, not Envoy's 50.
      panicThresholdPercent: percent(
        field.at('common_lb_config.healthy_panic_threshold'),
        message.commonLbConfig?.healthyPanicThreshold?.value ?? 0,
      ),
      healthChecks: healthChecks(field.at('health_checks'), message.healthChecks),
      sessionHosts: sessionHosts(message.commonLbConfig?.overrideHostStatus?.statuses),
      loadReporting: loadReporting(field, message, edsName),
      protocol: http.protocol,
      decidedBy: { ...policy?.decidedBy },
    },
  }
}

/** gRFC A55: UNKNOWN and HEALTHY when nothing is said; DEGRADED counts as healthy here, and an empty set means no sessions. */
function sessionHosts(statuses: readonly WireHealth[] | undefined): readonly HealthStatus[] {
  if (statuses === undefined) return clusterDefaults.sessionHosts
  const healthy = [WireHealth.UNKNOWN, WireHealth.HEALTHY, WireHealth.DEGRADED].some((status) =>
    statuses.includes(status),
  )
  return [
    ...(healthy ? (['HEALTHY'] as const) : []),
    ...(statuses.includes(WireHealth.DRAINING) ? (['DRAINING'] as const) : []),
  ]
}

function errorStatuses(field: Field, policy: ClusterPolicy | undefined): OutlierSpec['errorStatuses'] {
  const ranges = field.map(policy?.outlierErrorStatuses ?? [], ({ start, end }, at) => {
    if (!(start >= 100 && end <= 600 && start < end)) at.fail(`[${start}, ${end}) is not a range of statuses`)
    return { start, end }
  })
  return ranges.length === 0 ? null : ranges
}

const HTTP_OPTIONS = typeUrlOf(HttpProtocolOptionsSchema).slice('type.googleapis.com/'.length)

interface HttpOptions {
  readonly idleTimeoutMs: number
  readonly maxRequestsPerConnection: number
  readonly protocol: 'http1' | 'h2'
}

/**
 * Idle time (1 h when absent, as Envoy), requests per connection and the protocol, from where they are now or where
 * they were.
 */
function httpOptions(field: Field, message: Cluster): HttpOptions {
  const extensions = field.at('typed_extension_protocol_options')
  for (const key of Object.keys(message.typedExtensionProtocolOptions))
    if (key !== HTTP_OPTIONS) extensions.index(key).warn('not supported, has no effect')
  const any = message.typedExtensionProtocolOptions[HTTP_OPTIONS]
  const at = extensions.index(HTTP_OPTIONS)
  const wire = any === undefined ? undefined : unpack(at, any, HttpProtocolOptionsSchema)
  if (wire !== undefined) at.onlyReads(HttpProtocolOptionsSchema, wire, httpFields)
  const options = wire?.commonHttpProtocolOptions ?? message.commonHttpProtocolOptions
  const optionsAt = wire?.commonHttpProtocolOptions === undefined ? field : at
  const common = optionsAt.at('common_http_protocol_options')
  if (options !== undefined)
    common.onlyReads(CommonOptionsSchema, options, names('idle_timeout max_requests_per_connection'))
  const perConnection = options?.maxRequestsPerConnection ?? message.maxRequestsPerConnection ?? 0
  return {
    idleTimeoutMs:
      options?.idleTimeout === undefined ? 3_600_000 : limitMs(common.at('idle_timeout'), options.idleTimeout),
    maxRequestsPerConnection: perConnection === 0 ? Number.POSITIVE_INFINITY : perConnection,
    protocol: protocol(at, wire, message),
  }
}

/** HTTP/2 where it is asked for explicitly, or negotiated (auto_config); else HTTP/1.1. */
function protocol(field: Field, wire: HttpProtocolOptions | undefined, message: Cluster): 'http1' | 'h2' {
  const chosen = wire?.upstreamProtocolOptions
  if (chosen === undefined || chosen.case === undefined)
    return message.http2ProtocolOptions === undefined ? 'http1' : 'h2'
  if (chosen.case === 'autoConfig') return 'h2'
  // The protocol of the call that comes in is the one of the call that goes out: here nothing comes in.
  if (chosen.case === 'useDownstreamProtocolConfig')
    return chosen.value.http2ProtocolOptions === undefined ? 'http1' : 'h2'
  const explicit = chosen.value.protocolConfig.case
  if (explicit === 'http3ProtocolOptions') field.at('explicit_http_config.http3_protocol_options').fail('not supported')
  return explicit === 'http2ProtocolOptions' ? 'h2' : 'http1'
}

const httpFields = names(`common_http_protocol_options explicit_http_config use_downstream_protocol_config auto_config
  upstream_http_protocol_options`)

function windowBudget(field: Field, message: RetryBudget): RetryBudgetSpec {
  const { floorPerSecond } = message
  if (!(floorPerSecond >= 0 && Number.isFinite(floorPerSecond)))
    field.at('floor_per_second').fail(`must not be negative, is ${floorPerSecond}`)
  return {
    kind: 'window',
    percent: percent(field.at('percent'), message.percent),
    windowMs: positiveMs(field.at('window'), message.window, 10_000),
    floorPerSecond,
  }
}
