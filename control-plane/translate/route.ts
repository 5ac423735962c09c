import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import type {
  QueryParameterMatcherSchema,
  RouteActionSchema,
  RouteSchema,
} from '../../src/gen/envoy/config/route/v3/route_components_pb.js'
import { RouteConfigurationSchema } from '../../src/gen/envoy/config/route/v3/route_pb.js'
import { PreviousHostsPredicateSchema } from '../../src/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.js'
import { PreviousPrioritiesConfigSchema } from '../../src/gen/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js'
import { FractionalPercent_DenominatorType } from '../../src/gen/envoy/type/v3/percent_pb.js'
import { RoutePolicySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { clusterName, MetadataKey, PASSTHROUGH_CLUSTER, TypeUrl } from '../../src/xds/proto.ts'
import { quoteRegex, wholeRegex } from '../resources/patterns.ts'
import { headerAlternatives, isForeign, retryFor, streamDurationMs } from './class.ts'
import { type Built, duration, encode, type Fields, pack, sorted } from './encode.ts'
import { headerMatcher, stringMatcher } from './matchers.ts'
import type { MeshIndex } from './mesh-index.ts'
import { actionFields, answer, editLists, filterConfigs } from './route-actions.ts'
import {
  type MatchPlan,
  noActions,
  type PlannedActions,
  type PlannedCluster,
  type RetryPlan,
  type RoutePlan,
} from './route-plan.ts'
import { planRoutes } from './routing.ts'
import { compareText } from './rule.ts'
import { sessionConfig } from './sticky-session.ts'
import type { ClientClass, ClientView } from './types.ts'

type RouteInit = Fields<typeof RouteSchema>

/** RDS names of Istio's two answers to hosts that nobody knows. */
export const ALLOW_ANY = 'allow_any'
export const BLOCK_ALL = 'block_all'

/** RDS: one virtual host for whatever name the client dialled, since the listener has chosen the service already. */
export function routeConfiguration(index: MeshIndex, host: string, port: number, client: ClientView): Built {
  const plans = planRoutes(index, host, port, client)
  const routes = plans.flatMap((plan) => routesOf(plan, client.clientClass))
  const clusters = new Set(
    plans.flatMap((plan) => [
      ...plan.clusters.map((cluster) => cluster.name),
      ...(isForeign(client.clientClass) ? [] : plan.actions.mirrors.map((mirror) => mirror.cluster)),
    ]),
  )
  const references = [...clusters].sort(compareText).map((cluster) => ({ typeUrl: TypeUrl.cluster, name: cluster }))
  return build(clusterName(port, '', host), `${host}:${port}`, routes, references)
}

/** Dials what the caller named, with no timeout and no retries. */
export function allowAny(): Built {
  const route: RouteInit = {
    name: ALLOW_ANY,
    match: { pathSpecifier: { case: 'prefix', value: '/' } },
    action: {
      case: 'route',
      value: { clusterSpecifier: { case: 'cluster', value: PASSTHROUGH_CLUSTER }, timeout: duration(0) },
    },
  }
  return build(ALLOW_ANY, ALLOW_ANY, [route], [{ typeUrl: TypeUrl.cluster, name: PASSTHROUGH_CLUSTER }])
}

/** REGISTRY_ONLY: 502, as Istio's. */
export function blockAll(): Built {
  const route: RouteInit = {
    name: BLOCK_ALL,
    match: { pathSpecifier: { case: 'prefix', value: '/' } },
    action: { case: 'directResponse', value: { status: 502 } },
  }
  return build(BLOCK_ALL, BLOCK_ALL, [route], [])
}

function build(name: string, hostName: string, routes: RouteInit[], references: Built['references']): Built {
  const virtualHosts = [{ name: hostName, domains: ['*'], routes }]
  return { resource: encode(TypeUrl.route, name, RouteConfigurationSchema, { name, virtualHosts }), references }
}

/** One route, or several where a client cannot say the conditions in one, or none if it can never fulfil them. */
function routesOf(plan: RoutePlan, clientClass: ClientClass): RouteInit[] {
  return headerAlternatives(clientClass, plan.match).map((conditions) => ({
    name: plan.name,
    match: {
      ...pathMatch(plan.match, clientClass),
      ...fraction(plan.match),
      headers: conditions.map(headerMatcher),
      queryParameters: queryMatchers(plan.match),
    },
    ...routeActions(plan, clientClass),
  }))
}

/** gRPC can neither redirect nor answer: such calls fail there. It knows faults, and of hashes those of headers. */
function routeActions(plan: RoutePlan, clientClass: ClientClass): RouteInit {
  const { actions } = plan
  if (isForeign(clientClass)) {
    if (plan.answer !== null) return { action: { case: 'nonForwardingAction', value: {} } }
    const hash = actions.hash.filter(({ kind }) => kind === 'header')
    return {
      action: { case: 'route', value: action(plan, clientClass, { ...noActions, hash }) },
      typedPerFilterConfig: filterConfigs({ fault: actions.fault, cors: null }),
    }
  }
  return {
    action: plan.answer === null ? { case: 'route', value: action(plan, clientClass, actions) } : answer(plan.answer),
    typedPerFilterConfig: { ...filterConfigs(actions), ...sessionConfig(plan.extras.stickySession) },
    ...editLists(actions.headers),
    metadata: metadata(plan),
  }
}

function fraction({ fractionPerMillion: numerator }: MatchPlan) {
  if (numerator === undefined) return {}
  return { runtimeFraction: { defaultValue: { numerator, denominator: FractionalPercent_DenominatorType.MILLION } } }
}

/** gRPC has no word for whole segments (gRFC A28). */
function pathMatch({ uri, ignoreUriCase }: MatchPlan, clientClass: ClientClass) {
  if (uri?.kind === 'segments' && isForeign(clientClass))
    return { pathSpecifier: { case: 'safeRegex' as const, value: { regex: `${quoteRegex(uri.value)}(?:/.*)?` } } }
  if (uri?.kind === 'regex')
    return { pathSpecifier: { case: 'safeRegex' as const, value: { regex: wholeRegex(uri.value) } } }
  const caseSensitive = ignoreUriCase ? { caseSensitive: false } : {}
  if (uri?.kind === 'segments')
    return { pathSpecifier: { case: 'pathSeparatedPrefix' as const, value: uri.value }, ...caseSensitive }
  if (uri?.kind === 'exact') return { pathSpecifier: { case: 'path' as const, value: uri.value }, ...caseSensitive }
  return { pathSpecifier: { case: 'prefix' as const, value: uri?.value ?? '/' }, ...caseSensitive }
}

function queryMatchers({ queryParams }: MatchPlan): MessageInitShape<typeof QueryParameterMatcherSchema>[] {
  return Object.entries(queryParams).map(([name, match]) => ({
    name,
    queryParameterMatchSpecifier:
      match === 'present'
        ? { case: 'presentMatch' as const, value: true }
        : { case: 'stringMatch' as const, value: stringMatcher(match) },
  }))
}

function action(plan: RoutePlan, clientClass: ClientClass, actions: PlannedActions): Fields<typeof RouteActionSchema> {
  const retry = retryFor(clientClass, plan.retry)
  const [only, ...more] = plan.clusters
  return {
    clusterSpecifier:
      more.length === 0
        ? { case: 'cluster', value: only!.name }
        : {
            case: 'weightedClusters',
            value: { clusters: plan.clusters.map((cluster) => weightedCluster(cluster, clientClass)) },
          },
    ...actionFields(actions),
    ...(isForeign(clientClass)
      ? { maxStreamDuration: { maxStreamDuration: duration(streamDurationMs(plan)) } }
      : { timeout: duration(plan.timeoutMs) }),
    ...(retry === null
      ? {}
      : {
          retryPolicy: {
            retryOn: retry.retryOn.join(','),
            numRetries: retry.attempts,
            retriableStatusCodes: [...retry.statusCodes],
            retryBackOff: {
              baseInterval: duration(retry.baseIntervalMs),
              maxInterval: duration(retry.baseIntervalMs * 10),
            },
            ...(retry.perTryTimeoutMs > 0 ? { perTryTimeout: duration(retry.perTryTimeoutMs) } : {}),
            ...(isForeign(clientClass) ? {} : hostSelection(retry)),
          },
        }),
  }
}

function weightedCluster({ name, weight, headers, authority }: PlannedCluster, clientClass: ClientClass) {
  if (isForeign(clientClass)) return { name, weight }
  const rewrite =
    authority === undefined ? {} : { hostRewriteSpecifier: { case: 'hostRewriteLiteral' as const, value: authority } }
  return { name, weight, ...editLists(headers), ...rewrite }
}

/** As istiod says it: hosts that were tried are passed over; with retryRemoteLocalities their localities too. */
function hostSelection({ previousHosts, previousPriorities }: RetryPlan) {
  const hosts = {
    name: 'envoy.retry_host_predicates.previous_hosts',
    configType: { case: 'typedConfig' as const, value: pack(PreviousHostsPredicateSchema, {}) },
  }
  const priorities = {
    name: 'envoy.retry_priorities.previous_priorities',
    configType: {
      case: 'typedConfig' as const,
      value: pack(PreviousPrioritiesConfigSchema, { updateFrequency: previousPriorities }),
    },
  }
  return {
    ...(previousHosts ? {} : { retryHostPredicate: [hosts], hostSelectionRetryMaxAttempts: 5n }),
    ...(previousPriorities > 0 ? { retryPriority: priorities } : {}),
  }
}

function metadata(plan: RoutePlan) {
  const compared = plan.extras.mirrorCompare
    ? plan.actions.mirrors.map(({ cluster }) => [cluster, { compare: true }])
    : []
  const policy = pack(RoutePolicySchema, {
    ...plan.extras.message,
    ...(compared.length > 0 ? { mirrors: Object.fromEntries(compared) } : {}),
    ...(plan.retry?.previousHosts === true ? { retryPreviousHosts: true } : {}),
    timeoutUntilHeaders: plan.timeoutUntilHeaders,
    decidedBy: sorted({ ...plan.extras.decidedBy, ...plan.decidedBy }),
    notes: [...plan.notes],
  })
  return { typedFilterMetadata: { [MetadataKey.route]: create(AnySchema, policy) } }
}
