import { compileHeaderValue, type HeaderValueTest } from '../match/header.ts'
import type { HeaderMatch } from '../model/match.ts'
import type { RetryOn, RetrySpec } from '../model/route.ts'
import { compileHeader } from './compile-match.ts'
import type { RequestView } from './exchange.ts'
import { Kind } from './outcome.ts'
import { shared } from './shared.ts'

/** A header and what its value must be like. */
export interface HeaderCheck {
  readonly name: string
  readonly test: HeaderValueTest
}

/** Retry rules, compiled: a bit per kind and gRPC code, and a byte per status. */
export interface RetryPolicy {
  readonly spec: RetrySpec
  readonly numRetries: number
  /** Bit n = Kind n is retried. */
  readonly kinds: number
  /** Index = HTTP status. */
  readonly statuses: Uint8Array
  /** Bit n = gRPC code n is retried. */
  readonly grpcCodes: number
  /** Whatever broke before the request was given to a connection (reset-before-request). */
  readonly unsentReset: boolean
  readonly rateLimited: boolean
  /** Any of them on the answer; null = none is asked for. */
  readonly answerHeaders: readonly HeaderCheck[] | null
  /** Any of them on the request, else nothing is retried; null = all requests. */
  readonly requestHeaders: readonly ((request: RequestView) => boolean)[] | null
}

const bit = (kind: Kind) => 1 << kind
/** What Envoy turns into a reset: a broken connection, a per-try timeout, garbage. */
const RESETS = bit(Kind.Reset) | bit(Kind.TryTimeout) | bit(Kind.ProtocolError)
export const ALL_RESETS: number = RESETS | bit(Kind.ConnectFailure) | bit(Kind.Refused)

const grpcCodeOf: Partial<Record<RetryOn, number>> = {
  cancelled: 1,
  'deadline-exceeded': 4,
  internal: 13,
  'resource-exhausted': 8,
  unavailable: 14,
}

/**
 * Envoy's retry_on words (x-envoy-retry-on, x-envoy-retry-grpc-on). Those for gRPC codes are about answers that carry a
 * `grpc-status` in their head. There is no HTTP/3, so http3-post-connect-failure never happens. `retriable-status-codes` only
 * announces `statusCodes`, which count without it too (Istio's bare numbers). Status numbers mean answers of a peer: a reset
 * that became a 503 here is a `reset`.
 */
export const compileRetry: (spec: RetrySpec) => RetryPolicy = shared((spec) => {
  let kinds = 0
  let grpcCodes = 0
  const statuses = new Uint8Array(1000)
  for (const word of spec.retryOn) {
    switch (word) {
      case '5xx':
        kinds |= ALL_RESETS
        statuses.fill(1, 500, 600)
        break
      case 'gateway-error':
        kinds |= ALL_RESETS
        statuses.fill(1, 502, 505)
        break
      case 'reset':
        kinds |= ALL_RESETS
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
        grpcCodes |= grpcCodeOf[word] === undefined ? 0 : 1 << grpcCodeOf[word]
    }
  }
  for (const status of spec.statusCodes) if (status > 0 && status < 1000) statuses[status] = 1
  const byHeader = spec.retryOn.includes('retriable-headers') && spec.retriableHeaders.length > 0
  return {
    spec,
    numRetries: spec.numRetries,
    kinds,
    statuses,
    grpcCodes,
    unsentReset: spec.retryOn.includes('reset-before-request'),
    rateLimited: spec.retryOn.includes('envoy-ratelimited'),
    answerHeaders: byHeader ? spec.retriableHeaders.map(check) : null,
    requestHeaders: spec.retriableRequestHeaders.length === 0 ? null : spec.retriableRequestHeaders.map(compileHeader),
  }
})

function check(match: HeaderMatch): HeaderCheck {
  return { name: match.name, test: compileHeaderValue(match) }
}
