import { isDeepStrictEqual } from 'node:util'
import { compileString } from '../../src/match/string.ts'
import { clusterName } from '../../src/xds/proto.ts'
import { isCatchAll } from '../resources/reachability.ts'
import { servicePolicyDefaults } from '../resources/service-policy.ts'
import type { HttpMatch, HttpRoute, VirtualServiceSpec } from '../resources/virtual-service.ts'
import { withDelegates } from './delegates.ts'
import type { RouteSet } from './gateway-routes.ts'
import { withHash } from './hash.ts'
import { expandHost, serviceHost } from './hosts.ts'
import {
  authorityOf,
  corsOf,
  faultOf,
  headerEdits,
  joinEdits,
  mirrorsOf,
  redirectOf,
  rewriteOf,
} from './http-actions.ts'
import { planGatewayRoutes } from './http-route.ts'
import { mergedRule } from './merge.ts'
import type { MeshIndex } from './mesh-index.ts'
import { selects } from './peer-authentication.ts'
import {
  type Answer,
  type MatchPlan,
  noActions,
  type PlannedActions,
  type PlannedCluster,
  type RetryPlan,
  type RoutePlan,
} from './route-plan.ts'
import { byAge, type Rule } from './rule.ts'
import { routeExtras } from './service-policy.ts'
import type { ClientView } from './types.ts'

/**
 * When the caller's method allows it (the data plane's gate). A connection that breaks before the answer is what a proxy
 * would have turned into its own 503; Envoy's `503` means answers of a peer only, so `reset` says it.
 */
const defaultRetryOn = 'connect-failure,retriable-4xx,503,reset'
/**
 * Where somebody asks for retries and not for which: the codes of gRPC too that Istio has by default. Unasked they would repeat
 * what may have run, because no method of gRPC says of itself that it may be repeated.
 */
const askedRetryOn = `${defaultRetryOn},unavailable,cancelled`
const defaultBaseIntervalMs = 25

const everything: MatchPlan = { ignoreUriCase: false, headers: {}, withoutHeaders: {}, queryParams: {} }

/** Routes of one host as this client shall see them, in order. */
export function planRoutes(index: MeshIndex, host: string, port: number, client: ClientView): RoutePlan[] {
  return plansOf(index, host, port, client).map((plan) => withHash(index, plan, client))
}

function plansOf(index: MeshIndex, host: string, port: number, client: ClientView): RoutePlan[] {
  const rule = index.virtualService(host, client.namespace)
  const attached = index.gatewayRoutes.of(host, port, client.namespace)
  if (attached !== undefined && !isOlder(rule, host, attached, index))
    return planGatewayRoutes(index, attached, port, servicePolicyPlan(index, host))
  if (rule !== undefined) return fromVirtualService(index, rule, host, port, client)
  return fromTrafficSplit(index, host, port, client)
}

/**
 * Whether a VirtualService of the very host was there before the first attached route: of both kinds the older one decides,
 * as in Istio. One with a wildcard says less than a route of that Service.
 */
function isOlder(
  rule: Rule<VirtualServiceSpec> | undefined,
  host: string,
  { routes }: RouteSet,
  { settings }: MeshIndex,
): boolean {
  const { object, spec } = rule ?? {}
  if (object === undefined || !spec?.hosts.some((h) => expandHost(h, object.namespace, settings.domain) === host))
    return false
  return byAge(object, routes[0]!.rule.object) < 0
}

/** What of the client decides about the routes of a host: equal texts = equal routes, all else being equal. */
export function routeViewKey(index: MeshIndex, host: string, client: ClientView): string {
  const rule = index.virtualService(host, client.namespace)
  if (rule === undefined) {
    const split = index.trafficSplit(host, callerOf(index, client))
    return `${split?.name ?? ''} ${rulesKey(index, client)}`
  }
  const routes = withDelegates(index, rule)
  const bits = routes.flatMap(({ http }) => http.match.map((match) => (isFor(match, client) ? '1' : '0')))
  return `${rule.name} ${bits.join('')} ${rulesKey(index, client)}`
}

/** What chooses the DestinationRules of all hosts, which notes and hashes come from. */
function rulesKey(index: MeshIndex, { namespace, labels }: ClientView): string {
  const bits = index
    .selectiveRules(namespace)
    .map(({ spec }) => (selects(spec.workloadSelector!.matchLabels, labels) ? '1' : '0'))
  return `${namespace} ${bits.join('')}`
}

function fromVirtualService(
  index: MeshIndex,
  rule: Rule<VirtualServiceSpec>,
  host: string,
  port: number,
  client: ClientView,
): RoutePlan[] {
  const plans: RoutePlan[] = []
  for (const { http, rule: owner } of withDelegates(index, rule)) {
    const action = fromHttpRoute(index, owner, http, host, port, client)
    if (http.match.length === 0) return [...plans, { name: http.name ?? 'default', match: everything, ...action }]
    for (const match of http.match) {
      if (!isFor(match, client) || (match.port !== undefined && match.port !== port)) continue
      // Calls of the mesh are http; TLS is the mesh's own.
      if (match.scheme !== undefined && !compileString(match.scheme)('http')) continue
      plans.push({ name: routeName(http, match), match, ...action })
      // What follows can never be reached.
      if (isCatchAll({ ...match, port: undefined, sourceLabels: {}, sourceNamespace: undefined, gateways: undefined }))
        return plans
    }
  }
  return plans
}

/** Istio's: the route's name, and the match's after a dot. */
function routeName(http: HttpRoute, match: HttpMatch): string {
  return [http.name, match.name].filter((name) => name !== undefined && name !== '').join('.') || 'default'
}

/** Conditions about the caller. With `gateways` the labels do not count (Istio). */
function isFor(match: HttpMatch, client: ClientView): boolean {
  if (match.sourceNamespace !== undefined && match.sourceNamespace !== client.namespace) return false
  if (match.gateways !== undefined) return match.gateways.includes('mesh')
  return Object.entries(match.sourceLabels).every(([key, value]) => client.labels[key] === value)
}

type ActionPlan = Omit<RoutePlan, 'name' | 'match'>

function fromHttpRoute(
  index: MeshIndex,
  rule: Rule<VirtualServiceSpec>,
  http: HttpRoute,
  host: string,
  port: number,
  client: ClientView,
): ActionPlan {
  const single = http.route.filter(({ weight }) => weight !== 0).length <= 1 && http.route.length === 1
  const clusters: PlannedCluster[] = []
  const notes: string[] = []
  for (const { destination, weight = 0, headers } of http.route) {
    if (!single && weight === 0) continue
    const target = expandHost(destination.host, rule.object.namespace, index.settings.domain)
    const { subset = '' } = destination
    addNotes(index, target, subset, client, notes)
    // A service declares no port, so one that is not named is the one that was dialled.
    const name = clusterName(destination.port?.number ?? port, subset, target)
    const edits = single ? null : joinEdits(headerEdits(headers))
    const authority = single ? undefined : authorityOf(headers)
    const made: PlannedCluster = {
      name,
      weight: single ? 1 : weight,
      ...(edits === null ? {} : { headers: edits }),
      ...(authority === undefined ? {} : { authority }),
    }
    const same = clusters.findIndex((cluster) => isDeepStrictEqual({ ...cluster, weight: 0 }, { ...made, weight: 0 }))
    if (same < 0) clusters.push(made)
    else clusters[same] = { ...made, weight: clusters[same]!.weight + made.weight }
  }
  const fallback = servicePolicyPlan(index, host)
  const { retries } = http
  return {
    ...fallback,
    ...(http.timeout === undefined ? {} : { timeoutMs: http.timeout, timeoutUntilHeaders: false, timeoutAsked: true }),
    ...(retries === undefined ? {} : { retry: retryPlan({ ...retries, retryOn: retries.retryOn ?? askedRetryOn }) }),
    clusters,
    answer: answerOf(http, port),
    actions: actionsOf(index, rule, http, port, single),
    decidedBy: {
      ...fallback.decidedBy,
      route: rule.name,
      ...(http.timeout === undefined ? {} : { timeout: rule.name }),
      ...(retries === undefined ? {} : { retries: rule.name }),
    },
    notes,
  }
}

function answerOf({ redirect, directResponse }: HttpRoute, port: number): Answer | null {
  if (redirect !== undefined) return { kind: 'redirect', redirect: redirectOf(redirect, port) }
  if (directResponse === undefined) return null
  return { kind: 'direct', status: directResponse.status, body: directResponse.body ?? '' }
}

/** With one destination its edits come after the route's, so that they win; with several they come before (Istio). */
function actionsOf(
  index: MeshIndex,
  rule: Rule<VirtualServiceSpec>,
  http: HttpRoute,
  port: number,
  single: boolean,
): PlannedActions {
  const own = single ? http.route[0]?.headers : undefined
  const rewrite = rewriteOf(http)
  const authority = rewrite?.authority ?? authorityOf(own) ?? null
  return {
    headers: joinEdits(headerEdits(http.headers), headerEdits(own)),
    rewrite: rewrite === null && authority === null ? null : { path: rewrite?.path ?? null, authority },
    cors: corsOf(http.corsPolicy),
    fault: faultOf(http.fault),
    hash: [],
    mirrors: mirrorsOf(http).map(({ destination, perMillion }) => ({
      cluster: clusterName(
        destination.port?.number ?? port,
        destination.subset ?? '',
        expandHost(destination.host, rule.object.namespace, index.settings.domain),
      ),
      perMillion,
    })),
    clusterNotFoundStatus: 503,
  }
}

function addNotes(index: MeshIndex, host: string, subset: string, client: ClientView, notes: string[]): void {
  if (!index.services.has(host)) notes.push(`${host}: no workload has ever registered as this service`)
  if (subset !== '' && mergedRule(index, host, client)?.subsets.has(subset) !== true)
    notes.push(`${host}: no DestinationRule defines subset ${subset}, endpoints with version=${subset} are used`)
}

function fromTrafficSplit(index: MeshIndex, host: string, port: number, client: ClientView): RoutePlan[] {
  const policy = servicePolicyPlan(index, host)
  const split = index.trafficSplit(host, callerOf(index, client))
  if (split === undefined) {
    const decidedBy = { ...policy.decidedBy, route: 'default' }
    return [
      {
        ...policy,
        name: 'default',
        match: everything,
        clusters: [{ name: clusterName(port, '', host), weight: 1 }],
        answer: null,
        actions: noActions,
        decidedBy,
        notes: [],
      },
    ]
  }
  const { v1Weight, v2Weight, headerMatch } = split.spec
  const notes: string[] = []
  for (const subset of ['v1', 'v2']) addNotes(index, host, subset, client, notes)
  const common = {
    ...policy,
    name: 'default',
    answer: null,
    actions: noActions,
    decidedBy: { ...policy.decidedBy, route: split.name },
    notes,
  }
  const v1 = clusterName(port, 'v1', host)
  const v2 = clusterName(port, 'v2', host)
  const weighted = [
    { name: v1, weight: v1Weight + v2Weight === 0 ? 1 : v1Weight },
    { name: v2, weight: v2Weight },
  ].filter((cluster) => cluster.weight > 0)
  const byHeader = Object.entries(headerMatch).map(([name, value]) => ({
    ...common,
    match: { ...everything, headers: { [name]: { kind: 'exact', value, ignoreCase: false } as const } },
    clusters: [{ name: v2, weight: 1 }],
  }))
  return [...byHeader, { ...common, match: everything, clusters: weighted }]
}

function callerOf(index: MeshIndex, client: ClientView): string {
  return serviceHost(client.service, client.namespace, index.settings.domain)
}

/** Istio's, for services that a ServiceEntry declares. */
const declaredDefaults = {
  retryAttempts: 2,
  timeoutMs: 0,
  retryOn: 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes',
} as const

/** Timeout and retries where no route says otherwise: ServicePolicy, else the mission's defaults. */
function servicePolicyPlan(
  index: MeshIndex,
  host: string,
): Omit<ActionPlan, 'clusters' | 'answer' | 'actions' | 'notes'> {
  const policy = index.servicePolicy(host)
  const { retry: ofMesh, meshConfig = 'default' } = index.settings
  const isDeclared = index.services.get(host)?.declared != null
  const usual = isDeclared ? declaredDefaults : servicePolicyDefaults
  const attempts = policy?.spec.retryAttempts ?? ofMesh?.attempts ?? usual.retryAttempts
  const name = policy?.name ?? 'default'
  return {
    timeoutMs: policy?.spec.timeoutMs ?? usual.timeoutMs,
    timeoutUntilHeaders: true,
    timeoutAsked: policy?.spec.timeoutMs !== undefined,
    retry: retryPlan({ ...(isDeclared ? { retryOn: declaredDefaults.retryOn } : {}), ...ofMesh, attempts }),
    extras: routeExtras(index, host),
    decidedBy: {
      timeout: policy?.spec.timeoutMs === undefined ? 'default' : name,
      retries: policy?.spec.retryAttempts !== undefined ? name : ofMesh !== undefined ? meshConfig : 'default',
    },
  }
}

function retryPlan(retries: NonNullable<HttpRoute['retries']>): RetryPlan | null {
  if (retries.attempts === 0) return null
  const words = (retries.retryOn ?? defaultRetryOn).split(',').map((word) => word.trim())
  const statusCodes = words.filter((word) => /^\d+$/.test(word)).map(Number)
  const retryOn = words.filter((word) => !/^\d+$/.test(word))
  if (statusCodes.length > 0 && !retryOn.includes('retriable-status-codes')) retryOn.push('retriable-status-codes')
  return {
    retryOn,
    statusCodes,
    attempts: retries.attempts,
    perTryTimeoutMs: retries.perTryTimeout ?? 0,
    baseIntervalMs: retries.backoff ?? defaultBaseIntervalMs,
    previousHosts: retries.retryIgnorePreviousHosts === false,
    previousPriorities: retries.retryRemoteLocalities === true ? 2 : 0,
  }
}
