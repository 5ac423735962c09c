import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileRegex } from '../../src/match/regex.ts'
import { parseCidr } from './cidr.ts'
import { parseDuration } from './duration.ts'
import { isPathTemplate, pathTemplateProblem, pathTemplateRegex, quoteRegex, wholeRegex } from './patterns.ts'
import { editDistance, suggest } from './suggest.ts'

describe('parseDuration', () => {
  it.each([
    ['0', 0],
    ['0s', 0],
    ['5s', 5_000],
    ['1.5s', 1_500],
    ['.5s', undefined],
    ['250ms', 250],
    ['1h30m', 5_400_000],
    ['1m0.5s', 60_500],
    ['100us', 0.1],
    ['1ns', 0.000001],
    ['5', undefined],
    ['', undefined],
    ['5 s', undefined],
    ['-5s', undefined],
    ['5sec', undefined],
    ['s', undefined],
    ['1d', undefined],
    ['1e3s', undefined],
    ['99999999999h', undefined],
  ])('%s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })
})

describe('suggest', () => {
  it.each([
    ['wieght', ['weight', 'height'], 'weight'],
    ['retry_atempts', ['retryAttempts', 'retryOn'], 'retryAttempts'],
    ['consecutive_5xx_errors', ['consecutive5xxErrors'], 'consecutive5xxErrors'],
    ['Host', ['host', 'hosts'], 'host'],
    ['xyz', ['weight'], undefined],
    ['a', ['hosts'], undefined],
  ])('%s', (word, known, expected) => {
    expect(suggest(word, known)).toBe(expected)
  })

  it('counts edits like a distance', () => {
    const word = fc.string({ maxLength: 8 })
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(editDistance(a, b, 99)).toBe(editDistance(b, a, 99))
        expect(editDistance(a, a, 99)).toBe(0)
        expect(editDistance(a, b, 99)).toBeLessThanOrEqual(Math.max(a.length, b.length))
      }),
    )
  })
})

describe('parseCidr', () => {
  it.each([
    ['10.1.0.5', 32],
    ['10.0.0.0/8', 8],
    ['0.0.0.0/0', 0],
    ['2001:db8::/32', 32],
    ['::1', 128],
    ['10.0.0.0/33', undefined],
    ['10.0.0.0/', undefined],
    ['10.0.0.0/08', undefined],
    ['10.0.0/8', undefined],
    ['fe80::1%eth0', undefined],
    ['x', undefined],
    ['', undefined],
  ])('%s', (text, length) => {
    expect(parseCidr(text)?.prefixLength).toBe(length)
  })
})

describe('patterns', () => {
  it('quotes every character', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 20 }), fc.string({ maxLength: 20 }), (text, other) => {
        const test = compileRegex(quoteRegex(text))
        expect(test(text)).toBe(true)
        expect(test(other)).toBe(other === text)
      }),
    )
  })

  it('keeps alternatives together and leaves the rest alone', () => {
    expect([wholeRegex('a|b'), wholeRegex('ab')]).toEqual(['(?:a|b)', 'ab'])
  })

  it('a template matches whole segments', () => {
    expect(isPathTemplate('/a/*')).toBe(false)
    expect(pathTemplateProblem('/v1.0/{*}/x')).toBeUndefined()
    const test = compileRegex(pathTemplateRegex('/v1.0/{*}/x/{**}'))
    expect([
      test('/v1.0/a/x/'),
      test('/v1.0/a/x/b/c'),
      test('/v1.0/a/b/x/'),
      test('/v1.0//x/'),
      test('/v1x0/a/x/'),
    ]).toEqual([true, true, false, false, false])
  })
})
