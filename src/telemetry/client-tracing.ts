import {
  type Attributes,
  type Context,
  context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import type { Attempt } from '../engine/attempt.ts'
import type { CallEvents } from '../engine/events.ts'
import { Kind, kindFacts } from '../engine/outcome.ts'
import { type CallContext, callContext, noContext } from './context.ts'
import { newTraceparent } from './ids.ts'
import { activeTracer, remoteParent } from './otel.ts'
import { rpcAttributes, rpcName } from './rpc-semantics.ts'
import { methodName, splitAuthority, withoutQuery } from './semantics.ts'
import { formatTraceparent, isTraceparent } from './traceparent.ts'

/** The kind of an SDK's span; the API does not show it. */
type SdkSpan = Span & { readonly kind?: SpanKind }

/**
 * Carries the trace of the request in whose handling a call is made, and records one CLIENT span per attempt when a tracer
 * provider is registered and the trace is sampled. Otherwise there is a header and nothing else.
 *
 * The parent is, in this order: a traceparent that the caller set itself, OpenTelemetry's active span, the inbound request,
 * none. A new trace without a provider is marked as sampled, because that is what OpenTelemetry's default sampler would say
 * in the service that records it first.
 */
export const clientTracing: CallEvents = {
  callStart(call) {
    const own = call.exchange.header('traceparent')
    const tracer = activeTracer()
    const inbound = callContext.getStore() ?? null
    const given = own !== undefined && isTraceparent(own) ? own : null
    if (tracer !== null) call.trace = recordable(given, inbound)
    else if (given !== null) call.trace = inbound === null ? noContext : withTrace(inbound, '', '', null)
    else if (inbound !== null && inbound.traceparent !== '') call.trace = inbound
    else call.trace = inbound === null ? newTrace : withTrace(inbound, newTraceparent(true), '', null)
  },

  attemptStart(attempt) {
    const carried = attempt.call.trace as CallContext
    if (carried === newTrace) {
      attempt.traceparent = attempt.previous?.traceparent ?? newTraceparent(true)
      return
    }
    const tracer = carried.otel === null ? null : activeTracer()
    if (tracer !== null) startSpan(tracer, attempt, carried.otel!)
    else if (carried.traceparent !== '') {
      attempt.traceparent = carried.traceparent
      attempt.tracestate = carried.tracestate
    }
  },

  attemptEnd(attempt) {
    const span = attempt.trace as Span | null
    if (span === null) return
    const rpc = attempt.call.exchange.protocol === 'grpc'
    if (rpc) {
      if (attempt.grpcStatus >= 0) span.setAttribute('rpc.grpc.status_code', attempt.grpcStatus)
    } else if (attempt.status !== 0) span.setAttribute('http.response.status_code', attempt.status)
    const error = rpc ? rpcErrorType(attempt) : errorType(attempt)
    if (error !== '') {
      span.setAttribute('error.type', error)
      span.setStatus({ code: SpanStatusCode.ERROR })
    }
    span.end()
  },

  callEnd() {},
}

/** Nothing but a trace that begins with the first attempt: one object for all such calls, which are most. */
const newTrace: CallContext = { ...noContext }

/** What a call carries while a provider is registered: its parent decides whether it is recorded. */
function recordable(given: string | null, inbound: CallContext | null): CallContext {
  const active = context.active()
  const base = withBaggage(inbound ?? noContext, active)
  const span = trace.getSpan(active)
  // The app's own instrumentation of its HTTP client has opened the span of this call and written its header.
  if (given !== null && span?.isRecording() && (span as SdkSpan).kind === SpanKind.CLIENT)
    return withTrace(base, '', '', null)
  const parent = given !== null ? remoteParent(given) : parentOf(active, span, base)
  const ref = trace.getSpanContext(parent)
  if (ref === undefined || (ref.traceFlags & TraceFlags.SAMPLED) !== 0) return withTrace(base, '', '', parent)
  if (given !== null) return withTrace(base, '', '', null)
  return withTrace(base, formatTraceparent({ ...ref, flags: ref.traceFlags }), ref.traceState?.serialize() ?? '', null)
}

/** An app that uses OpenTelemetry's baggage may have changed it; theirs goes first. */
function withBaggage(base: CallContext, active: Context): CallContext {
  const written: { baggage?: string } = {}
  propagation.inject(active, written)
  return written.baggage === undefined ? base : { ...base, baggage: written.baggage }
}

function parentOf(active: Context, span: Span | undefined, base: CallContext): Context {
  if (span !== undefined && isSpanContextValid(span.spanContext())) return active
  if (base.otel !== null) return base.otel
  return base.traceparent === '' ? ROOT_CONTEXT : remoteParent(base.traceparent)
}

function withTrace(base: CallContext, traceparent: string, tracestate: string, otel: Context | null): CallContext {
  const { baggage, requestId, b3, hop } = base
  return { traceparent, tracestate, baggage, requestId, b3, otel, hop }
}

/** OpenTelemetry semantic conventions for HTTP 1.x, "HTTP client", or for gRPC: one span per attempt, resends counted. */
function startSpan(tracer: Tracer, attempt: Attempt, parent: Context): void {
  const { exchange } = attempt.call
  const server = splitAuthority(exchange.authority, 80)
  const { name, attributes } = exchange.protocol === 'grpc' ? rpcSpan(attempt) : httpSpan(attempt)
  attributes['server.address'] = server.host
  attributes['server.port'] = server.port
  attributes['network.peer.address'] = attempt.host.spec.address
  attributes['network.peer.port'] = attempt.host.spec.port
  const span = tracer.startSpan(
    name,
    { kind: SpanKind.CLIENT, attributes },
    parent === ROOT_CONTEXT ? firstAttempt(attempt) : parent,
  )
  const ref = span.spanContext()
  attempt.traceparent = formatTraceparent({ ...ref, flags: ref.traceFlags })
  attempt.tracestate = ref.traceState?.serialize() ?? ''
  attempt.trace = span
}

function httpSpan(attempt: Attempt): { name: string; attributes: Attributes } {
  const { exchange } = attempt.call
  const { method, original } = methodName(exchange.method)
  const attributes: Attributes = { 'http.request.method': method }
  if (original !== null) attributes['http.request.method_original'] = original
  if (attempt.number > 1) attributes['http.request.resend_count'] = attempt.number - 1
  // Without the query: it may hold secrets.
  attributes['url.full'] = `http://${exchange.authority}${withoutQuery(exchange.path)}`
  return { name: original === null ? method : 'HTTP', attributes }
}

/** Attempts are numbered as in gRFC A72. */
function rpcSpan(attempt: Attempt): { name: string; attributes: Attributes } {
  const { path } = attempt.call.exchange
  const attributes = rpcAttributes(path)
  if (attempt.number > 1) attributes['previous-rpc-attempts'] = attempt.number - 1
  return { name: rpcName(path), attributes }
}

/** The attempts of a call that begins a trace are one trace: those after the first go below it. */
function firstAttempt(attempt: Attempt): Context {
  let first = attempt.previous
  while (first?.previous) first = first.previous
  const span = first?.trace as Span | null | undefined
  return span ? trace.setSpan(ROOT_CONTEXT, span) : ROOT_CONTEXT
}

/** Every status but OK is an error of the call. */
function rpcErrorType(attempt: Attempt): string {
  if (attempt.kind === Kind.Response) return attempt.grpcStatus > 0 ? String(attempt.grpcStatus) : ''
  return kindFacts[attempt.kind]!.name
}

function errorType(attempt: Attempt): string {
  if (attempt.kind === Kind.Response) return attempt.status >= 400 ? String(attempt.status) : ''
  return kindFacts[attempt.kind]!.name
}
