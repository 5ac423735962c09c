import type { ClusterSpec } from '../../model/cluster.ts'
import type { RouteSpec } from '../../model/route.ts'
import { defaultBudget } from '../budget.ts'
import type { ClusterRuntime } from '../cluster.ts'
import type { ExplainedPolicy } from './explanation.ts'
import {
  balancerWords,
  breakerWords,
  budgetWords,
  duration,
  faultWords,
  hashWords,
  hedgeWords,
  limitsWords,
  mirrorWords,
  outlierWords,
  retryWords,
} from './words.ts'

/** `keys`: of decidedBy, the first that is there counts. */
type Entry = readonly [name: string, value: string | null, ...keys: string[]]

/** What a route does to its calls. `null` values are left out: what is off is not a policy. */
export function routePolicies(spec: RouteSpec): ExplainedPolicy[] {
  const { retry, hedge, fault, cors, hash, breaker, coalesce, rewrite, headers } = spec
  const entries: Entry[] = [
    ['timeout', timeoutWords(spec), 'timeout'],
    ['retries', retry === null ? 'none' : retryWords(retry), 'retries'],
    ['idle timeout', spec.idleTimeoutMs === null ? null : duration(spec.idleTimeoutMs), 'idleTimeout'],
    ['hedging', hedge === null ? null : hedgeWords(hedge), 'hedge', 'hedging'],
    ['fault', fault === null ? null : faultWords(fault), 'fault'],
    ...spec.mirrors.map((mirror): Entry => ['mirror', mirrorWords(mirror), 'mirrors']),
    ['hash', hash.length === 0 ? null : hash.map(hashWords).join(', then '), 'hash'],
    ['session', spec.session == null ? null : `the host that cookie ${spec.session.cookie} names`, 'session'],
    [
      'cors',
      cors === null ? null : `${cors.allowOrigins.length} origins, methods ${cors.allowMethods || 'none'}`,
      'cors',
    ],
    ['rewrite', rewrite === null ? null : rewriteWords(rewrite), 'rewrite'],
    ['header edits', headers === null ? null : editWords(headers), 'headers'],
    ['route breaker', breaker === null ? null : breakerWords(breaker), 'errorRateBreaker', 'breaker'],
    ['coalescing', coalesce === null ? null : `identical GETs, answers to ${coalesce.maxBodyBytes} bytes`, 'coalesce'],
    ['priority', spec.priority, 'priority'],
  ]
  return said(entries, spec.decidedBy, spec.decidedBy.route ?? null)
}

/** What a cluster does to calls to it, with its state. */
export function clusterPolicies(cluster: ClusterRuntime, now: number): ExplainedPolicy[] {
  const { spec, breaker } = cluster
  const limits = limitsWords(spec.limits)
  const entries: Entry[] = [
    ['load balancing', balancerWords(spec.lb), 'loadBalancer'],
    ['connect timeout', duration(spec.connectTimeoutMs), 'connectTimeout', 'connectionPool'],
    ['idle connections', duration(spec.idleTimeoutMs), 'idleTimeout'],
    ['limits', limits === '' ? null : limits, 'limits', 'connectionPool'],
    ['outlier detection', spec.outlier === null ? null : outlierWords(spec.outlier), 'outlier', 'outlierDetection'],
    [
      'breaker',
      spec.breaker === null || breaker === null
        ? null
        : `${breaker.state}${breaker.state === 'open' ? ` for ${duration(Math.max(0, breaker.openUntil - now))} more` : ''}; ${breakerWords(spec.breaker)}`,
      'breaker',
    ],
    ['retry budget', budgetWords(spec.retryBudget ?? defaultBudget), 'retryBudget'],
    ['tls', tlsWords(spec), 'tls'],
    ['protocol', spec.protocol === 'h2' ? 'HTTP/2' : null, 'protocol'],
    [
      'health checks',
      spec.healthChecks.length === 0 ? null : spec.healthChecks.map(healthWords).join('; '),
      'healthChecks',
      'healthCheck',
    ],
    [
      'panic',
      spec.panicThresholdPercent === 0 ? null : `all hosts below ${spec.panicThresholdPercent} % usable`,
      'panic',
    ],
    ['localities', spec.priorities.locality === 'none' ? null : spec.priorities.locality, 'locality', 'loadBalancer'],
  ]
  return said(entries, spec.decidedBy, null)
}

function said(
  entries: readonly Entry[],
  decidedBy: Readonly<Record<string, string>>,
  otherwise: string | null,
): ExplainedPolicy[] {
  return entries.flatMap(([name, value, ...keys]) => {
    if (value === null) return []
    const key = keys.find((k) => decidedBy[k] !== undefined)
    return [{ name, value, decidedBy: key === undefined ? otherwise : decidedBy[key]! }]
  })
}

function timeoutWords({ timeoutMs, timeoutUntilHeaders }: RouteSpec): string {
  if (timeoutMs === Number.POSITIVE_INFINITY) return 'none'
  return `${duration(timeoutMs)} ${timeoutUntilHeaders ? 'to the head of the answer, none for calls of gRPC' : 'to the end of the answer'}`
}

function rewriteWords({ path, authority }: NonNullable<RouteSpec['rewrite']>): string {
  const parts: string[] = []
  if (path?.kind === 'regex') parts.push(`path: ${path.pattern} becomes ${path.substitution}`)
  else if (path !== null)
    parts.push(`${path.kind === 'prefix' ? 'matched part of the path' : 'path'} becomes ${path.value}`)
  if (authority !== null) parts.push(`authority becomes ${authority}`)
  return parts.join('; ')
}

function editWords({ request, response }: NonNullable<RouteSpec['headers']>): string {
  const words = (edits: typeof request) => edits.map(({ kind, name }) => `${kind} ${name}`).join(', ')
  return [
    request.length === 0 ? '' : `request: ${words(request)}`,
    response.length === 0 ? '' : `answer: ${words(response)}`,
  ]
    .filter((text) => text !== '')
    .join('; ')
}

function tlsWords({ tls }: ClusterSpec): string {
  if (tls.mode === 'external') return `TLS, SNI ${tls.external?.sni || 'of the request'}`
  if (tls.mode === 'auto') return 'mutual TLS with the endpoints that speak it'
  return tls.mode === 'mtls' ? 'mutual TLS' : 'plaintext'
}

function healthWords({ how, intervalMs }: ClusterSpec['healthChecks'][number]): string {
  const what = how.kind === 'http' ? `${how.method} ${how.path}` : how.kind === 'grpc' ? 'gRPC' : 'connect'
  return `${what} every ${duration(intervalMs)}`
}
