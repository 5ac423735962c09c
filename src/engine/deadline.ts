import type { InboundStep } from './inbound-step.ts'
import { rejections } from './rejection.ts'

/** ms by which a call made in handling a request ends before that request's own time: what is left is for the answer's way up. */
export const DEADLINE_SLACK_MS = 5

/** Work that nobody waits for any more is refused before anything is done for it: 504 DT. */
export const deadlineStep: InboundStep = {
  name: 'deadline',
  admit: (request, now) => (now >= request.deadline ? rejections.expired : undefined),
}

/**
 * How long the sender of a request waits for its answer, ms; Infinity = it does not say.
 * @param expected x-envoy-expected-rq-timeout-ms, if the sender is believed
 * @param grpcTimeout grpc-timeout
 */
export function waitOf(expected: string | undefined, grpcTimeout: string | string[] | undefined): number {
  const ms = expected !== undefined && /^[0-9]{1,9}$/.test(expected) ? Number(expected) : Number.POSITIVE_INFINITY
  return typeof grpcTimeout === 'string' ? Math.min(ms, parseGrpcTimeout(grpcTimeout)) : ms
}

const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 }

/** `grpc-timeout` (gRPC over HTTP/2, Timeout): up to 8 digits and a unit. Infinity = it is none. */
export function parseGrpcTimeout(text: string): number {
  const parts = /^([0-9]{1,8})([HMSmun])$/.exec(text)
  return parts === null ? Number.POSITIVE_INFINITY : Number(parts[1]) * unitMs[parts[2]!]!
}
