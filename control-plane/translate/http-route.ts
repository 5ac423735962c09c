import { clusterName } from '../../src/xds/proto.ts'
import { type BackendTarget, backendKind } from '../resources/gateway-api.ts'
import type { GatewayFilter } from '../resources/gateway-filter.ts'
import type { HttpRouteMatch, HttpRouteRule } from '../resources/http-route.ts'
import { corsOf, editsOf, redirectOf, rewriteOf } from './gateway-actions.ts'
import { compareRanks, type RankedMatch, rankedGrpcMatch, rankedHttpMatch } from './gateway-match.ts'
import type { GatewayRoute, RouteSet } from './gateway-routes.ts'
import { serviceHost } from './hosts.ts'
import { joinEdits } from './http-actions.ts'
import type { MeshIndex } from './mesh-index.ts'
import { noActions, type PlannedCluster, type RetryPlan, type RoutePlan } from './route-plan.ts'

/** What a route has besides its conditions. */
type ActionPlan = Omit<RoutePlan, 'name' | 'match'>
/** What holds where a rule is silent: timeout, retries and what else a ServicePolicy says. */
export type DefaultPlan = Omit<ActionPlan, 'clusters' | 'answer' | 'actions' | 'notes'>

/** A rule of either kind; only HTTPRoute has timeouts and retries. */
type GatewayRule = Pick<HttpRouteRule, 'name' | 'filters' | 'backendRefs'> &
  Partial<Pick<HttpRouteRule, 'timeouts' | 'retry'>>

interface Candidate extends RankedMatch {
  readonly route: GatewayRoute
  readonly rule: GatewayRule
  /** Of the rule, in its route. */
  readonly index: number
  /** undefined for a GRPCRoute. */
  readonly match: HttpRouteMatch | undefined
}

/**
 * Routes of a Service that HTTPRoutes or GRPCRoutes are attached to, the most specific match of all of them first; then
 * the oldest route, then its name, then the order of its rules. Nothing else: a call that no match fits has no route.
 */
export function planGatewayRoutes(
  index: MeshIndex,
  { routes, ignored }: RouteSet,
  port: number,
  fallback: DefaultPlan,
): RoutePlan[] {
  const notes = ignored.map((name) => `${name} has no effect: GRPCRoutes of the same Service come first`)
  return routes
    .flatMap(candidatesOf)
    .toSorted((a, b) => compareRanks(a.rank, b.rank))
    .flatMap((candidate) => plansOf(index, candidate, port, fallback, notes))
}

function candidatesOf(route: GatewayRoute): Candidate[] {
  if (route.kind === 'HTTPRoute')
    return route.rule.spec.rules.flatMap((rule, index) =>
      rule.matches.map((match) => ({ route, rule, index, match, ...rankedHttpMatch(match) })),
    )
  return route.rule.spec.rules.flatMap((rule, index) =>
    (rule.matches.length === 0 ? [{ headers: [] }] : rule.matches).map((match) => ({
      ...{ route, rule, index, match: undefined },
      ...rankedGrpcMatch(match),
    })),
  )
}

/** One route, and before it another one for the share of the calls whose backend cannot be called. */
function plansOf(
  index: MeshIndex,
  { route, rule, index: ruleIndex, match, plan }: Candidate,
  port: number,
  fallback: DefaultPlan,
  notes: readonly string[],
): RoutePlan[] {
  const { object } = route.rule
  const name = `${object.namespace}.${object.name}.${rule.name ?? ruleIndex}`
  const common = {
    ...fallback,
    ...limits(rule, fallback, route.rule.name),
    ...{ name, match: plan, clusters: [], answer: null, actions: noActions, notes },
  }
  const edits = editsOf(rule.filters)
  const headers = joinEdits(edits)
  const redirect = rule.filters.find((filter) => filter.requestRedirect !== undefined)?.requestRedirect
  if (redirect !== undefined) {
    const answer = { kind: 'redirect' as const, redirect: redirectOf(redirect, match, port) }
    return [{ ...common, answer, actions: { ...noActions, headers } }]
  }
  const { clusters, total, lost, missing } = backendsOf(index, rule, object.namespace, port)
  const explained = [...notes, ...missing]
  const failed: RoutePlan = {
    ...common,
    // UNAVAILABLE in the words of gRPC, with the body as its message.
    answer: {
      kind: 'direct',
      status: route.kind === 'HTTPRoute' ? 500 : 503,
      body: `rule ${name} has no backend${missing.length === 0 ? '' : `: ${missing.join(', ')}`}`,
    },
    actions: { ...noActions, headers: joinEdits({ request: [], response: edits.response }) },
    notes: explained,
  }
  if (clusters.length === 0) return [failed]
  const only = clusters.length === 1 ? clusters[0] : undefined
  const rewrite = rewriteOf(rule.filters, match)
  const authority = only?.authority ?? rewrite?.authority ?? null
  const forwarded: RoutePlan = {
    ...common,
    clusters: only === undefined ? clusters : [{ name: only.name, weight: 1 }],
    actions: {
      ...noActions,
      headers: only?.headers === undefined ? headers : joinEdits(edits, only.headers),
      rewrite: rewrite === null && authority === null ? null : { path: rewrite?.path ?? null, authority },
      cors: corsOf(rule.filters),
      mirrors: mirrorsOf(index, rule.filters, object.namespace, port),
      clusterNotFoundStatus: route.kind === 'HTTPRoute' ? 500 : 503,
    },
    notes: explained,
  }
  if (lost === 0) return [forwarded]
  const fractionPerMillion = Math.round((lost / total) * 1_000_000)
  return [{ ...failed, match: { ...plan, fractionPerMillion } }, forwarded]
}

/** Backends with calls; `lost` of the `total` weight belongs to backends that cannot be called. */
function backendsOf(index: MeshIndex, rule: GatewayRule, namespace: string, port: number) {
  const clusters: PlannedCluster[] = []
  const missing: string[] = []
  let total = 0
  let lost = 0
  for (const backend of rule.backendRefs) {
    if (backend.weight === 0) continue
    total += backend.weight
    const name = backendCluster(index, backend, namespace, port)
    if (name === undefined) {
      lost += backend.weight
      missing.push(`${backend.kind} ${backend.namespace ?? namespace}/${backend.name} does not exist`)
      continue
    }
    const headers = joinEdits(editsOf(backend.filters))
    const authority = rewriteOf(backend.filters, undefined)?.authority ?? undefined
    clusters.push({
      ...{ name, weight: backend.weight },
      ...(headers === null ? {} : { headers }),
      ...(authority === undefined ? {} : { authority }),
    })
  }
  return { clusters, total, lost, missing }
}

/** undefined = it names nothing that can be called. */
function backendCluster(index: MeshIndex, backend: BackendTarget, namespace: string, port: number): string | undefined {
  const kind = backendKind(backend)
  if (kind === 'unknown') return undefined
  const { domain } = index.settings
  const host =
    kind === 'host' ? backend.name.toLowerCase() : serviceHost(backend.name, backend.namespace ?? namespace, domain)
  return index.services.has(host) ? clusterName(backend.port ?? port, '', host) : undefined
}

function mirrorsOf(index: MeshIndex, filters: readonly GatewayFilter[], namespace: string, port: number) {
  return filters.flatMap(({ requestMirror: mirror }) => {
    const cluster = mirror === undefined ? undefined : backendCluster(index, mirror.backendRef, namespace, port)
    if (mirror === undefined || cluster === undefined) return []
    const { percent, fraction } = mirror
    const share = fraction === undefined ? (percent ?? 100) / 100 : fraction.numerator / fraction.denominator
    const perMillion = Math.round(share * 1_000_000)
    return perMillion === 0 ? [] : [{ cluster, perMillion }]
  })
}

/** Connection errors are retried besides the codes that are named (GEP-1731). */
const retryOn = ['connect-failure', 'refused-stream', 'reset', 'cancelled', 'unavailable']
const defaultAttempts = 2
const defaultBackoffMs = 25

/** `request` limits the call, `backendRequest` each try; without retries the shorter of both does. */
function limits({ timeouts = {}, retry }: GatewayRule, fallback: DefaultPlan, decider: string): DefaultPlan {
  const perTryTimeoutMs = timeouts.backendRequest ?? 0
  const policy = retry === undefined ? fallback.retry : retryPlan(retry)
  const planned = policy === null || perTryTimeoutMs === 0 ? policy : { ...policy, perTryTimeoutMs }
  // A default that is shorter than what one try may take would make that meaningless.
  const silent = perTryTimeoutMs >= fallback.timeoutMs ? 0 : fallback.timeoutMs
  const wanted = timeouts.request ?? (perTryTimeoutMs === 0 ? undefined : silent)
  const whole = planned === null && perTryTimeoutMs > 0 ? shorter(wanted ?? 0, perTryTimeoutMs) : wanted
  const asked = timeouts.request !== undefined || (planned === null && perTryTimeoutMs > 0)
  return {
    ...fallback,
    ...(whole === undefined ? {} : { timeoutMs: whole }),
    ...(asked ? { timeoutUntilHeaders: false, timeoutAsked: true } : {}),
    retry: planned,
    decidedBy: {
      ...fallback.decidedBy,
      route: decider,
      ...(whole === undefined ? {} : { timeout: decider }),
      ...(retry === undefined ? {} : { retries: decider }),
    },
  }
}

/** Of two limits, where 0 is none. */
function shorter(a: number, b: number): number {
  return a === 0 || b === 0 ? a + b : Math.min(a, b)
}

function retryPlan({
  codes,
  attempts = defaultAttempts,
  backoff,
}: NonNullable<HttpRouteRule['retry']>): RetryPlan | null {
  if (attempts === 0) return null
  return {
    retryOn: codes.length === 0 ? retryOn : [...retryOn, 'retriable-status-codes'],
    statusCodes: codes,
    attempts,
    perTryTimeoutMs: 0,
    baseIntervalMs: Math.max(1, backoff ?? defaultBackoffMs),
    previousHosts: false,
    previousPriorities: 0,
  }
}
