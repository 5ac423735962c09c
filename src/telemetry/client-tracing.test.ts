import { describe, expect, it } from 'vitest'
import { type CallContext, callContext, noContext } from './context.ts'
import { newTraceparent } from './ids.ts'
import { startAttempt, startCall } from './testing/fake-call.ts'
import { isSampled, isTraceparent } from './traceparent.ts'

const inbound: CallContext = {
  traceparent: newTraceparent(true),
  tracestate: 'vendor=1',
  baggage: 'user=7',
  requestId: 'r-1',
  b3: null,
  otel: null,
  hop: null,
}
const within = <T>(context: CallContext, work: () => T): T => callContext.run(context, work)

describe('without a tracer provider, a call', () => {
  it('carries on the request in whose handling it is made, though the app forwards nothing', () => {
    const { wire } = within(inbound, () => startAttempt(startCall()))
    expect(wire).toEqual({
      traceparent: inbound.traceparent,
      tracestate: 'vendor=1',
      baggage: 'user=7',
      'x-request-id': 'r-1',
    })
  })

  it('carries it on in every attempt', () => {
    const call = within(inbound, () => startCall())
    const first = startAttempt(call)
    const second = startAttempt(call, first.attempt)
    expect(second.wire).toEqual(first.wire)
  })

  it('outside of any request begins a trace, one for all its attempts, that may be recorded further on', () => {
    const call = startCall()
    const first = startAttempt(call)
    expect(Object.keys(first.wire)).toEqual(['traceparent'])
    expect(isTraceparent(first.wire.traceparent)).toBe(true)
    expect(isSampled(first.wire.traceparent!)).toBe(true)
    expect(startAttempt(call, first.attempt).wire).toEqual(first.wire)
    expect(startAttempt(startCall()).wire).not.toEqual(first.wire)
  })

  it('in a request without a trace keeps the request id and begins a trace', () => {
    const { wire } = within({ ...noContext, requestId: 'r-2' }, () => startAttempt(startCall()))
    expect(wire['x-request-id']).toBe('r-2')
    expect(isTraceparent(wire.traceparent)).toBe(true)
  })

  it('leaves what the app sets itself, and does not mix its trace with another', () => {
    const own = { traceparent: newTraceparent(false), 'x-request-id': 'mine', baggage: 'a=b' }
    expect(within(inbound, () => startAttempt(startCall(own))).wire).toEqual(own)
    expect(startAttempt(startCall(own)).wire).toEqual(own)
  })

  it('replaces a traceparent that is none', () => {
    const { wire } = within(inbound, () => startAttempt(startCall({ traceparent: 'nonsense', tracestate: 'x=y' })))
    expect(wire).toMatchObject({ traceparent: inbound.traceparent, tracestate: 'vendor=1' })
  })

  it('passes B3 headers on verbatim', () => {
    const b3 = ['x-b3-traceid', 'a', 'x-b3-spanid', 'b']
    expect(within({ ...inbound, b3 }, () => startAttempt(startCall())).wire).toMatchObject({
      'x-b3-traceid': 'a',
      'x-b3-spanid': 'b',
    })
  })
})
