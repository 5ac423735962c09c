import { AsyncLocalStorage } from 'node:async_hooks'
import type { Context } from '@opentelemetry/api'

/**
 * What a call carries on from the request in whose handling it is made: its trace and correlation headers, verbatim. One
 * object per inbound request; immutable for all but the one who makes it.
 */
export interface CallContext {
  /** Valid, or '' when there is none to be sent. */
  readonly traceparent: string
  readonly tracestate: string
  /** '' when absent or longer than 8 KiB. */
  readonly baggage: string
  readonly requestId: string
  /** IP address of the peer that made the request; absent = unknown. */
  readonly remoteAddress?: string
  /** b3 and x-b3-* headers as name, value, name, value...; null = none. */
  readonly b3: readonly string[] | null
  /** OpenTelemetry's context with the span to be the parent, when a tracer provider is registered and the trace is recorded. */
  readonly otel: Context | null
}

/** Nothing to carry. */
export const noContext: CallContext = {
  traceparent: '',
  tracestate: '',
  baggage: '',
  requestId: '',
  b3: null,
  otel: null,
}

/**
 * Where calls find the request on whose behalf they are made. One storage per process, whichever copy of the library made
 * it: two copies (say, of an app and of a plug-in) share it.
 */
const KEY = Symbol.for('inmesh.context.v1')
const shared = globalThis as { [KEY]?: AsyncLocalStorage<CallContext> }
shared[KEY] ??= new AsyncLocalStorage<CallContext>()
export const callContext: AsyncLocalStorage<CallContext> = shared[KEY]
