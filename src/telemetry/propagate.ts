import type { Attempt } from '../engine/attempt.ts'
import type { CallContext } from './context.ts'

/** Bits for the propagation headers that a header list has. */
export const Carried = { traceparent: 1, tracestate: 2, baggage: 4, requestId: 8, b3: 16 } as const

/** The bit of a header name in any case; 0 for all others, which costs no more than a look at length and first letter. */
export function carriedBit(name: string): number {
  const first = name.charCodeAt(0) | 0x20
  switch (name.length) {
    case 2:
      return first === B && name.toLowerCase() === 'b3' ? Carried.b3 : 0
    case 7:
      return first === B && name.toLowerCase() === 'baggage' ? Carried.baggage : 0
    case 10:
      return first === T && name.toLowerCase() === 'tracestate' ? Carried.tracestate : 0
    case 11:
      return first === T && name.toLowerCase() === 'traceparent' ? Carried.traceparent : 0
    case 12: {
      if (first !== X) return 0
      const lower = name.toLowerCase()
      return lower === 'x-request-id' ? Carried.requestId : lower === 'x-b3-traceid' ? Carried.b3 : 0
    }
    default:
      return 0
  }
}

/** Letters by their codes, lower case. */
const [B, T, X] = [0x62, 0x74, 0x78]

/** The bits of the caller's own headers that an attempt replaces: leave those headers out. */
export function replacedBits(attempt: Attempt): number {
  return attempt.traceparent === null ? 0 : Carried.traceparent | Carried.tracestate
}

/**
 * Appends to a flat header array (name, value, ...) what an attempt carries of its trace. A transport's loop over the
 * caller's headers:
 *
 *     const replaced = replacedBits(attempt)
 *     let present = 0
 *     for (each name, value) {
 *       const bit = carriedBit(name)
 *       if ((bit & replaced) !== 0) continue
 *       present |= bit
 *       headers.push(name, value)
 *     }
 *     propagate(attempt, present, headers)
 *
 * What the caller has set itself is never doubled.
 */
export function propagate(attempt: Attempt, present: number, headers: string[]): void {
  const { traceparent, tracestate } = attempt
  if (traceparent !== null) {
    headers.push('traceparent', traceparent)
    if (tracestate !== null && tracestate !== '') headers.push('tracestate', tracestate)
  }
  const context = attempt.call.trace as CallContext | null
  if (context === null) return
  if (context.baggage !== '' && (present & Carried.baggage) === 0) headers.push('baggage', context.baggage)
  if (context.requestId !== '' && (present & Carried.requestId) === 0) headers.push('x-request-id', context.requestId)
  if (context.b3 !== null && (present & Carried.b3) === 0) {
    // Verbatim B3 names the span of the caller's caller; once there is a span in between, it must name that one.
    if (attempt.trace === null || traceparent === null) headers.push(...context.b3)
    else headers.push('b3', `${traceparent.slice(3, 35)}-${traceparent.slice(36, 52)}-1`)
  }
}
