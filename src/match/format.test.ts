import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkFormat, formatTime, parseFormat } from './format.ts'

const all = Number.POSITIVE_INFINITY

describe('a format', () => {
  it('is text with operators', () => {
    expect(parseFormat('a%%b %REQ(X-A?:path):10%%PROTOCOL%')).toEqual([
      'a%b ',
      { name: 'REQ', argument: 'X-A?:path', maxLength: 10 },
      { name: 'PROTOCOL', argument: '', maxLength: all },
    ])
    expect(parseFormat('')).toEqual([''])
    expect(parseFormat('%START_TIME(%Y/%m %3f)%')).toEqual([
      { name: 'START_TIME', argument: '%Y/%m %3f', maxLength: all },
    ])
  })

  it.each([
    '50%',
    'a\nb',
    'a\u0100',
    '%',
    '%%%',
    '%REQ%',
    '%REQ()%',
    '%REQ(a b)%',
    '%REQ(a)',
    '%NO_SUCH%',
    '%req(a)%',
    '%PROTOCOL(x)%',
    '%START_TIME(%Q)%',
    '%REQ(a):x%',
    '%constructor%',
    '%CEL(request.path)%',
  ])('is refused when it is %j', (text) => {
    expect(() => checkFormat(text)).toThrow(/is not a format/)
  })

  it('says any text when percent signs are doubled', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(parseFormat(text.replaceAll('%', '%%'))).toEqual([text])
      }),
    )
  })

  it('never fails but with its own error', () => {
    const pieces = fc.constantFrom('%', 'REQ', '(', ')', 'a', '?', ':', '1', 'RESP', 'START_TIME', '%Y', ' ')
    fc.assert(
      fc.property(fc.array(pieces), (list) => {
        try {
          checkFormat(list.join(''))
        } catch (error) {
          expect((error as Error).message).toMatch(/is not a format/)
        }
      }),
    )
  })
})

describe('a time', () => {
  const at = Date.UTC(2026, 0, 5, 7, 8, 9, 45)
  it.each([
    ['', '2026-01-05T07:08:09.045Z'],
    ['%Y/%m/%dT%H:%M:%S%z %s', '2026/01/05T07:08:09+0000 1767596889'],
    ['%3f|%6f|%f|%1f', '045|045000|045000000|0'],
    ['%a %e %b %y, day %j, %F %T %Z', 'Mon  5 Jan 26, day 005, 2026-01-05 07:08:09 UTC'],
  ])('%j is %s', (pattern, expected) => {
    expect(formatTime(at, pattern)).toBe(expected)
  })
})
