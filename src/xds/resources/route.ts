import {
  RouteAction_ClusterNotFoundResponseCode as ClusterNotFound,
  type DirectResponseAction,
  type HedgePolicy,
  type RetryPolicy,
  type Route,
  RouteAction_MaxStreamDurationSchema,
  RouteActionSchema,
  RouteSchema,
  VirtualHostSchema,
  WeightedCluster_ClusterWeightSchema,
  WeightedClusterSchema,
  type RouteAction_RequestMirrorPolicy as WireMirror,
  type RouteAction as WireRouteAction,
  type VirtualHost as WireVirtualHost,
  type WeightedCluster as WireWeightedCluster,
} from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../gen/envoy/config/route/v3/route_pb.js'
import { type RoutePolicy, RoutePolicySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import {
  type HeaderEdits,
  type Priority,
  priorities,
  type RouteAction,
  type RouteSpec,
  type RouteTable,
  routeDefaults,
  type VirtualHost,
  type WeightedCluster,
} from '../../model/route.ts'
import { MetadataKey, TypeUrl } from '../proto.ts'
import { snake } from './config-source.ts'
import { routeCorsSpec } from './cors.ts'
import { inlineText } from './data-source.ts'
import { domains } from './domains.ts'
import { durationMs, limitMs } from './duration.ts'
import { errorRateBreaker } from './error-rate-breaker.ts'
import { type Field, names } from './field.ts'
import { editFields, headerEdits, joinEdits } from './header-edits.ts'
import { hedgeSpec } from './hedge.ts'
import { typedMetadata } from './metadata.ts'
import { type FilterOverrides, filterOverrides, joinOverrides } from './per-filter-config.ts'
import { resourceType } from './resource-type.ts'
import { retrySpec } from './retry.ts'
import { hashPolicies } from './route-hash.ts'
import { routeMatch } from './route-match.ts'
import { mirrors } from './route-mirror.ts'
import { redirect, rewrite } from './route-rewrite.ts'

/** RDS, and the route_config inside a listener. */
export const routeType = resourceType({
  typeUrl: TypeUrl.route,
  label: 'RouteConfiguration',
  fullState: false,
  schema: RouteConfigurationSchema,
  nameOf: (m) => m.name,
  convert: routeTable,
})

const tableFields = names(`name virtual_hosts validate_clusters max_direct_response_body_size_bytes metadata
  most_specific_header_mutations_wins request_mirror_policies typed_per_filter_config ${editFields}`)

export function routeTable(message: RouteConfiguration, field: Field): RouteTable {
  field.onlyReads(RouteConfigurationSchema, message, tableFields)
  const taken = new Set<string>()
  const level: Level = {
    edits: [headerEdits(field, message)],
    overrides: filterOverrides(field, message.typedPerFilterConfig),
    mirrors: { at: field.at('request_mirror_policies'), policies: message.requestMirrorPolicies },
    mostSpecificLast: message.mostSpecificHeaderMutationsWins,
  }
  return {
    name: message.name,
    virtualHosts: field.at('virtual_hosts').map(message.virtualHosts, (v, at) => virtualHost(at, v, taken, level)),
  }
}

/** What routes inherit of the table and of their virtual host. */
interface Level {
  /** Most specific first. */
  readonly edits: readonly HeaderEdits[]
  readonly overrides: FilterOverrides
  readonly mirrors: { readonly at: Field; readonly policies: readonly WireMirror[] }
  readonly mostSpecificLast: boolean
  readonly retry?: RetryPolicy | undefined
  readonly hedge?: HedgePolicy | undefined
}

// include_request_attempt_count: the data plane always tells its servers how often it tried.
const hostFields = names(`name domains routes retry_policy hedge_policy metadata typed_per_filter_config cors
  request_mirror_policies include_request_attempt_count ${editFields}`)

function virtualHost(field: Field, host: WireVirtualHost, taken: Set<string>, table: Level): VirtualHost {
  field.onlyReads(VirtualHostSchema, host, hostFields)
  const cors = host.cors === undefined ? {} : { cors: routeCorsSpec(field.at('cors'), host.cors) }
  const level: Level = {
    ...table,
    edits: [headerEdits(field, host), ...table.edits],
    overrides: joinOverrides({ ...table.overrides, ...cors }, filterOverrides(field, host.typedPerFilterConfig)),
    mirrors:
      host.requestMirrorPolicies.length === 0
        ? table.mirrors
        : { at: field.at('request_mirror_policies'), policies: host.requestMirrorPolicies },
    retry: host.retryPolicy,
    hedge: host.hedgePolicy,
  }
  return {
    name: host.name,
    domains: domains(field.at('domains'), host.domains, taken),
    routes: field
      .at('routes')
      .map(host.routes, (r, at) => (isBeyondUs(at, r) ? null : route(at, r, level)))
      .filter((r) => r !== null),
  }
}

/** gRFC A28: a route to a cluster that is chosen in a way that is not known is left out; the next that matches decides. */
function isBeyondUs(field: Field, { action }: Route): boolean {
  if (field.dialect.providers === null || action.case !== 'route') return false
  const { case: specifier } = action.value.clusterSpecifier
  if (specifier === undefined || specifier === 'cluster' || specifier === 'weightedClusters') return false
  field.at('route').at(snake(specifier)).warn('not supported, the route is left out')
  return true
}

// metadata: filter_metadata is for others; decorator and tracing name spans, which is telemetry's own business.
const routeFields =
  names(`name match route direct_response non_forwarding_action redirect filter_action metadata decorator
  stat_prefix typed_per_filter_config ${editFields}`)

function route(field: Field, message: Route, host: Level): RouteSpec {
  field.onlyReads(RouteSchema, message, routeFields)
  const ours = typedMetadata(field.at('metadata'), message.metadata, MetadataKey.route, RoutePolicySchema)
  const decidedBy: Record<string, string> = { ...ours?.decidedBy }
  if (ours !== undefined && ours.notes.length > 0) decidedBy.note = ours.notes.join('; ')
  const overrides = joinOverrides(host.overrides, filterOverrides(field, message.typedPerFilterConfig))
  const levels = [headerEdits(field, message), ...host.edits]
  if (host.mostSpecificLast) levels.reverse()
  const edits = joinEdits(...levels)
  const common = {
    ...routeDefaults,
    name: message.name === '' ? 'default' : message.name,
    match: routeMatch(field.at('match'), message.match),
    timeoutUntilHeaders: ours?.timeoutUntilHeaders ?? false,
    decidedBy,
    headers: edits,
    cors: overrides.cors ?? null,
    fault: overrides.fault ?? null,
    ...(overrides.rbac === undefined ? {} : { rbac: overrides.rbac }),
    ...(overrides.session === undefined ? {} : { session: overrides.session }),
  }
  const local = (action: RouteAction): RouteSpec => ({
    ...common,
    action,
    timeoutMs: Number.POSITIVE_INFINITY,
    retry: null,
  })
  switch (message.action.case) {
    case 'route':
      return { ...common, ...forwarding(field.at('route'), message.action.value, host, ours, common) }
    case 'directResponse':
      return local(direct(field.at('direct_response'), message.action.value))
    case 'redirect':
      return local({ kind: 'redirect', redirect: redirect(field.at('redirect'), message.action.value) })
    case 'nonForwardingAction':
      // gRFC A36: an action for servers makes calls that match it fail; it does not refuse the resource.
      // It is no mistake: servers and clients may share a table.
      if (field.dialect.providers === null)
        field.at('non_forwarding_action').warn('is for servers; calls that match it are answered with 503')
      return { ...local({ kind: 'direct', status: 503, body: '' }), served: true }
    case undefined:
      return field.fail('needs an action')
    default:
      return field.at(snake(message.action.case)).fail('not supported')
  }
}

// Upgrades are always let through; cluster, host and weights decide nothing of max_grpc_timeout's successor.
const actionFields = names(`cluster weighted_clusters cluster_header cluster_specifier_plugin
  inline_cluster_specifier_plugin cluster_not_found_response_code timeout idle_timeout retry_policy hedge_policy
  max_stream_duration max_grpc_timeout upgrade_configs prefix_rewrite regex_rewrite path_rewrite_policy
  host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex request_mirror_policies hash_policy
  cors`)

type Forwarding = Pick<
  RouteSpec,
  | 'action'
  | 'timeoutMs'
  | 'idleTimeoutMs'
  | 'retry'
  | 'hedge'
  | 'headers'
  | 'rewrite'
  | 'cors'
  | 'mirrors'
  | 'hash'
  | 'breaker'
  | 'coalesce'
  | 'priority'
  | 'timeUnsaid'
>

function forwarding(
  at: Field,
  wire: WireRouteAction,
  host: Level,
  ours: RoutePolicy | undefined,
  common: Pick<RouteSpec, 'cors' | 'headers'>,
): Forwarding {
  at.onlyReads(RouteActionSchema, wire, actionFields)
  // gRFC A44: the route's policy replaces the virtual host's.
  const policy = wire.retryPolicy ?? host.retry
  const ownMirrors = { at: at.at('request_mirror_policies'), policies: wire.requestMirrorPolicies }
  const mirrored = wire.requestMirrorPolicies.length === 0 ? host.mirrors : ownMirrors
  const retry =
    policy === undefined
      ? null
      : retrySpec(at.at('retry_policy'), policy, {
          nonIdempotent: ours?.retryNonIdempotent ?? false,
          maxReplayBytes: ours?.maxReplayBytes ?? 0,
          hashed: wire.hashPolicy.length > 0 || (ours?.retryPreviousHosts ?? false),
        })
  return {
    action: forward(at, wire, host.mostSpecificLast ? common.headers : null),
    // They act with the edits of each destination then, which come last.
    headers: host.mostSpecificLast ? null : common.headers,
    timeoutMs: timeoutMs(at, wire),
    ...(at.dialect.providers !== null && wire.timeout === undefined && saysNothing(wire.maxStreamDuration)
      ? { timeUnsaid: true as const }
      : {}),
    // 0 switches it off (Envoy).
    idleTimeoutMs:
      wire.idleTimeout === undefined
        ? null
        : durationMs(at.at('idle_timeout'), wire.idleTimeout, 0) || Number.POSITIVE_INFINITY,
    retry,
    hedge: hedgeSpec(at.at('hedge_policy'), wire.hedgePolicy ?? host.hedge, ours?.hedge, retry),
    rewrite: rewrite(at, wire),
    cors: wire.cors === undefined ? common.cors : routeCorsSpec(at.at('cors'), wire.cors),
    mirrors: mirrors(mirrored.at, mirrored.policies, ours),
    hash: hashPolicies(at.at('hash_policy'), wire.hashPolicy),
    breaker:
      ours?.errorRateBreaker === undefined
        ? null
        : errorRateBreaker(at.at('error_rate_breaker'), ours.errorRateBreaker),
    coalesce:
      ours?.coalesce === undefined
        ? null
        : {
            varyHeaders: ours.coalesce.varyHeaders.map((name) => name.toLowerCase()),
            maxBodyBytes: ours.coalesce.maxBodyBytes || 65_536,
          },
    priority: priorityOf(at.at('priority'), ours?.priority ?? ''),
  }
}

function priorityOf(field: Field, name: string): Priority | null {
  if (name === '') return null
  return priorities.find((priority) => priority === name) ?? field.fail(`"${name}" is none of ${priorities.join(', ')}`)
}

const notFound = {
  [ClusterNotFound.SERVICE_UNAVAILABLE]: 503,
  [ClusterNotFound.NOT_FOUND]: 404,
  [ClusterNotFound.INTERNAL_SERVER_ERROR]: 500,
} as const

/** @param before edits that come before those of a destination */
function forward(field: Field, action: WireRouteAction, before: HeaderEdits | null): RouteAction {
  const specifier = action.clusterSpecifier
  const clusterNotFoundStatus = notFound[action.clusterNotFoundResponseCode]
  if (clusterNotFoundStatus === undefined)
    field.at('cluster_not_found_response_code').fail(`${action.clusterNotFoundResponseCode} is not a known value`)
  const headers = before === null ? {} : { headers: before }
  const missing = clusterNotFoundStatus === 503 ? {} : { clusterNotFoundStatus }
  switch (specifier.case) {
    case 'cluster':
      if (specifier.value === '') field.at('cluster').fail('must not be empty')
      return { kind: 'forward', clusters: [{ name: specifier.value, weight: 1, ...headers }], ...missing }
    case 'weightedClusters': {
      const clusters = weighted(field.at('weighted_clusters'), specifier.value, before)
      return { kind: 'forward', clusters, ...missing }
    }
    case undefined:
      return field.fail('needs cluster or weighted_clusters')
    default:
      return field.at(snake(specifier.case)).fail('not supported')
  }
}

const weightFields = names(`name cluster_header weight host_rewrite_literal typed_per_filter_config ${editFields}`)

/** Weights sum to 1..2^32-1 (gRFC A28); clusters of weight 0 are never chosen and so left out. */
function weighted(field: Field, message: WireWeightedCluster, before: HeaderEdits | null): WeightedCluster[] {
  field.onlyReads(WeightedClusterSchema, message, names('clusters total_weight runtime_key_prefix'))
  const all = field.at('clusters').map(message.clusters, (cluster, at) => {
    at.onlyReads(WeightedCluster_ClusterWeightSchema, cluster, weightFields)
    if (cluster.clusterHeader !== '') at.at('cluster_header').fail('not supported')
    if (cluster.name === '') at.at('name').fail('must not be empty')
    const { fault, ...overrides } = filterOverrides(at, cluster.typedPerFilterConfig)
    if (Object.keys(overrides).length > 0)
      at.at('typed_per_filter_config').fail('for one destination only faults are supported')
    const headers = joinEdits(before, headerEdits(at, cluster))
    const authority = cluster.hostRewriteSpecifier.value ?? ''
    return {
      name: cluster.name,
      weight: cluster.weight ?? 0,
      ...(headers === null ? {} : { headers }),
      ...(authority === '' ? {} : { authority }),
      // gRFC A33: it comes before those of the route, the virtual host and the listener.
      ...(fault === undefined ? {} : { fault }),
    }
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

function saysNothing(duration: WireRouteAction['maxStreamDuration']): boolean {
  return duration?.grpcTimeoutHeaderMax === undefined && duration?.maxStreamDuration === undefined
}

function direct(field: Field, response: DirectResponseAction): RouteAction {
  const { status } = response
  if (status < 200 || status > 599) field.at('status').fail(`must be between 200 and 599, is ${status}`)
  return { kind: 'direct', status, body: inlineText(field.at('body'), response.body) }
}
