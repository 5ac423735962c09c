import {
  type Context,
  context,
  createContextKey,
  type ProxyTracerProvider,
  ROOT_CONTEXT,
  type SpanContext,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { parseTraceparent, type SpanRef } from './traceparent.ts'

/** The name under which spans say who made them (OpenTelemetry's instrumentation scope). */
const SCOPE = 'inmesh'

let known: unknown = null
let tracer: Tracer | null = null

/** The tracer of the provider that is registered now, by the app or by `startSdk`; null = none, so record nothing. */
export function activeTracer(): Tracer | null {
  // The API always gives a proxy; what it stands for tells a registered provider from none.
  const provider = trace.getTracerProvider() as Partial<ProxyTracerProvider>
  const delegate = provider.getDelegate?.() ?? provider
  if (delegate !== known) {
    known = delegate
    tracer = delegate.constructor.name === 'NoopTracerProvider' ? null : trace.getTracer(SCOPE)
  }
  return tracer
}

/** The key of @opentelemetry/core, which is made by Symbol.for: no dependency on that package is needed. */
const SUPPRESS = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING')

/**
 * Calls `send(arg)` such that other instrumentation of the same HTTP client sees a call that is not to be traced: without
 * this it would add a span that names the endpoint and a second traceparent.
 */
export function quietly<A>(send: (arg: A) => void, arg: A): void {
  if (activeTracer() === null) send(arg)
  else context.with(context.active().setValue(SUPPRESS, true), send, undefined, arg)
}

/** OpenTelemetry's context of a remote parent. */
export function remoteParent(traceparent: string): Context {
  const ref = parseTraceparent(traceparent)
  return ref === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, remoteSpan(ref))
}

function remoteSpan(ref: SpanRef): SpanContext {
  return { traceId: ref.traceId, spanId: ref.spanId, traceFlags: ref.flags, isRemote: true }
}
