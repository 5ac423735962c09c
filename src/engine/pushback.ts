import type { RetrySpec } from '../model/route.ts'
import type { Attempt } from './attempt.ts'

/** ms since 1970; asked only when a peer names a date. */
interface WallClock {
  wallNow(): number
}

export const Wait = { NotSaid: -1 } as const

/**
 * How long an answer asks to be left alone, ms; `Wait.NotSaid`; Infinity = longer than anybody waits here.
 *
 * `resetHeaders` are Envoy's rate_limited_retry_back_off: the first that can be read and is at most `maxResetIntervalMs` counts.
 * `Retry-After` (RFC 9110 section 10.2.3) and inmesh's `retry-after-ms` count on 429 and 503; what is longer than
 * `maxResetIntervalMs` is not waited for: such an answer is given as it is.
 */
export function askedWait(attempt: Attempt, spec: RetrySpec, clock: WallClock): number {
  for (const { name, format } of spec.resetHeaders) {
    const ms = parseReset(attempt.responseHeader(name), format, clock)
    if (ms >= 0 && ms <= spec.maxResetIntervalMs) return ms
  }
  if (attempt.status !== 429 && attempt.status !== 503) return Wait.NotSaid
  const fine = attempt.responseHeader('retry-after-ms')
  const ms =
    fine !== undefined && /^\d{1,15}$/.test(fine)
      ? Number(fine)
      : parseAfter(attempt.responseHeader('retry-after'), clock)
  return ms > spec.maxResetIntervalMs ? Number.POSITIVE_INFINITY : ms
}

/** Whole seconds from now, or since 1970. */
function parseReset(text: string | undefined, format: 'SECONDS' | 'UNIX_TIMESTAMP', clock: WallClock): number {
  if (text === undefined || !/^\d{1,12}$/.test(text)) return Wait.NotSaid
  const ms = Number(text) * 1000
  return format === 'SECONDS' ? ms : ms - clock.wallNow()
}

/** Seconds or an HTTP date. */
function parseAfter(text: string | undefined, clock: WallClock): number {
  if (text === undefined) return Wait.NotSaid
  if (/^\d{1,12}$/.test(text)) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) || !text.endsWith('GMT') ? Wait.NotSaid : Math.max(0, date - clock.wallNow())
}
