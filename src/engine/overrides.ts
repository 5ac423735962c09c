import { type RetryOn, type RetrySpec, retryDefaults, retryOnWords } from '../model/route.ts'
import type { Call } from './call.ts'
import type { RequestView } from './exchange.ts'
import { compileRetry, type RetryPolicy } from './retry-policy.ts'

/** Headers by which a request says how it is to be retried and timed out (Envoy's router filter), without `x-envoy-`. */
export const overrideNames = [
  'retry-on',
  'retry-grpc-on',
  'max-retries',
  'retriable-status-codes',
  'retriable-header-names',
  'upstream-rq-timeout-ms',
  'upstream-rq-per-try-timeout-ms',
] as const

const known: ReadonlySet<string> = new Set(retryOnWords)
/** Envoy's, where the route has no retry policy: one retry, back-off base 25 ms. */
const bare: RetrySpec = {
  retryOn: [],
  statusCodes: [],
  numRetries: 1,
  perTryTimeoutMs: Number.POSITIVE_INFINITY,
  baseIntervalMs: 25,
  maxIntervalMs: 250,
  ...retryDefaults,
  retryNonIdempotent: false,
}
const bareRoute = compileRetry(bare)
/** Compiled policies by what requests said; forgotten together when there are too many. */
const made = new WeakMap<RetryPolicy, Map<string, RetryPolicy | null>>()
const MAX_MADE = 100

/**
 * Applies the request's own words to its call. The caller is this process, so it is trusted, as Envoy trusts internal
 * callers: words are added to those of the route, numbers replace it; the route's method gate and budget stay in force.
 */
export function override(call: Call): void {
  const { exchange, limits } = call
  const timeoutMs = milliseconds(exchange, 'x-envoy-upstream-rq-timeout-ms') ?? limits.timeoutMs
  const perTry = milliseconds(exchange, 'x-envoy-upstream-rq-per-try-timeout-ms') ?? limits.tryTimeoutMs
  const tryTimeoutMs = perTry >= timeoutMs ? Number.POSITIVE_INFINITY : perTry
  call.limits = { timeoutMs, tryTimeoutMs, retry: retryOf(exchange, limits.retry) }
}

function retryOf(request: RequestView, route: RetryPolicy | null): RetryPolicy | null {
  const words = [request.header('x-envoy-retry-on'), request.header('x-envoy-retry-grpc-on')].filter(Boolean).join(',')
  const count = request.header('x-envoy-max-retries') ?? ''
  const statuses = request.header('x-envoy-retriable-status-codes') ?? ''
  const names = request.header('x-envoy-retriable-header-names') ?? ''
  if (words === '' && (route === null || (count === '' && statuses === '' && names === ''))) return route
  return policyOf(route ?? bareRoute, words, count, statuses, names)
}

function policyOf(
  route: RetryPolicy,
  words: string,
  count: string,
  statuses: string,
  names: string,
): RetryPolicy | null {
  let row = made.get(route)
  if (row === undefined || row.size >= MAX_MADE) {
    row = new Map()
    made.set(route, row)
  }
  const key = `${words}|${count}|${statuses}|${names}`
  let policy = row.get(key)
  if (policy === undefined) {
    const spec = merged(route.spec, words, count, statuses, names)
    policy = spec.numRetries === 0 ? null : compileRetry(spec)
    row.set(key, policy)
  }
  return policy
}

function merged(route: RetrySpec, words: string, count: string, statuses: string, names: string): RetrySpec {
  const retryOn = new Set<RetryOn>(route.retryOn)
  for (const word of list(words)) if (known.has(word)) retryOn.add(word as RetryOn)
  const codes = retryOn.has('retriable-status-codes') ? list(statuses).filter((c) => /^[1-5]\d\d$/.test(c)) : []
  return {
    ...route,
    retryOn: [...retryOn],
    numRetries: /^\d{1,6}$/.test(count) ? Number(count) : route.numRetries,
    statusCodes: [...route.statusCodes, ...codes.map(Number)],
    retriableHeaders: [
      ...route.retriableHeaders,
      ...list(names).map(
        (name) =>
          ({ name: name.toLowerCase(), kind: 'present', present: true, invert: false, missingAsEmpty: false }) as const,
      ),
    ],
  }
}

function list(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/** null = not said, or nothing that can be read; 0 = no limit. */
function milliseconds(request: RequestView, name: string): number | null {
  const text = request.header(name)
  if (text === undefined || !/^\d{1,12}$/.test(text)) return null
  return text === '0' ? Number.POSITIVE_INFINITY : Number(text)
}
