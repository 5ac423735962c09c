import type { Random } from '../model/clock.ts'
import type { RetrySpec } from '../model/route.ts'
import type { Attempt } from './attempt.ts'
import type { Call } from './call.ts'
import type { Exchange, RequestView } from './exchange.ts'
import { Classified, Kind, kindFacts } from './outcome.ts'
import { askedWait, Wait } from './pushback.ts'
import { unit } from './random.ts'
import { grpcStatusOf } from './rejection.ts'
import { ALL_RESETS, type RetryPolicy } from './retry-policy.ts'

/** Why something is not tried again. From `Spent` down nobody above need try either. */
export const NoRetry = {
  /** No policy, or it says nothing about this. */
  NotAsked: -1,
  /** It may have been executed and is not idempotent, or cannot be sent again. */
  Unsafe: -2,
  /** Some hop above is repeating already. */
  Repeated: -3,
  /** Hops below have repeated it. */
  Spent: -4,
  /** The number of retries is used up. */
  Exhausted: -5,
  /** The retry budget or the limit on retries in flight says no. */
  Overflow: -6,
  /** There is no time left. */
  Late: -7,
} as const

/**
 * May what became of `attempt` be tried again, and when? Asked by price: the budget last, because asking spends.
 * @returns ms to wait, or why not: see {@link NoRetry}
 */
export function retryAfter(call: Call, attempt: Attempt, now: number, random: Random): number {
  const { retry, exchange, cluster } = call
  if (retry === null || !asksForRetry(retry, attempt) || !isEligible(retry, exchange)) return NoRetry.NotAsked
  const neverExecuted =
    kindFacts[attempt.kind]!.neverExecuted || attempt.notStarted || (attempt.kind !== Kind.Response && !attempt.wasSent)
  if (!neverExecuted && !exchange.idempotent && !retry.spec.retryNonIdempotent)
    if (exchange.repeatsByCode !== true || !asksForCode(retry, codeOf(attempt, attempt.kind))) return NoRetry.Unsafe
  if (!exchange.replayable) return NoRetry.Unsafe
  if (attempt.spent) return NoRetry.Spent
  const retries = call.attempts - call.hedges
  if (retries > retry.numRetries) return NoRetry.Exhausted
  if (now >= call.deadline) return NoRetry.Late
  if (cluster.retrying >= cluster.spec.limits.maxRetries) return NoRetry.Overflow
  // Nobody did anything for it, and somebody else is there: now, and for free. At most once per host, so that one dead
  // or leaving replica does not use up the budget.
  if (neverExecuted && retry.spec.avoidPreviousHosts && cluster.untried(call.latest!) !== null) return 0
  if (!neverExecuted && exchange.tree?.repeated === true) return NoRetry.Repeated
  const delay = delayBefore(call, retry.spec, attempt, retries, random)
  if (now + delay >= call.deadline) return NoRetry.Late
  const { budget } = cluster
  if (!budget.withdraw(now, cluster.active)) return NoRetry.Overflow
  call.paid = budget
  if (!neverExecuted) call.repeats++
  return delay
}

/** May one more try be started beside those in flight? Asking spends. */
export function mayHedge(call: Call, now: number): boolean {
  const { exchange, cluster, route } = call
  if (call.hedges >= route.hedge!.spec.maxHedges || !hedgeable(exchange)) return false
  if (!exchange.replayable || now >= call.deadline || exchange.tree?.repeated === true) return false
  if (cluster.retrying >= cluster.spec.limits.maxRetries || cluster.untried(call.latest!) === null) return false
  const { budget } = cluster
  if (!budget.withdraw(now, cluster.active)) return false
  call.paid = budget
  return true
}

/** Whoever configures hedging for gRPC says that its methods bear it (gRFC A6). */
export function hedgeable(exchange: Exchange): boolean {
  return exchange.hedgeable === true && (exchange.idempotent || exchange.repeatsByCode === true)
}

/**
 * Do the words of the policy name what became of it? Without a policy, for hedging: any failure.
 * @param kind in place of the attempt's own
 */
export function asksForRetry(retry: RetryPolicy | null, attempt: Attempt, kind: Kind = attempt.kind): boolean {
  if (attempt.notStarted) return true
  if (retry === null) return kind !== Kind.Response || looksBad(attempt)
  if (kind === Kind.Response) {
    if (attempt.classified === Classified.Success) return false
    if (attempt.classified === Classified.Retryable) return true
    if (attempt.rateLimited) return retry.rateLimited
    const rpc = attempt.call.exchange.protocol === 'grpc'
    const { grpcStatus, status } = attempt
    // The status that a code of gRPC stands for is none that the peer has said.
    if (retry.statuses[status] === 1 && !(rpc && grpcStatus >= 0)) return true
    if (asksForCode(retry, codeOf(attempt, kind))) return true
    const headers = retry.answerHeaders
    if (headers !== null) for (const { name, test } of headers) if (test(attempt.responseHeader(name))) return true
    return false
  }
  if ((retry.kinds & (1 << kind)) !== 0) return true
  // To callers of gRPC a failure without an answer is a code like any other.
  if (asksForCode(retry, codeOf(attempt, kind))) return true
  return retry.unsentReset && !attempt.wasSent && (ALL_RESETS & (1 << kind)) !== 0
}

/** The code of gRPC that it ended with, were it of this kind; -1 = none. Without an answer only calls of gRPC have one. */
function codeOf(attempt: Attempt, kind: Kind): number {
  const rpc = attempt.call.exchange.protocol === 'grpc'
  if (kind === Kind.Response) return rpc && attempt.grpcStatus < 0 ? grpcStatusOf(attempt.status) : attempt.grpcStatus
  if (!rpc || (ALL_RESETS & (1 << kind)) === 0) return -1
  const said = attempt.kind === kind ? attempt.rejection : null
  return (said ?? kindFacts[kind]!.rejection).grpcStatus
}

function asksForCode(retry: RetryPolicy, code: number): boolean {
  return code > 0 && code < 31 && (retry.grpcCodes & (1 << code)) !== 0
}

function looksBad({ classified, status }: Attempt): boolean {
  return classified === Classified.Not ? status >= 500 : classified !== Classified.Success
}

function isEligible(retry: RetryPolicy, request: RequestView): boolean {
  if (retry.requestHeaders === null) return true
  for (const test of retry.requestHeaders) if (test(request)) return true
  return false
}

/** Envoy's fully jittered back-off: uniform in [0, (2^n - 1) * base), at most max. Or longer, where the peer says so. */
function delayBefore(call: Call, spec: RetrySpec, attempt: Attempt, n: number, random: Random): number {
  const backoff = unit(random) * Math.min((2 ** n - 1) * spec.baseIntervalMs, spec.maxIntervalMs)
  if (attempt.pushbackMs >= 0) return attempt.pushbackMs
  if (attempt.kind !== Kind.Response) return backoff
  const asked = askedWait(attempt, spec, call)
  if (asked === Wait.NotSaid) return backoff
  return Math.max(backoff, asked * (1 + unit(random) / 2))
}
