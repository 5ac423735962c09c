import { AsyncLocalStorage } from 'node:async_hooks'
import type { Context } from '@opentelemetry/api'

/**
 * What a call carries on from the request in whose handling it is made: its trace and correlation headers, verbatim. One
 * object per inbound request; immutable.
 */
export interface CallContext {
  /** Valid, or '' when there is none. */
  readonly traceparent: string
  readonly tracestate: string
  /** '' when absent or longer than 8 KiB. */
  readonly baggage: string
  readonly requestId: string
  /** b3 and x-b3-* headers as name, value, name, value...; null = none. */
  readonly b3: readonly string[] | null
  /** OpenTelemetry's own context, when a tracer provider is registered. */
  readonly otel: Context | null
}

/**
 * Where handlers find the request that they work for. One storage per process, whichever copy of the library made it: two
 * copies (say, of an app and of a plug-in) share it.
 */
const KEY = Symbol.for('inmesh.context.v1')
const shared = globalThis as { [KEY]?: AsyncLocalStorage<CallContext> }
shared[KEY] ??= new AsyncLocalStorage<CallContext>()
export const callContext: AsyncLocalStorage<CallContext> = shared[KEY]

/** Bits of `present` in `inject`: headers that the caller has set itself, which ours never override. */
export const Carried = { traceparent: 1, tracestate: 2, baggage: 4, requestId: 8, b3: 16 } as const

/** The bit of a header name in any case; 0 for all others. Costs a length comparison for most names. */
export function carriedBit(name: string): number {
  switch (name.length) {
    case 2:
      return name.toLowerCase() === 'b3' ? Carried.b3 : 0
    case 7:
      return name.toLowerCase() === 'baggage' ? Carried.baggage : 0
    case 10:
      return name.toLowerCase() === 'tracestate' ? Carried.tracestate : 0
    case 11:
      return name.toLowerCase() === 'traceparent' ? Carried.traceparent : 0
    case 12: {
      const lower = name.toLowerCase()
      return lower === 'x-request-id' ? Carried.requestId : lower === 'x-b3-traceid' ? Carried.b3 : 0
    }
    default:
      return 0
  }
}

/** Appends the context to a flat header array (name, value, ...), leaving out what `present` has. */
export function inject(context: CallContext, traceparent: string, present: number, headers: string[]): void {
  if ((present & Carried.traceparent) === 0) {
    if (traceparent !== '') headers.push('traceparent', traceparent)
    // A tracestate belongs to its traceparent: the caller's own trace must not get that of another.
    if (context.tracestate !== '' && (present & Carried.tracestate) === 0)
      headers.push('tracestate', context.tracestate)
  }
  if (context.baggage !== '' && (present & Carried.baggage) === 0) headers.push('baggage', context.baggage)
  if (context.requestId !== '' && (present & Carried.requestId) === 0) headers.push('x-request-id', context.requestId)
  if (context.b3 !== null && (present & (Carried.b3 | Carried.traceparent)) === 0) headers.push(...context.b3)
}
