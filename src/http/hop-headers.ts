import type { Attempt } from '../engine/attempt.ts'
import { REPEAT_HEADER } from '../engine/retry-tree.ts'

/** ms that the sender waits for the answer of this try (Envoy). */
export const EXPECTED_HEADER = 'x-envoy-expected-rq-timeout-ms'
/** Number of this try, from 1, where the route has retries (Envoy include_request_attempt_count). */
export const ATTEMPT_HEADER = 'x-envoy-attempt-count'

/** Appends what the peer of one try should know of its sender: how long it waits, and what it repeats. */
export function tellPeer(headers: string[], attempt: Attempt): void {
  const { call } = attempt
  if (call.retry !== null || call.route.hedge !== null) headers.push(ATTEMPT_HEADER, String(attempt.number))
  if (call.repeats > 0 || call.exchange.tree?.repeated === true) headers.push(REPEAT_HEADER, '1')
  if (call.deadline === Number.POSITIVE_INFINITY && call.tryTimeoutMs === Number.POSITIVE_INFINITY) return
  const ms = attempt.remainingMs(call.now)
  if (ms !== Number.POSITIVE_INFINITY) headers.push(EXPECTED_HEADER, String(Math.max(1, Math.floor(ms))))
}
