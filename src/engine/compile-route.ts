import type { Random } from '../model/clock.ts'
import type { RouteSpec, WeightedCluster } from '../model/route.ts'
import { noHooks, type RouteHooks } from './app-hooks.ts'
import type { ClusterRuntime } from './cluster.ts'
import { type CompiledMatch, compileMatch } from './compile-match.ts'
import { compileCors } from './cors.ts'
import type { RequestView } from './exchange.ts'
import { compileFault, type FaultGate } from './fault.ts'
import { compileHash } from './hash-policy.ts'
import { compileHedge, type Hedge } from './hedge.ts'
import { compileMirror } from './mirror.ts'
import { type Policy, policyLists } from './policy.ts'
import { below } from './random.ts'
import { compileRedirect } from './redirect.ts'
import { grpcStatusOf, noClusterWith, Rejection } from './rejection.ts'
import { compileRetry } from './retry-policy.ts'
import type { Mirror, Target } from './route.ts'
import { compileResponseEdits, compileRouteEdits } from './route-edits.ts'
import { Session } from './session.ts'

/** What stands behind the name of a cluster now; undefined = no such cluster. */
export type ClusterOf = (name: string) => ClusterRuntime | undefined

/** The app's hooks for calls to a cluster. */
export type HooksOf = (cluster: string) => RouteHooks

/** A rule of the route table, compiled. */
export interface Rule extends CompiledMatch, CompiledAction {
  readonly spec: RouteSpec
}

interface CompiledAction {
  readonly draw: Draw
  /** What `draw` says of all requests but OPTIONS; null = it is to be asked. */
  readonly sole: Target | null
  /** All that `draw` may draw, with their weights; for explain. */
  choices(view: RequestView): readonly Choice[]
}

export interface Choice {
  readonly target: Target
  readonly weight: number
  /** null = answered here. */
  readonly cluster: string | null
}

/** What becomes of a request that matched: one of the rule's targets by weight, or the answer that it gets here. */
export type Draw = (view: RequestView, random: Random) => Target

export function compileRule(spec: RouteSpec, clusterOf: ClusterOf, hooksOf: HooksOf = () => noHooks): Rule {
  return { spec, ...compileMatch(spec.match), ...compileAction(spec, clusterOf, hooksOf) }
}

function compileAction(spec: RouteSpec, clusterOf: ClusterOf, hooksOf: HooksOf): CompiledAction {
  const { action } = spec
  switch (action.kind) {
    case 'direct':
      return always(compileDirect(spec, action.status, action.body))
    case 'redirect': {
      const { name } = spec
      const answer = compileRedirect(action.redirect, spec.match.path)
      const edits = compileResponseEdits(spec, null)
      return always((view) => ({ kind: 'direct', name, rejection: answer(view), edits }))
    }
    case 'forward':
      return compileForward(spec, action.clusters, action.clusterNotFoundStatus ?? 503, clusterOf, hooksOf)
  }
}

/** The same target for all that match. */
function always(target: (view: RequestView) => Target): CompiledAction {
  return { draw: target, sole: null, choices: (view) => [{ target: target(view), weight: 1, cluster: null }] }
}

function compileDirect(spec: RouteSpec, status: number, body: string): (view: RequestView) => Target {
  const grpcStatus = grpcStatusOf(status)
  const rejection = new Rejection({ status, grpcStatus, flag: '-', details: 'direct_response', body, verbatim: true })
  const target: Target = { kind: 'direct', name: spec.name, rejection, edits: compileResponseEdits(spec, null) }
  return () => target
}

function compileForward(
  spec: RouteSpec,
  clusters: readonly WeightedCluster[],
  missingStatus: number,
  clusterOf: ClusterOf,
  hooksOf: HooksOf,
): CompiledAction {
  const { name } = spec
  const cors = spec.cors === null ? null : compileCors(spec.cors)
  const fault = spec.fault === null ? null : compileFault(spec.fault)
  const missing = noClusterWith(missingStatus)
  const targets = clusters.map((destination): Target => {
    const cluster = clusterOf(destination.name)
    if (cluster === undefined) return { kind: 'direct', name, rejection: missing, edits: cors?.response ?? null }
    const mirror = compileMirror(spec, destination, clusterOf, (c) => gates({ ...spec, breaker: null }, c, null, null))
    const own = destination.fault
    const faulty = own === undefined ? fault : own === null ? null : compileFault(own)
    return targetOf(spec, destination, cluster, { fault: faulty, mirror, hooks: hooksOf(destination.name) })
  })
  const draw = bySession(spec, clusters, targets, compileWeights(clusters, targets))
  const sole = targets.length === 1 ? targets[0]! : null
  const choices = () => clusters.map((c, i) => ({ target: targets[i]!, weight: c.weight, cluster: c.name }))
  if (cors === null) return { draw, sole, choices }
  const preflight = (view: RequestView): Target | null => {
    const rejection = cors.preflight(view)
    return rejection === null ? null : { kind: 'direct', name, rejection, edits: null }
  }
  return {
    draw: (view, random) => (view.method === 'OPTIONS' ? preflight(view) : null) ?? draw(view, random),
    sole,
    choices(view) {
      const target = preflight(view)
      return target === null ? choices() : [{ target, weight: 1, cluster: null }]
    },
  }
}

function compileWeights(clusters: readonly WeightedCluster[], targets: readonly Target[]): Draw {
  const [only] = targets
  if (targets.length === 1) return () => only!
  let total = 0
  const sums = clusters.map((c) => (total += c.weight))
  return (_view, random) => {
    const at = below(random, total)
    let i = 0
    while (sums[i]! <= at) i++
    return targets[i]!
  }
}

/** A session stays with its destination, too (gRFC A60). */
function bySession(
  spec: RouteSpec,
  clusters: readonly WeightedCluster[],
  targets: readonly Target[],
  draw: Draw,
): Draw {
  if (spec.session == null || clusters.length === 1) return draw
  const session = new Session(spec.session)
  const byName = new Map(clusters.map(({ name }, i) => [name, targets[i]!]))
  return (view, random) => byName.get(session.seatOf(view)?.cluster ?? '') ?? draw(view, random)
}

function targetOf(
  spec: RouteSpec,
  destination: WeightedCluster,
  cluster: ClusterRuntime,
  { fault, mirror, hooks }: { fault: FaultGate | null; mirror: Mirror | null; hooks: RouteHooks },
): Target {
  const { name } = spec
  if (cluster.spec.kind === 'passthrough')
    return { kind: 'passthrough', name, edits: compileRouteEdits(spec, destination, spec.cors) }
  const hedge = spec.hedge === null ? null : compileHedge(spec.hedge, cluster)
  const gated = gates(spec, cluster, fault, hedge)
  const { policies, onOutcome } = policyLists(hooks.gate === null ? gated : [hooks.gate, ...gated])
  return {
    kind: 'route',
    name,
    shadow: false,
    cluster,
    timeoutMs: spec.timeoutMs,
    timeoutUntilHeaders: spec.timeoutUntilHeaders,
    tryTimeoutMs: tryTimeoutOf(spec),
    retry: spec.retry === null || spec.retry.numRetries === 0 ? null : compileRetry(spec.retry),
    hash: compileHash(spec.hash),
    session: spec.session == null ? null : new Session(spec.session),
    hedge,
    mirror,
    edits: compileRouteEdits(spec, destination, spec.cors),
    classifier: hooks.classifier,
    idleTimeoutMs: spec.idleTimeoutMs,
    priority: spec.priority,
    coalesce: spec.coalesce,
    policies,
    onOutcome,
    spec,
  }
}

/** A limit per try that is not below that of the whole call is ignored (Envoy). */
function tryTimeoutOf({ retry, timeoutMs }: RouteSpec): number {
  return retry === null || retry.perTryTimeoutMs >= timeoutMs ? Number.POSITIVE_INFINITY : retry.perTryTimeoutMs
}

/**
 * The order of the gates of a call, after code of the app. What is not configured is not in it. Faults come first: what they delay or abort holds no
 * place further on. (CORS answers preflights before there is a call.)
 */
function gates(
  spec: RouteSpec,
  cluster: ClusterRuntime,
  fault: FaultGate | null,
  hedge: Hedge | null,
): readonly Policy[] {
  const { limit, breaker, outlier, latency } = cluster
  const own = spec.breaker === null ? null : cluster.routeBreaker(spec.name, spec.breaker)
  return [fault, limit, breaker, own, outlier, latency, hedge?.learns === true ? hedge : null].filter((p) => p !== null)
}
