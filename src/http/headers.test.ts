import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Attempt } from '../engine/attempt.ts'
import type { CallContext } from '../telemetry/context.ts'
import { isMeshHeader } from '../transport/hop-headers.ts'
import { headerList, headerOf, requestHeaders } from './headers.ts'

function attempt(traceparent: string | null = null, context: Partial<CallContext> | null = null): Attempt {
  const trace =
    context === null
      ? null
      : { baggage: '', requestId: '', b3: null, otel: null, traceparent: '', tracestate: '', ...context }
  return { traceparent, tracestate: '', trace: null, call: { trace } } as unknown as Attempt
}

describe('headers of a caller', () => {
  it('are found in every shape, whatever their case, lines joined', () => {
    for (const shape of [
      { 'X-A': '1', b: ['2', '3'] },
      ['X-A', '1', 'b', ['2', '3']],
      new Map<string, string | string[]>([
        ['X-A', '1'],
        ['b', ['2', '3']],
      ]),
    ]) {
      const list = headerList(shape as unknown as Record<string, string>)
      expect(headerOf(list, 'x-a')).toBe('1')
      expect(headerOf(list, 'b')).toBe('2,3')
      expect(headerOf(list, 'c')).toBeUndefined()
    }
    expect(headerOf(headerList(['a', '1', 'A', '2']), 'a')).toBe('1,2')
    expect(headerOf(headerList(null), 'a')).toBeUndefined()
  })
})

describe('headers of a try', () => {
  it('begin with the host, which the caller may name', () => {
    expect(requestHeaders(null, 'payments', attempt())).toEqual(['host', 'payments'])
    expect(requestHeaders({ a: '1', HOST: 'other' }, 'payments', attempt())).toEqual(['host', 'other', 'a', '1'])
  })

  it('leave out what Connection lists, before and after it', () => {
    const list = ['x-before', '1', 'Connection', 'X-Before, x-after, close', 'x-after', '2', 'x-stays', '3']
    expect(requestHeaders(list, 'p', attempt())).toEqual(['host', 'p', 'x-stays', '3'])
  })

  it('carry the trace of the try in place of the caller one, and do not double what the caller set', () => {
    const list = { traceparent: 'old', tracestate: 'old', baggage: 'own=1' }
    const made = requestHeaders(list, 'p', attempt('00-new', { baggage: 'inbound=1', requestId: 'id-1' }))
    expect(made).toEqual(['host', 'p', 'baggage', 'own=1', 'traceparent', '00-new', 'x-request-id', 'id-1'])
    expect(requestHeaders(list, 'p', attempt())).toEqual([
      'host',
      'p',
      'traceparent',
      'old',
      'tracestate',
      'old',
      'baggage',
      'own=1',
    ])
  })

  it('never hold a header of the mesh or of the hop, and hold all others in order', () => {
    const hop = [
      'te',
      'expect',
      'upgrade',
      'trailer',
      'keep-alive',
      'proxy-connection',
      'transfer-encoding',
      'proxy-authenticate',
      'proxy-authorization',
    ]
    const mesh = ['x-inmesh-a', 'x-envoy-internal', 'X-Istio-Attributes', 'X-Forwarded-Client-Cert']
    const name = fc.oneof(
      fc.constantFrom(...hop, ...mesh),
      fc.stringMatching(/^x-[a-z]{1,12}$/),
      fc.stringMatching(/^[a-z]{1,20}$/),
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.constant('v')), { maxLength: 12 }), (pairs) => {
        const made = requestHeaders(pairs.flat(), 'p', attempt())
        const dropped = new Set([...hop, ...mesh.map((m) => m.toLowerCase()), 'host', 'connection'])
        const expected = pairs.filter(([n]) => !dropped.has(n.toLowerCase()) && !isMeshHeader(n)).flat()
        expect(made.slice(2)).toEqual(expected)
      }),
    )
  })
})
