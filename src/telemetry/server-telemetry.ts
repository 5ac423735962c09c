import {
  type Attributes,
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import type { Clock } from '../model/clock.ts'
import type { Peer } from '../model/peer.ts'
import { type CallContext, callContext, type Hop } from './context.ts'
import { newRequestId } from './ids.ts'
import type { Metrics } from './metrics.ts'
import { activeTracer, remoteParent } from './otel.ts'
import { isServerError, rpcAttributes, rpcName } from './rpc-semantics.ts'
import { methodName, splitAuthority, withoutQuery } from './semantics.ts'
import type { Protocol } from './series.ts'
import { isSampled, isTraceparent, traceparentOfB3 } from './traceparent.ts'

/** What telemetry reads of an inbound request, before anything was decided about it. */
export interface RequestHead {
  /** Absent = HTTP. A request of gRPC ends with its status of gRPC in the place of HTTP's. */
  readonly protocol?: 'grpc'
  readonly method: string
  readonly authority: string
  /** With query. */
  readonly path: string
  /** null = plaintext. */
  readonly peer: Peer | null
  /** IP address of the socket's peer. */
  readonly remoteAddress: string
  /** What its handler's calls must heed; absent = nothing. */
  readonly hop?: Hop | null
  /** Lower-case name. */
  header(name: string): string | undefined
}

/** An inbound request in flight: the context of its handler's calls, and what its end needs. Opaque but for `requestId`. */
export interface ServerRequest extends CallContext {
  /** To be set on the request as x-request-id: its own when a mesh peer sent one, else a new one. */
  readonly requestId: string
}

/**
 * What a server tells telemetry, whichever its protocol. null in its place = telemetry is off.
 *
 *     const seen = telemetry.start(head)
 *     telemetry.run(seen, listener, req, res)   // or a local reply, without run
 *     telemetry.end(seen, res.statusCode, '')   // exactly once, when the response is finished or its connection is gone
 */
export interface ServerTelemetry {
  start(head: RequestHead): ServerRequest
  /** Calls `handler(a, b)` such that the calls which it makes, now and later, carry the trace. */
  run<A, B>(request: ServerRequest, handler: (a: A, b: B) => void, a: A, b: B): void
  /**
   * `status` 0 = the client went away before the head; of gRPC: the call's own status (1 when the client went away). `flags`:
   * Envoy's response flags, '' or '-' = none.
   */
  end(request: ServerRequest, status: number, flags: string): void
}

/** Longer baggage is dropped (W3C Baggage section 3.3.2 asks for no more than 8,192 bytes). */
const MAX_BAGGAGE = 8_192
/** A request id of a peer beyond this is not an id. */
const MAX_REQUEST_ID = 128
const b3Names = ['b3', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled', 'x-b3-flags'] as const

class Inflight implements ServerRequest {
  readonly traceparent: string
  readonly tracestate: string
  readonly baggage: string
  readonly requestId: string
  readonly b3: readonly string[] | null
  readonly hop: Hop | null
  otel: Context | null = null
  span: Span | null = null
  readonly peer: Peer | null
  readonly remoteAddress: string
  readonly startedAt: number
  readonly protocol: Protocol

  constructor(head: RequestHead, now: number) {
    this.protocol = head.protocol ?? 'http'
    const given = head.header('traceparent')
    this.b3 = b3Of(head)
    if (isTraceparent(given)) {
      this.traceparent = given
      this.tracestate = head.header('tracestate') ?? ''
    } else {
      this.traceparent = (this.b3 === null ? undefined : traceparentOfB3((name) => head.header(name))) ?? ''
      this.tracestate = ''
    }
    const baggage = head.header('baggage') ?? ''
    this.baggage = baggage.length > MAX_BAGGAGE ? '' : baggage
    const id = head.peer === null ? undefined : head.header('x-request-id')
    this.requestId = id === undefined || id === '' || id.length > MAX_REQUEST_ID ? newRequestId() : id
    this.peer = head.peer
    this.remoteAddress = head.remoteAddress
    this.hop = head.hop ?? null
    this.startedAt = now
  }
}

/** The one implementation: metrics always, spans when a tracer provider is registered and the trace is sampled. */
export function createServerTelemetry(metrics: Metrics, clock: Clock): ServerTelemetry {
  return {
    start(head) {
      const request = new Inflight(head, clock.now())
      if (head.peer === null) metrics.plaintextFrom(head.remoteAddress)
      const tracer = activeTracer()
      if (tracer !== null && (request.traceparent === '' || isSampled(request.traceparent))) startSpan(request, head)
      return request
    },

    run(request, handler, a, b) {
      const { otel } = request
      if (otel === null) callContext.run(request, handler, a, b)
      else context.with(otel, () => callContext.run(request, handler, a, b))
    },

    end(request, status, flags) {
      const { peer, startedAt, span, protocol } = request as Inflight
      metrics.inbound(peer, protocol).record(status, flags === '-' ? '' : flags, clock.now() - startedAt)
      if (span === null) return
      if (protocol === 'grpc') {
        endRpc(span, status)
        return
      }
      if (status !== 0) span.setAttribute('http.response.status_code', status)
      if (status >= 500 || status === 0) {
        span.setAttribute('error.type', status === 0 ? 'cancelled' : String(status))
        span.setStatus({ code: SpanStatusCode.ERROR })
      }
      span.end()
    },
  }
}

function endRpc(span: Span, grpcStatus: number): void {
  span.setAttribute('rpc.grpc.status_code', grpcStatus)
  if (isServerError(grpcStatus)) {
    span.setAttribute('error.type', String(grpcStatus))
    span.setStatus({ code: SpanStatusCode.ERROR })
  }
  span.end()
}

function b3Of(head: RequestHead): readonly string[] | null {
  if (head.header('b3') === undefined && head.header('x-b3-traceid') === undefined) return null
  const found: string[] = []
  for (const name of b3Names) {
    const value = head.header(name)
    if (value !== undefined) found.push(name, value)
  }
  return found
}

function httpSpan(head: RequestHead): { name: string; attributes: Attributes } {
  const { method, original } = methodName(head.method)
  const attributes: Attributes = { 'http.request.method': method, 'url.scheme': 'http' }
  if (original !== null) attributes['http.request.method_original'] = original
  // Without the query: it may hold secrets.
  attributes['url.path'] = withoutQuery(head.path)
  return { name: original === null ? method : 'HTTP', attributes }
}

function rpcSpan({ path }: RequestHead): { name: string; attributes: Attributes } {
  return { name: rpcName(path), attributes: rpcAttributes(path) }
}

/** Lets the propagators that the app chose read what we do not: its baggage, above all. */
const headGetter = { get: (head: RequestHead, name: string) => head.header(name.toLowerCase()), keys: () => [] }

/** OpenTelemetry semantic conventions for HTTP 1.x, "HTTP server", or for gRPC. */
function startSpan(request: Inflight, head: RequestHead): void {
  // The app's own instrumentation of node:http was first: its span is the parent of what the handler does.
  const active = context.active()
  const own = trace.getSpan(active) as (Span & { readonly kind?: SpanKind }) | undefined
  if (own?.isRecording() && own.kind === SpanKind.SERVER) {
    request.otel = active
    return
  }
  const { name, attributes } = head.protocol === 'grpc' ? rpcSpan(head) : httpSpan(head)
  const server = splitAuthority(head.authority, 80)
  const remote = request.traceparent === '' ? ROOT_CONTEXT : remoteParent(request.traceparent)
  const parent = propagation.extract(remote, head, headGetter)
  const span = activeTracer()!.startSpan(
    name,
    {
      kind: SpanKind.SERVER,
      attributes: {
        ...attributes,
        'server.address': server.host,
        'server.port': server.port,
        'client.address': head.remoteAddress,
        'network.peer.address': head.remoteAddress,
        'user_agent.original': head.header('user-agent'),
        ...(head.peer === null ? {} : { 'inmesh.source.principal': head.peer.spiffeId }),
      },
    },
    parent,
  )
  request.otel = trace.setSpan(parent, span)
  if (span.isRecording()) request.span = span
}
