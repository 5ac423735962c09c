import { compileHeaderValue } from '../match/header.ts'
import { always, compilePath } from '../match/path.ts'
import { compileString } from '../match/string.ts'
import type { Random } from '../model/clock.ts'
import type { HeaderMatch } from '../model/match.ts'
import type { QueryMatch, RouteMatch, RouteSpec } from '../model/route.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { RequestView } from './exchange.ts'
import type { Policy } from './policy.ts'
import { below } from './random.ts'
import { Rejection, rejections } from './rejection.ts'
import { compileRetry } from './retry.ts'
import type { Target } from './route.ts'

/** A rule of the route table, compiled. */
export interface Rule {
  readonly spec: RouteSpec
  /** `path` = the view's path without query. */
  matches(view: RequestView, path: string, random: Random): boolean
  /** One of its targets, by weight. */
  draw(random: Random): Target
}

/** @param clusterOf what stands behind a name now; undefined = no such cluster */
export function compileRule(spec: RouteSpec, clusterOf: (name: string) => ClusterRuntime | undefined): Rule {
  return { spec, matches: compileMatch(spec.match), draw: compileAction(spec, clusterOf) }
}

function compileMatch(match: RouteMatch): Rule['matches'] {
  const path = compilePath(match.path)
  const headers = match.headers.map(compileHeader)
  const queries = match.query.map(compileQuery)
  const fraction = match.fractionPerMillion
  if (headers.length === 0 && queries.length === 0 && fraction === null)
    return path === always ? always : (_view, text) => path(text)
  return (view, text, random) => {
    if (!path(text)) return false
    for (const test of headers) if (!test(view)) return false
    if (queries.length > 0) {
      for (const test of queries) if (!test(view.path, text.length + 1)) return false
    }
    return fraction === null || below(random, 1_000_000) < fraction
  }
}

/** `:method` and the like name parts of the request line. */
function compileHeader(match: HeaderMatch): (view: RequestView) => boolean {
  const { name } = match
  const test = compileHeaderValue(match)
  return name.startsWith(':') ? (view) => test(pseudo(view, name)) : (view) => test(view.header(name))
}

export function pseudo(view: RequestView, name: string): string | undefined {
  switch (name) {
    case ':method':
      return view.method
    case ':authority':
      return view.authority
    case ':path':
      return view.path
    case ':scheme':
      return 'http'
    default:
      return view.header(name)
  }
}

/** Only the first value of a parameter counts; nothing is URL-decoded (Envoy QueryParameterMatcher). */
function compileQuery(match: QueryMatch): (path: string, from: number) => boolean {
  const test = match.kind === 'string' ? compileString(match.match) : null
  const present = match.kind === 'present' ? match.present : true
  return (path, from) => {
    const value = firstValue(path, from, match.name)
    if (test === null) return (value !== undefined) === present
    return value !== undefined && test(value)
  }
}

/** @param from where the query begins in `path` */
function firstValue(path: string, from: number, name: string): string | undefined {
  for (let start = from; start < path.length; ) {
    let end = path.indexOf('&', start)
    if (end < 0) end = path.length
    const after = start + name.length
    if (after <= end && path.startsWith(name, start)) {
      if (after === end) return ''
      if (path[after] === '=') return path.slice(after + 1, end)
    }
    start = end + 1
  }
  return undefined
}

function compileAction(
  spec: RouteSpec,
  clusterOf: (name: string) => ClusterRuntime | undefined,
): (random: Random) => Target {
  const { action, name } = spec
  if (action.kind === 'direct') {
    const target: Target = {
      kind: 'direct',
      name,
      rejection: new Rejection({
        status: action.status,
        grpcStatus: 2,
        flag: '-',
        details: 'direct_response',
        body: action.body,
      }),
    }
    return () => target
  }
  if (action.kind === 'redirect') throw new Error('redirects are not compiled yet')
  const targets = action.clusters.map((c) => targetOf(spec, clusterOf(c.name)))
  if (targets.length === 1) return () => targets[0]!
  let total = 0
  const sums = action.clusters.map((c) => (total += c.weight))
  return (random) => {
    const at = below(random, total)
    let i = 0
    while (sums[i]! <= at) i++
    return targets[i]!
  }
}

function targetOf(spec: RouteSpec, cluster: ClusterRuntime | undefined): Target {
  const { name } = spec
  if (cluster === undefined) return { kind: 'direct', name, rejection: rejections.noCluster }
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
    edits: null,
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
