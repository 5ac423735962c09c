import {
  type Cluster,
  Cluster_CommonLbConfigSchema,
  ClusterSchema,
  Cluster_DiscoveryType as DiscoveryType,
} from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { HttpProtocolOptionsSchema as CommonOptionsSchema } from '../../gen/envoy/config/core/v3/protocol_pb.js'
import { HttpProtocolOptionsSchema } from '../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { ClusterPolicySchema, type RetryBudget } from '../../gen/inmesh/v1/extensions_pb.js'
import { type ClusterSpec, clusterDefaults, type RetryBudgetSpec } from '../../model/cluster.ts'
import { MetadataKey, TypeUrl } from '../proto.ts'
import { typeUrlOf, unpack } from './any.ts'
import { requireAds } from './config-source.ts'
import { limitMs, positiveMs } from './duration.ts'
import { errorRateBreaker } from './error-rate-breaker.ts'
import { type Field, names } from './field.ts'
import { limits, retryBudget } from './limits.ts'
import { lbSpec } from './load-balancing.ts'
import { typedMetadata } from './metadata.ts'
import { outlierSpec } from './outlier.ts'
import { percent } from './percent.ts'
import { resourceType } from './resource-type.ts'
import { clusterTls } from './transport-socket.ts'

/** A cluster without its endpoints: what CDS alone says. */
export interface ClusterResource {
  readonly spec: Omit<ClusterSpec, 'endpoints'>
  /** Name of the EDS resource; null = the cluster has none (passthrough). */
  readonly edsName: string | null
}

/** CDS. Types other than EDS and ORIGINAL_DST are refused, as in gRPC (A27). */
export const clusterType = resourceType({
  typeUrl: TypeUrl.cluster,
  label: 'Cluster',
  fullState: true,
  schema: ClusterSchema,
  nameOf: (m) => m.name,
  convert: clusterResource,
})

const fields = names(`name alt_stat_name type cluster_type eds_cluster_config connect_timeout lb_policy
  load_balancing_policy least_request_lb_config common_lb_config circuit_breakers outlier_detection
  max_requests_per_connection common_http_protocol_options typed_extension_protocol_options transport_socket
  transport_socket_matches metadata track_cluster_stats wait_for_warm_on_init cleanup_interval
  per_connection_buffer_limit_bytes`)

function clusterResource(message: Cluster, field: Field): ClusterResource {
  field.onlyReads(ClusterSchema, message, fields)
  const policy = typedMetadata(field.at('metadata'), message.metadata, MetadataKey.cluster, ClusterPolicySchema)
  const policyAt = field.at('metadata.typed_filter_metadata').index(MetadataKey.cluster)
  const passthrough = isPassthrough(field, message)
  const http = httpOptions(field, message)
  const common = field.at('common_lb_config')
  if (message.commonLbConfig !== undefined)
    common.onlyReads(Cluster_CommonLbConfigSchema, message.commonLbConfig, lbConfigFields)
  return {
    edsName: passthrough ? null : edsName(field.at('eds_cluster_config'), message),
    spec: {
      ...clusterDefaults,
      name: message.name,
      kind: passthrough ? 'passthrough' : 'eds',
      lb: passthrough ? { policy: 'ROUND_ROBIN' } : lbSpec(field, message),
      connectTimeoutMs: positiveMs(field.at('connect_timeout'), message.connectTimeout, 5_000),
      idleTimeoutMs: http.idleTimeoutMs,
      limits: {
        ...limits(field.at('circuit_breakers'), message.circuitBreakers),
        maxRequestsPerConnection: http.maxRequestsPerConnection,
      },
      outlier: outlierSpec(field.at('outlier_detection'), message.outlierDetection),
      breaker:
        policy?.errorRateBreaker === undefined
          ? null
          : errorRateBreaker(policyAt.at('error_rate_breaker'), policy.errorRateBreaker),
      // A DestinationRule's budget (Envoy's field) comes before inmesh's own.
      retryBudget:
        retryBudget(field.at('circuit_breakers'), message.circuitBreakers) ??
        (policy?.retryBudget === undefined ? null : windowBudget(policyAt.at('retry_budget'), policy.retryBudget)),
      tls: clusterTls(field, message),
      // gRPC has no panic mode and Istio switches it off; so absent is 0, not Envoy's 50.
      panicThresholdPercent: percent(
        common.at('healthy_panic_threshold'),
        message.commonLbConfig?.healthyPanicThreshold?.value ?? 0,
      ),
    },
  }
}

const lbConfigFields = names('healthy_panic_threshold update_merge_window ignore_new_hosts_until_first_hc')

function isPassthrough(field: Field, message: Cluster): boolean {
  const discovery = message.clusterDiscoveryType
  if (discovery.case === 'clusterType') field.at('cluster_type').fail(`"${discovery.value.name}" is not supported`)
  // Absent is STATIC, the enum's zero.
  const type = discovery.case === 'type' ? discovery.value : DiscoveryType.STATIC
  if (type !== DiscoveryType.EDS && type !== DiscoveryType.ORIGINAL_DST)
    field.at('type').fail(`${DiscoveryType[type] ?? type} is not supported, expected EDS or ORIGINAL_DST`)
  return type === DiscoveryType.ORIGINAL_DST
}

function edsName(field: Field, message: Cluster): string {
  requireAds(field.at('eds_config'), message.edsClusterConfig?.edsConfig)
  return message.edsClusterConfig?.serviceName || message.name
}

const HTTP_OPTIONS = typeUrlOf(HttpProtocolOptionsSchema).slice('type.googleapis.com/'.length)

/** Idle time (1 h when absent, as Envoy) and requests per connection, from where they are now or where they were. */
function httpOptions(field: Field, message: Cluster): { idleTimeoutMs: number; maxRequestsPerConnection: number } {
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
  }
}

// The data plane speaks the protocol of the call, HTTP/1.1 or gRPC, so the protocol choice decides nothing.
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
