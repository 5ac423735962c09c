import type { Attempt } from '../engine/attempt.ts'
import { REPEAT_HEADER } from '../engine/retry-tree.ts'
import { type Priority, priorities } from '../model/route.ts'

/** ms that the sender waits for the answer of this try (Envoy). */
export const EXPECTED_HEADER = 'x-envoy-expected-rq-timeout-ms'
/** Number of this try, from 2: what has none is the first one (Envoy include_request_attempt_count; a header costs 0.4 µs). */
export const ATTEMPT_HEADER = 'x-envoy-attempt-count'

/** Class of work: SHEDDABLE, DEFAULT or CRITICAL. Servers believe verified peers only. */
export const PRIORITY_HEADER = 'x-inmesh-priority'

/** The class that a request names; null = none that is known. */
export function priorityOf(text: string | string[] | undefined): Priority | null {
  return (priorities as readonly unknown[]).includes(text) ? (text as Priority) : null
}

/** Appends what the peer of one try should know of its sender but for how long it waits: what it repeats, and its class. */
export function tellPeer(headers: string[], attempt: Attempt): void {
  const { call } = attempt
  if (attempt.number > 1) headers.push(ATTEMPT_HEADER, String(attempt.number))
  if (call.repeats > 0 || call.exchange.tree?.repeated === true) headers.push(REPEAT_HEADER, '1')
  const priority = call.exchange.priority ?? call.route.priority
  if (priority !== null && priority !== 'DEFAULT') headers.push(PRIORITY_HEADER, priority)
}

/** Appends how long the sender of one try waits for its answer. */
export function tellWait(headers: string[], attempt: Attempt): void {
  const { call } = attempt
  if (call.deadline === Number.POSITIVE_INFINITY && call.tryTimeoutMs === Number.POSITIVE_INFINITY) return
  const ms = attempt.remainingMs(call.now)
  if (ms !== Number.POSITIVE_INFINITY) headers.push(EXPECTED_HEADER, String(Math.max(1, Math.floor(ms))))
}

/** What the caller's side of the mesh tells the app, for it to read: believed of verified peers, taken out else. */
export const toldToApps: ReadonlySet<string> = new Set([
  'x-envoy-original-path',
  'x-envoy-original-host',
  'x-envoy-attempt-count',
])

/** Whether a header is one by which mesh proxies talk to each other; in any case. */
export function isMeshHeader(name: string): boolean {
  if ((name.charCodeAt(0) | 0x20) !== 0x78 || name.charCodeAt(1) !== 0x2d) return false
  const third = name.charCodeAt(2) | 0x20
  // e, f, i
  if (third !== 0x65 && third !== 0x66 && third !== 0x69) return false
  const lower = name.toLowerCase()
  return (
    lower.startsWith('x-inmesh-') ||
    lower.startsWith('x-envoy-') ||
    lower.startsWith('x-istio-') ||
    lower === 'x-forwarded-client-cert'
  )
}
