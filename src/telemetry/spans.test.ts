import { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { NodeSDK } from '@opentelemetry/sdk-node'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { Kind } from '../engine/outcome.ts'
import { systemClock } from '../model/clock.ts'
import { callContext } from './context.ts'
import { newTraceparent } from './ids.ts'
import { Metrics } from './metrics.ts'
import { quietly } from './otel.ts'
import { createServerTelemetry, type ServerRequest } from './server-telemetry.ts'
import { endAttempt, startAttempt, startCall } from './testing/fake-call.ts'

interface Recorded {
  name: string
  kind: SpanKind
  attributes: Record<string, unknown>
  status: { code: SpanStatusCode }
  parentSpanContext?: { traceId: string; spanId: string }
  spanContext(): { traceId: string; spanId: string }
}

const recorded: Recorded[] = []
const sdk = new NodeSDK({
  autoDetectResources: false,
  instrumentations: [],
  metricReaders: [],
  logRecordProcessors: [],
  spanProcessors: [
    {
      onStart: () => undefined,
      onEnd: (span) => void recorded.push(span as unknown as Recorded),
      forceFlush: async () => undefined,
      shutdown: async () => undefined,
    },
  ],
})
const telemetry = createServerTelemetry(
  new Metrics({
    service: 'orders',
    namespace: 'default',
    serviceAccount: 'orders',
    trustDomain: 'cluster.local',
    labels: { app: 'orders' },
    locality: '',
    instanceId: 'orders-1',
  }),
  systemClock,
)
const receive = (headers: Record<string, string> = {}) =>
  telemetry.start({
    method: 'POST',
    authority: 'orders',
    path: '/orders?token=secret',
    peer: null,
    remoteAddress: '10.1.1.1',
    header: (name) => headers[name],
  })
const during = <T>(request: ServerRequest, work: () => T): T => {
  const results: T[] = []
  telemetry.run(request, () => void results.push(work()), null, null)
  return results[0]!
}
const idOf = (traceparent: string | undefined) => ({
  traceId: traceparent?.slice(3, 35),
  spanId: traceparent?.slice(36, 52),
})

beforeAll(() => sdk.start())
afterEach(() => void recorded.splice(0))
afterAll(() => sdk.shutdown())

describe('with a tracer provider', () => {
  it('calls of gRPC are named and described as such, and end with its status', () => {
    const path = '/shop.Payments/Charge'
    const head = { method: 'POST', authority: 'orders', path, peer: null, remoteAddress: '10.1.1.1' }
    const request = telemetry.start({ ...head, protocol: 'grpc', header: () => undefined })
    const call = during(request, () => startCall({}, path, 'grpc'))
    const first = startAttempt(call)
    endAttempt(first.attempt, 200, Kind.Response, 14)
    const second = startAttempt(call, first.attempt)
    endAttempt(second.attempt, 200, Kind.Response, 0)
    telemetry.end(request, 5, '')
    const [failed, repeated, server] = recorded
    expect(failed).toMatchObject({ name: 'shop.Payments/Charge', kind: SpanKind.CLIENT })
    expect(failed!.status).toEqual({ code: SpanStatusCode.ERROR })
    expect(failed!.attributes).toEqual({
      'rpc.system': 'grpc',
      'rpc.service': 'shop.Payments',
      'rpc.method': 'Charge',
      'rpc.grpc.status_code': 14,
      'error.type': '14',
      'server.address': 'payments',
      'server.port': 8080,
      'network.peer.address': '10.0.0.7',
      'network.peer.port': 8443,
    })
    expect(repeated!.status).toEqual({ code: SpanStatusCode.UNSET })
    expect(repeated!.attributes).toMatchObject({ 'rpc.grpc.status_code': 0, 'previous-rpc-attempts': 1 })
    // NOT_FOUND is the caller's affair.
    expect(server).toMatchObject({ name: 'shop.Payments/Charge', status: { code: SpanStatusCode.UNSET } })
    expect(server!.attributes).toMatchObject({ 'rpc.method': 'Charge', 'rpc.grpc.status_code': 5 })
    expect(server!.attributes).not.toHaveProperty(['http.request.method'])
  })

  it.each([
    [1, SpanStatusCode.UNSET],
    [2, SpanStatusCode.ERROR],
    [7, SpanStatusCode.UNSET],
    [13, SpanStatusCode.ERROR],
  ])('a server span of status %i', (status, code) => {
    const head = { method: 'POST', authority: 'orders', path: '/a.B/C', peer: null, remoteAddress: '10.1.1.1' }
    telemetry.end(telemetry.start({ ...head, protocol: 'grpc', header: () => undefined }), status, '')
    expect(recorded[0]!.status).toEqual({ code })
  })

  it('server span, client span and wire are one chain, although the app forwards nothing', () => {
    const remote = newTraceparent(true)
    const request = receive({ traceparent: remote, tracestate: 'vendor=1' })
    const { attempt, wire } = during(request, () => startAttempt(startCall()))
    endAttempt(attempt, 200)
    telemetry.end(request, 201, '')
    const [client, server] = recorded
    expect(server!.parentSpanContext).toMatchObject(idOf(remote))
    expect(client!.parentSpanContext).toMatchObject({ ...idOf(remote), spanId: server!.spanContext().spanId })
    expect(client!.spanContext()).toMatchObject(idOf(wire.traceparent))
    expect(wire.tracestate).toBe('vendor=1')
  })

  it('says who was called, where it went and what came, and keeps queries to itself', () => {
    const request = receive()
    const { attempt } = during(request, () => startAttempt(startCall()))
    endAttempt(attempt, 404)
    telemetry.end(request, 500, '')
    const [client, server] = recorded
    expect(client).toMatchObject({ name: 'GET', kind: SpanKind.CLIENT, status: { code: SpanStatusCode.ERROR } })
    expect(client!.attributes).toEqual({
      'http.request.method': 'GET',
      'http.response.status_code': 404,
      'error.type': '404',
      'server.address': 'payments',
      'server.port': 8080,
      'url.full': 'http://payments:8080/charge',
      'network.peer.address': '10.0.0.7',
      'network.peer.port': 8443,
    })
    expect(server).toMatchObject({ name: 'POST', kind: SpanKind.SERVER, status: { code: SpanStatusCode.ERROR } })
    expect(server!.attributes).toMatchObject({
      'url.path': '/orders',
      'http.response.status_code': 500,
      'error.type': '500',
    })
  })

  it('every attempt is a span of its own, resends are counted, and all are one trace even at its root', () => {
    const call = startCall()
    const first = startAttempt(call)
    endAttempt(first.attempt, 0, Kind.ConnectFailure)
    const second = startAttempt(call, first.attempt)
    endAttempt(second.attempt, 200)
    expect(recorded).toHaveLength(2)
    expect(recorded[0]!.attributes).toMatchObject({ 'error.type': 'connect-failure' })
    expect(recorded[0]!.attributes).not.toHaveProperty('http.request.resend_count')
    expect(recorded[1]!.attributes).toMatchObject({ 'http.request.resend_count': 1 })
    expect(recorded[1]!.spanContext().traceId).toBe(recorded[0]!.spanContext().traceId)
    expect(second.wire.traceparent).not.toBe(first.wire.traceparent)
  })

  it('a trace that is not sampled gets headers and no spans', () => {
    const remote = newTraceparent(false)
    const request = receive({ traceparent: remote })
    const { attempt, wire } = during(request, () => startAttempt(startCall()))
    endAttempt(attempt, 200)
    telemetry.end(request, 200, '')
    expect(recorded).toEqual([])
    expect(wire.traceparent).toBe(remote)
  })

  it("the app's own span is the parent of its calls", () => {
    const tracer = trace.getTracer('app')
    const { wire, attempt } = during(receive(), () =>
      tracer.startActiveSpan('work', (span) => {
        const started = startAttempt(startCall())
        span.end()
        return started
      }),
    )
    endAttempt(attempt, 200)
    const work = recorded.find((span) => span.name === 'work')!
    expect(recorded.find((span) => span.kind === SpanKind.CLIENT)!.parentSpanContext).toMatchObject(work.spanContext())
    expect(idOf(wire.traceparent).traceId).toBe(work.spanContext().traceId)
  })

  it("a traceparent that the app forwards by hand is the span's parent, and what is sent names the span", () => {
    const own = newTraceparent(true)
    const { wire, attempt } = startAttempt(startCall({ traceparent: own, tracestate: 'a=b' }))
    endAttempt(attempt, 200)
    expect(recorded[0]!.parentSpanContext).toMatchObject(idOf(own))
    expect(idOf(wire.traceparent)).toEqual(expect.objectContaining({ traceId: own.slice(3, 35) }))
    expect(wire.traceparent).not.toBe(own)
  })

  it("where the app's instrumentation has traced the call already, nothing is added", () => {
    const tracer = trace.getTracer('instrumentation')
    const span = tracer.startSpan('GET', { kind: SpanKind.CLIENT })
    const headers: Record<string, string> = {}
    const { wire, attempt } = context.with(trace.setSpan(ROOT_CONTEXT, span), () => {
      propagation.inject(context.active(), headers)
      return startAttempt(startCall(headers))
    })
    endAttempt(attempt, 200)
    expect(recorded).toEqual([])
    expect(wire).toEqual(headers)
  })

  it("where the app's instrumentation has traced the request already, its span is used", () => {
    const tracer = trace.getTracer('instrumentation')
    const span = tracer.startSpan('POST', { kind: SpanKind.SERVER })
    const request = context.with(trace.setSpan(ROOT_CONTEXT, span), () => receive())
    const { attempt } = during(request, () => startAttempt(startCall()))
    endAttempt(attempt, 200)
    telemetry.end(request, 200, '')
    expect(recorded.map((s) => s.kind)).toEqual([SpanKind.CLIENT])
    expect(recorded[0]!.parentSpanContext).toMatchObject(span.spanContext())
  })

  it('the HTTP client below is not instrumented a second time', () => {
    const seen: boolean[] = []
    const send = (traced: boolean) => {
      const span = trace.getTracer('instrumentation').startSpan('inner')
      seen.push(span.isRecording(), traced)
    }
    quietly(send, true)
    expect(seen).toEqual([false, true])
  })

  it('baggage that the app changed goes out as it is now', () => {
    const request = receive({ traceparent: newTraceparent(true), baggage: 'user=7' })
    const changed = during(request, () => {
      const baggage = propagation.getBaggage(context.active())!.setEntry('tier', { value: 'gold' })
      return context.with(propagation.setBaggage(context.active(), baggage), () => startAttempt(startCall()))
    })
    expect(changed.wire.baggage).toBe('user=7,tier=gold')
    expect(callContext.getStore()).toBeUndefined()
  })

  it('B3 callers get B3 that names our span', () => {
    const id = '4bf92f3577b34da6a3ce929d0e0e4736'
    const request = receive({ b3: `${id}-00f067aa0ba902b7-1` })
    const { wire } = during(request, () => startAttempt(startCall()))
    expect(wire.b3).toBe(`${id}-${wire.traceparent!.slice(36, 52)}-1`)
    telemetry.end(request, 200, '')
    expect(recorded[0]!.parentSpanContext).toMatchObject({ traceId: id, spanId: '00f067aa0ba902b7' })
  })

  it('methods that nobody knows do not become span names', () => {
    const request = telemetry.start({
      method: 'BREW',
      authority: 'orders:99999x',
      path: '/',
      peer: null,
      remoteAddress: '::1',
      header: () => undefined,
    })
    telemetry.end(request, 0, '')
    expect(recorded[0]).toMatchObject({
      name: 'HTTP',
      attributes: {
        'http.request.method': '_OTHER',
        'http.request.method_original': 'BREW',
        'error.type': 'cancelled',
      },
    })
  })
})
