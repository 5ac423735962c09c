import type { Random } from '../model/clock.ts'
import type { RetrySpec } from '../model/route.ts'
import type { Attempt } from './attempt.ts'
import type { Call } from './call.ts'
import { Kind, kindFacts } from './outcome.ts'
import { unit } from './random.ts'

/** Retry rules, compiled: a bit per kind and a byte per status. */
export interface RetryPolicy {
  readonly spec: RetrySpec
  readonly numRetries: number
  /** Bit n = Kind n is retried. */
  readonly kinds: number
  /** Index = HTTP status. */
  readonly statuses: Uint8Array
  /** Whatever broke before the request was given to a connection (reset-before-request). */
  readonly unsentReset: boolean
  readonly rateLimited: boolean
}

const bit = (kind: Kind) => 1 << kind
/** What Envoy turns into a reset: a broken connection, a per-try timeout, garbage. */
const RESETS = bit(Kind.Reset) | bit(Kind.TryTimeout) | bit(Kind.ProtocolError)
const ALL = RESETS | bit(Kind.ConnectFailure) | bit(Kind.Refused)

/**
 * Envoy's retry_on words for HTTP (x-envoy-retry-on). Those for gRPC codes (cancelled, deadline-exceeded, internal,
 * resource-exhausted, unavailable) say nothing about an answer over HTTP and are ignored here, as is
 * http3-post-connect-failure: there is no HTTP/3. `retriable-status-codes` only announces `statusCodes`, which count
 * without it too (Istio's bare numbers). Status numbers mean answers of a peer: a reset that became a 503 here is a `reset`.
 */
export function compileRetry(spec: RetrySpec): RetryPolicy {
  let kinds = 0
  const statuses = new Uint8Array(1000)
  for (const word of spec.retryOn) {
    switch (word) {
      case '5xx':
        kinds |= ALL
        statuses.fill(1, 500, 600)
        break
      case 'gateway-error':
        kinds |= ALL
        statuses.fill(1, 502, 505)
        break
      case 'reset':
        kinds |= ALL
        break
      case 'connect-failure':
        kinds |= bit(Kind.ConnectFailure)
        break
      case 'refused-stream':
        kinds |= bit(Kind.Refused)
        break
      case 'retriable-4xx':
        statuses[409] = 1
        break
      default:
    }
  }
  for (const status of spec.statusCodes) if (status > 0 && status < 1000) statuses[status] = 1
  return {
    spec,
    numRetries: spec.numRetries,
    kinds,
    statuses,
    unsentReset: spec.retryOn.includes('reset-before-request'),
    rateLimited: spec.retryOn.includes('envoy-ratelimited'),
  }
}

/**
 * May what became of `attempt` be tried again, and when? Asked by price: the budget last, because asking spends.
 * @returns ms to wait, or -1
 */
export function retryAfter(call: Call, attempt: Attempt, now: number, random: Random): number {
  const { retry } = call.route
  if (retry === null || call.attempts > retry.numRetries) return -1
  if (!matches(retry, attempt)) return -1
  const neverExecuted =
    kindFacts[attempt.kind]!.neverExecuted || attempt.notStarted || (attempt.kind !== Kind.Response && !attempt.wasSent)
  const { exchange, cluster } = call
  if (!neverExecuted && !exchange.idempotent && !retry.spec.retryNonIdempotent) return -1
  if (!exchange.replayable) return -1
  if (now >= call.deadline || cluster.retrying >= cluster.spec.limits.maxRetries) return -1
  // Nobody did anything for it, and somebody else is there: now, and for free. At most once per host, so that one dead
  // or leaving replica does not use up the budget.
  if (neverExecuted && cluster.untried(attempt) !== null) return 0
  const delay = backoff(call.attempts, retry.spec, random)
  if (now + delay >= call.deadline) return -1
  const { budget } = cluster
  if (!budget.withdraw(now, cluster.active)) return -1
  call.paid = budget
  return delay
}

function matches(retry: RetryPolicy, attempt: Attempt): boolean {
  if (attempt.notStarted) return true
  if (attempt.kind === Kind.Response) {
    if (attempt.rateLimited && !retry.rateLimited) return false
    return retry.statuses[attempt.status] === 1
  }
  if ((retry.kinds & bit(attempt.kind)) !== 0) return true
  return retry.unsentReset && !attempt.wasSent && (ALL & bit(attempt.kind)) !== 0
}

/** Envoy's fully jittered back-off: uniform in [0, (2^n - 1) * base), at most max. */
function backoff(attempts: number, spec: RetrySpec, random: Random): number {
  return unit(random) * Math.min((2 ** attempts - 1) * spec.baseIntervalMs, spec.maxIntervalMs)
}
