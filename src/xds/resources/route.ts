import {
  type DirectResponseAction,
  type RetryPolicy,
  type Route,
  RouteAction_MaxStreamDurationSchema,
  RouteActionSchema,
  RouteSchema,
  VirtualHostSchema,
  WeightedCluster_ClusterWeightSchema,
  WeightedClusterSchema,
  type RouteAction as WireRouteAction,
  type VirtualHost as WireVirtualHost,
  type WeightedCluster as WireWeightedCluster,
} from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../gen/envoy/config/route/v3/route_pb.js'
import { RoutePolicySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import {
  type RouteAction,
  type RouteSpec,
  type RouteTable,
  routeDefaults,
  type VirtualHost,
  type WeightedCluster,
} from '../../model/route.ts'
import { MetadataKey, TypeUrl } from '../proto.ts'
import { snake } from './config-source.ts'
import { inlineText } from './data-source.ts'
import { domains } from './domains.ts'
import { limitMs } from './duration.ts'
import { type Field, names } from './field.ts'
import { typedMetadata } from './metadata.ts'
import { resourceType } from './resource-type.ts'
import { retrySpec } from './retry.ts'
import { routeMatch } from './route-match.ts'

/** RDS, and the route_config inside a listener. */
export const routeType = resourceType({
  typeUrl: TypeUrl.route,
  label: 'RouteConfiguration',
  fullState: false,
  schema: RouteConfigurationSchema,
  nameOf: (m) => m.name,
  convert: routeTable,
})

const tableFields = names('name virtual_hosts validate_clusters max_direct_response_body_size_bytes metadata')

export function routeTable(message: RouteConfiguration, field: Field): RouteTable {
  field.onlyReads(RouteConfigurationSchema, message, tableFields)
  const taken = new Set<string>()
  return {
    name: message.name,
    virtualHosts: field.at('virtual_hosts').map(message.virtualHosts, (v, at) => virtualHost(at, v, taken)),
  }
}

const hostFields = names('name domains routes retry_policy metadata')

function virtualHost(field: Field, host: WireVirtualHost, taken: Set<string>): VirtualHost {
  field.onlyReads(VirtualHostSchema, host, hostFields)
  return {
    name: host.name,
    domains: domains(field.at('domains'), host.domains, taken),
    routes: field.at('routes').map(host.routes, (r, at) => route(at, r, host.retryPolicy)),
  }
}

// metadata: filter_metadata is for others; decorator and tracing name spans, which is telemetry's own business.
const routeFields =
  names(`name match route direct_response non_forwarding_action redirect filter_action metadata decorator
  stat_prefix`)

function route(field: Field, message: Route, hostRetry: RetryPolicy | undefined): RouteSpec {
  field.onlyReads(RouteSchema, message, routeFields)
  const ours = typedMetadata(field.at('metadata'), message.metadata, MetadataKey.route, RoutePolicySchema)
  const decidedBy: Record<string, string> = { ...ours?.decidedBy }
  if (ours !== undefined && ours.notes.length > 0) decidedBy.note = ours.notes.join('; ')
  const common = {
    name: message.name === '' ? 'default' : message.name,
    match: routeMatch(field.at('match'), message.match),
    timeoutUntilHeaders: ours?.timeoutUntilHeaders ?? false,
    decidedBy,
    ...routeDefaults,
  }
  const local = (action: RouteAction): RouteSpec => ({
    ...common,
    action,
    timeoutMs: Number.POSITIVE_INFINITY,
    retry: null,
  })
  switch (message.action.case) {
    case 'route': {
      const at = field.at('route')
      const wire = message.action.value
      at.onlyReads(RouteActionSchema, wire, actionFields)
      // gRFC A44: the route's policy replaces the virtual host's.
      const policy = wire.retryPolicy ?? hostRetry
      return {
        ...common,
        action: forward(at, wire),
        timeoutMs: timeoutMs(at, wire),
        retry:
          policy === undefined ? null : retrySpec(at.at('retry_policy'), policy, ours?.retryNonIdempotent ?? false),
      }
    }
    case 'directResponse':
      return local(direct(field.at('direct_response'), message.action.value))
    case 'nonForwardingAction':
      // gRFC A36: an action for servers makes calls that match it fail; it does not refuse the resource.
      field.at('non_forwarding_action').warn('is for servers; calls that match it are answered with 503')
      return local({ kind: 'direct', status: 503, body: '' })
    case undefined:
      return field.fail('needs an action')
    default:
      return field.at(snake(message.action.case)).fail('not supported')
  }
}

// Upgrades are always let through; cluster, host and weights decide nothing of max_grpc_timeout's successor.
const actionFields = names(`cluster weighted_clusters cluster_header cluster_specifier_plugin
  inline_cluster_specifier_plugin timeout retry_policy max_stream_duration max_grpc_timeout upgrade_configs`)

function forward(field: Field, action: WireRouteAction): RouteAction {
  const specifier = action.clusterSpecifier
  switch (specifier.case) {
    case 'cluster':
      if (specifier.value === '') field.at('cluster').fail('must not be empty')
      return { kind: 'forward', clusters: [{ name: specifier.value, weight: 1 }] }
    case 'weightedClusters':
      return { kind: 'forward', clusters: weighted(field.at('weighted_clusters'), specifier.value) }
    case undefined:
      return field.fail('needs cluster or weighted_clusters')
    default:
      return field.at(snake(specifier.case)).fail('not supported')
  }
}

const weightFields = names('name cluster_header weight')

/** Weights sum to 1..2^32-1 (gRFC A28); clusters of weight 0 are never chosen and so left out. */
function weighted(field: Field, message: WireWeightedCluster): WeightedCluster[] {
  field.onlyReads(WeightedClusterSchema, message, names('clusters total_weight runtime_key_prefix'))
  const all = field.at('clusters').map(message.clusters, (cluster, at) => {
    at.onlyReads(WeightedCluster_ClusterWeightSchema, cluster, weightFields)
    if (cluster.clusterHeader !== '') at.at('cluster_header').fail('not supported')
    if (cluster.name === '') at.at('name').fail('must not be empty')
    return { name: cluster.name, weight: cluster.weight ?? 0 }
  })
  const sum = all.reduce((total, c) => total + c.weight, 0)
  if (sum < 1 || sum > 0xffff_ffff) field.at('clusters').fail(`the weights sum to ${sum}, expected 1 to 4294967295`)
  return all.filter((c) => c.weight > 0)
}

/**
 * The tighter of `timeout` (Envoy, HTTP) and `max_stream_duration` (gRFC A31; grpc_timeout_header_max comes before
 * max_stream_duration): istiod sends both for one VirtualService timeout. 0 is "none" in each. Envoy's 15 s for an
 * absent timeout is not taken over: no gRPC client knows it, and Istio switches it off everywhere.
 */
function timeoutMs(field: Field, action: WireRouteAction): number {
  const timeout = limitMs(field.at('timeout'), action.timeout)
  const duration = action.maxStreamDuration
  if (duration === undefined) return timeout
  const at = field.at('max_stream_duration')
  at.onlyReads(RouteAction_MaxStreamDurationSchema, duration, names('max_stream_duration grpc_timeout_header_max'))
  const name = duration.grpcTimeoutHeaderMax !== undefined ? 'grpc_timeout_header_max' : 'max_stream_duration'
  return Math.min(timeout, limitMs(at.at(name), duration.grpcTimeoutHeaderMax ?? duration.maxStreamDuration))
}

function direct(field: Field, response: DirectResponseAction): RouteAction {
  const { status } = response
  if (status < 200 || status > 599) field.at('status').fail(`must be between 200 and 599, is ${status}`)
  return { kind: 'direct', status, body: inlineText(field.at('body'), response.body) }
}
