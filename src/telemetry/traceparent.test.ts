import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatTraceparent, isSampled, isTraceparent, parseTraceparent, traceparentOfB3 } from './traceparent.ts'

const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
const span = '00f067aa0ba902b7'
const good = `00-${trace}-${span}-01`
const hex = (length: number) =>
  fc
    .array(fc.integer({ min: 0, max: 15 }), { minLength: length, maxLength: length })
    .map((digits) => digits.map((d) => d.toString(16)).join(''))
    .filter((text) => !/^0+$/.test(text))

describe('traceparent', () => {
  it('gives its parts', () => {
    expect(parseTraceparent(good)).toEqual({ traceId: trace, spanId: span, flags: 1 })
    expect(isSampled(good)).toBe(true)
    expect(isSampled(`00-${trace}-${span}-02`)).toBe(false)
    expect(parseTraceparent(`00-${trace}-${span}-ff`)?.flags).toBe(255)
  })

  it('takes a later version that goes on after a dash, and not version 00 that does', () => {
    expect(isTraceparent(`01-${trace}-${span}-01-what-comes-later`)).toBe(true)
    expect(isTraceparent(`cc-${trace}-${span}-01`)).toBe(true)
    expect(isTraceparent(`01-${trace}-${span}-01.more`)).toBe(false)
    expect(isTraceparent(`${good}-more`)).toBe(false)
  })

  it.each([
    ['nothing', undefined],
    ['an empty text', ''],
    ['version ff', `ff-${trace}-${span}-01`],
    ['an all-zero trace id', `00-${'0'.repeat(32)}-${span}-01`],
    ['an all-zero span id', `00-${trace}-${'0'.repeat(16)}-01`],
    ['upper case', good.toUpperCase()],
    ['a short trace id', `00-${trace.slice(1)}-${span}-01`],
    ['other separators', good.replaceAll('-', '_')],
    ['a letter that is not hex', good.replace('4b', 'xb')],
    ['flags that are not hex', `00-${trace}-${span}-0g`],
    ['surrounding space', ` ${good}`],
    ['two joined values', `${good}, ${good}`],
  ])('refuses %s', (_what, text) => {
    expect(parseTraceparent(text)).toBeUndefined()
  })

  it('is the same after parsing and formatting', () => {
    fc.assert(
      fc.property(hex(32), hex(16), fc.integer({ min: 0, max: 255 }), (traceId, spanId, flags) => {
        const text = formatTraceparent({ traceId, spanId, flags })
        expect(parseTraceparent(text)).toEqual({ traceId, spanId, flags })
        expect(isSampled(text)).toBe((flags & 1) === 1)
      }),
    )
  })

  it('never throws and accepts only what the grammar says', () => {
    const grammar = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
    const noise = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      // Good ones with one character changed come closest to being let through.
      fc
        .tuple(fc.nat(54), fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }))
        .map(([at, c]) => good.slice(0, at) + c + good.slice(at + 1)),
    )
    fc.assert(
      fc.property(noise, (text) => {
        const expected =
          grammar.test(text.slice(0, 55)) && (text.length === 55 || (!text.startsWith('00') && text[55] === '-'))
        expect(isTraceparent(text)).toBe(expected)
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('B3', () => {
  const of = (headers: Record<string, string>) => traceparentOfB3((name) => headers[name])

  it('single and multiple headers become the same traceparent', () => {
    expect(of({ b3: `${trace}-${span}-1-05e3ac9a4f6e3b90` })).toBe(good)
    expect(of({ 'x-b3-traceid': trace, 'x-b3-spanid': span, 'x-b3-sampled': '1' })).toBe(good)
    expect(of({ 'x-b3-traceid': trace, 'x-b3-spanid': span, 'x-b3-flags': '1' })).toBe(good)
    expect(of({ b3: `${trace}-${span}-d` })).toBe(good)
  })

  it('a 64-bit trace id is padded, upper case is accepted, no decision means not sampled', () => {
    expect(of({ b3: `a3ce929d0e0e4736-${span.toUpperCase()}` })).toBe(`00-${'0'.repeat(16)}a3ce929d0e0e4736-${span}-00`)
  })

  it('a mere decision or garbage is no context, and never throws', () => {
    expect(of({ b3: '0' })).toBeUndefined()
    expect(of({})).toBeUndefined()
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (a, b, c) => {
        for (const made of [of({ b3: a }), of({ 'x-b3-traceid': a, 'x-b3-spanid': b, 'x-b3-sampled': c })])
          if (made !== undefined) expect(isTraceparent(made)).toBe(true)
      }),
    )
  })
})
