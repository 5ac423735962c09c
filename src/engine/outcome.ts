import type { HostRuntime } from './host.ts'
import { type Rejection, rejections } from './rejection.ts'

/** How an attempt ended. */
export const Kind = {
  /** Under way. */
  Pending: 0,
  /** The peer answered; see `status`. */
  Response: 1,
  /** No connection: refused, unreachable, TLS or identity failure, connect timeout. */
  ConnectFailure: 2,
  /** The peer's protocol says that it did not process it (h2 REFUSED_STREAM, GOAWAY below the stream). */
  Refused: 3,
  /** The connection broke after the request was handed to it. */
  Reset: 4,
  /** Our clock ran out: the try's own limit, or the whole call's. */
  TryTimeout: 5,
  /** What came was not HTTP. */
  ProtocolError: 6,
  /** A reason of this process: overflow, no file descriptors, no valid certificate of our own. */
  Local: 7,
  /** The caller lost interest. */
  Cancelled: 8,
} as const
export type Kind = (typeof Kind)[keyof typeof Kind]

/** What follows from the kind alone. */
export interface KindFacts {
  readonly name: string
  /** The peer certainly did nothing, so a repeat is always safe. */
  readonly neverExecuted: boolean
  /** Counts against the host and the service. */
  readonly blamesHost: boolean
  /** What the caller gets when nothing better is known and no retry follows. */
  readonly rejection: Rejection
}

/** One row per Kind, in order. */
export const kindFacts: readonly KindFacts[] = [
  { name: 'pending', neverExecuted: false, blamesHost: false, rejection: rejections.reset },
  { name: 'response', neverExecuted: false, blamesHost: false, rejection: rejections.retryLost },
  { name: 'connect-failure', neverExecuted: true, blamesHost: true, rejection: rejections.connectFailure },
  { name: 'refused', neverExecuted: true, blamesHost: false, rejection: rejections.refused },
  { name: 'reset', neverExecuted: false, blamesHost: true, rejection: rejections.reset },
  { name: 'try-timeout', neverExecuted: false, blamesHost: true, rejection: rejections.tryTimeout },
  { name: 'protocol-error', neverExecuted: false, blamesHost: true, rejection: rejections.protocolError },
  { name: 'local', neverExecuted: true, blamesHost: false, rejection: rejections.overflow },
  { name: 'cancelled', neverExecuted: false, blamesHost: false, rejection: rejections.cancelled },
]

/** How an attempt ended; all that retry, breaker, outlier detection and metrics get to know. */
export interface Outcome {
  readonly kind: Kind
  readonly host: HostRuntime
  /** ms, to the head of the response, or to the end. */
  readonly elapsedMs: number
  /** Bytes of the request were given to a connection. */
  readonly wasSent: boolean
  /** HTTP status, or the equivalent of the gRPC code; 0 = none. */
  readonly status: number
  /** -1 = not gRPC. */
  readonly grpcStatus: number
  /** The peer says it did not begin it (a draining server's mark). */
  readonly notStarted: boolean
  /** The answer carried x-envoy-ratelimited. */
  readonly rateLimited: boolean
  /** The answer carried x-envoy-overloaded: the peer shed it, which says that it is busy and not that it fails. */
  readonly overloaded: boolean
  /** What the app says that the answer means; before its status. */
  readonly classified: Classified
  /** Our own event loop was late: blame nobody. */
  readonly stalled: boolean
  /** Its head went to the caller before this: a second outcome of the same attempt, whose body broke. */
  readonly delivered: boolean
  /** Times that the HTTP library sent it again on its own. */
  readonly hiddenRepeats: number
}

/** What the app's own judgement of an answer is, where it has one. */
export const Classified = { Not: 0, Success: 1, Failure: 2, Retryable: 3 } as const
export type Classified = (typeof Classified)[keyof typeof Classified]

/** What an outcome says about the peer. `None`: nothing, it must not be counted at all. */
export const Verdict = { None: 0, Good: 1, Bad: 2 } as const
export type Verdict = (typeof Verdict)[keyof typeof Verdict]

/** Timeouts count against the peer; what this process did to itself never does (local refusals, stalls, cancels), nor what the peer shed. */
export function verdictOf(outcome: Outcome): Verdict {
  if (outcome.stalled || outcome.notStarted || outcome.overloaded) return Verdict.None
  if (outcome.kind === Kind.Response && outcome.classified !== Classified.Not)
    return outcome.classified === Classified.Success ? Verdict.Good : Verdict.Bad
  if (outcome.kind === Kind.Response) return outcome.status >= 500 ? Verdict.Bad : Verdict.Good
  return kindFacts[outcome.kind]!.blamesHost ? Verdict.Bad : Verdict.None
}
