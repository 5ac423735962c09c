import type { Random } from '../model/clock.ts'
import type { RouteSpec, WeightedCluster } from '../model/route.ts'
import type { ClusterRuntime } from './cluster.ts'
import { type CompiledMatch, compileMatch } from './compile-match.ts'
import type { RequestView } from './exchange.ts'
import type { Policy } from './policy.ts'
import { below } from './random.ts'
import { compileRedirect } from './redirect.ts'
import { grpcStatusOf, noClusterWith, Rejection } from './rejection.ts'
import { compileRetry } from './retry.ts'
import type { Target } from './route.ts'
import { compileResponseEdits, compileRouteEdits } from './route-edits.ts'

/** What stands behind the name of a cluster now; undefined = no such cluster. */
export type ClusterOf = (name: string) => ClusterRuntime | undefined

/** A rule of the route table, compiled. */
export interface Rule extends CompiledMatch, CompiledAction {
  readonly spec: RouteSpec
}

interface CompiledAction {
  readonly draw: Draw
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

export function compileRule(spec: RouteSpec, clusterOf: ClusterOf): Rule {
  return { spec, ...compileMatch(spec.match), ...compileAction(spec, clusterOf) }
}

function compileAction(spec: RouteSpec, clusterOf: ClusterOf): CompiledAction {
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
    case 'forward': {
      const missing = noClusterWith(action.clusterNotFoundStatus ?? 503)
      const targets = action.clusters.map((c) => targetOf(spec, c, clusterOf(c.name), missing))
      return {
        draw: compileForward(action.clusters, targets),
        choices: () => action.clusters.map((c, i) => ({ target: targets[i]!, weight: c.weight, cluster: c.name })),
      }
    }
  }
}

/** The same target for all that match. */
function always(target: (view: RequestView) => Target): CompiledAction {
  return { draw: target, choices: (view) => [{ target: target(view), weight: 1, cluster: null }] }
}

function compileDirect(spec: RouteSpec, status: number, body: string): (view: RequestView) => Target {
  const grpcStatus = grpcStatusOf(status)
  const rejection = new Rejection({ status, grpcStatus, flag: '-', details: 'direct_response', body, verbatim: true })
  const target: Target = { kind: 'direct', name: spec.name, rejection, edits: compileResponseEdits(spec, null) }
  return () => target
}

function compileForward(clusters: readonly WeightedCluster[], targets: readonly Target[]): Draw {
  if (targets.length === 1) return () => targets[0]!
  let total = 0
  const sums = clusters.map((c) => (total += c.weight))
  return (_view, random) => {
    const at = below(random, total)
    let i = 0
    while (sums[i]! <= at) i++
    return targets[i]!
  }
}

function targetOf(
  spec: RouteSpec,
  destination: WeightedCluster,
  cluster: ClusterRuntime | undefined,
  missing: Rejection,
): Target {
  const { name } = spec
  if (cluster === undefined) return { kind: 'direct', name, rejection: missing, edits: null }
  if (cluster.spec.kind === 'passthrough') return { kind: 'passthrough', name }
  const policies = gates(cluster)
  return {
    kind: 'route',
    name,
    cluster,
    timeoutMs: spec.timeoutMs,
    timeoutUntilHeaders: spec.timeoutUntilHeaders,
    tryTimeoutMs: spec.retry?.perTryTimeoutMs ?? Number.POSITIVE_INFINITY,
    retry: spec.retry === null || spec.retry.numRetries === 0 ? null : compileRetry(spec.retry),
    hash: null,
    mirror: null,
    edits: compileRouteEdits(spec, destination),
    policies,
    onOutcome: policies.filter((p) => p.outcome !== undefined),
    spec,
  }
}

/** The order of the gates of a call. What is not configured is not in it. */
function gates(cluster: ClusterRuntime): readonly Policy[] {
  const { limit, breaker, outlier } = cluster
  return [limit, breaker, outlier].filter((p) => p !== null)
}
