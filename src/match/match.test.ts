import fc from 'fast-check'
import { RE2JS } from 're2js'
import { describe, expect, it } from 'vitest'
import { compileCidr } from './cidr.ts'
import { compileRegex } from './regex.ts'
import { compileString } from './string.ts'

describe('a regex', () => {
  it('means the same however much of it is literal', () => {
    const piece = fc.constantFrom(
      '/',
      'a',
      'b',
      'ab',
      'a*',
      'b?',
      'a+',
      'b{0,2}',
      '[ab]',
      '.',
      '(a)?',
      '(?:b)',
      '\\.',
      '^',
      '(?i:A)',
    )
    const pattern = fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join(''))
    const text = fc.stringMatching(/^[ab./A]{0,6}$/)
    fc.assert(
      fc.property(pattern, fc.array(text, { maxLength: 20 }), (source, texts) => {
        const test = compileRegex(source)
        const whole = RE2JS.compile(source)
        for (const one of [...texts, '', 'a', 'ab', '/a', '/ab']) expect(test(one)).toBe(whole.matches(one))
      }),
      { numRuns: 2_000 },
    )
  })

  it.each<[string, string, boolean]>([
    ['abc', 'abc', true],
    ['abc', 'xabc', false],
    ['abc', 'abcx', false],
    ['a|ab', 'ab', true],
    ['(?i)abc', 'ABC', true],
    ['(?s)a.b', 'a\nb', true],
    ['a.b', 'a\nb', false],
    ['.*', 'a\nb', false],
    ['.*', '', true],
    ['\\Aabc\\z', 'abc', true],
    ['\\Aabc\\z', 'Aabcz', false],
    ['[[:alpha:]]+', 'abc', true],
    ['[[:alpha:]]+', 'a1', false],
    ['\\Qa.b\\E', 'a.b', true],
    ['\\Qa.b\\E', 'axb', false],
    ['\\pN+', '123', true],
    ['(?P<n>a)b', 'ab', true],
    ['[a-c/.]x\\.y', 'b' + 'x.y', true],
    ['[a-c/.]x\\.y', 'bxzy', false],
    ['a$', 'a\n', false],
    ['', '', true],
    ['', 'a', false],
  ])('%j against %j: %s', (pattern, text, expected) => {
    expect(compileRegex(pattern)(text)).toBe(expected)
  })

  it.each(['(', '(?=a)', 'a(?<!b)', '\\1', '[', 'a**', 'x'.repeat(1_025)])('is refused when it is %j', (pattern) => {
    expect(() => compileRegex(pattern)).toThrow(/regex/)
  })

  it.each(['(a+)+', '(a|a)*', '(a|aa)+', '(.*)*x', 'a*a*a*a*a*a*b', '((a{0,30}){0,30})'])(
    'runs in linear time: %s',
    (pattern) => {
      const test = compileRegex(pattern)
      const text = `${'a'.repeat(5_000)}!`
      const begin = performance.now()
      expect(test(text)).toBe(false)
      // Backtracking would take longer than the universe lasts.
      expect(performance.now() - begin).toBeLessThan(5_000)
    },
  )

  it('means the same on the fast way', () => {
    const literal = fc.stringMatching(/^[A-Za-z0-9_/:@%&=,;~!#"'<> -]{1,10}$/)
    fc.assert(
      fc.property(literal, fc.string(), (text, other) => {
        const test = compileRegex(text)
        expect(test(text)).toBe(true)
        expect(test(other)).toBe(other === text)
      }),
    )
  })
})

describe('a string match', () => {
  it.each([
    ['exact', 'Ab', false, 'Ab', true],
    ['exact', 'Ab', false, 'ab', false],
    ['exact', 'Ab', true, 'aB', true],
    ['prefix', 'ab', false, 'abc', true],
    ['prefix', 'AB', true, 'abc', true],
    ['suffix', 'bc', false, 'abc', true],
    ['suffix', 'b', false, 'abc', false],
    ['contains', 'b', false, 'abc', true],
    ['contains', 'B', true, 'abc', true],
    ['contains', 'B', false, 'abc', false],
    ['prefix', '', false, '', true],
  ] as const)('%s %s, ignoring case %s, of %s: %s', (kind, value, ignoreCase, text, expected) => {
    expect(compileString({ kind, value, ignoreCase })(text)).toBe(expected)
  })
})

describe('an address range', () => {
  it.each<[string, number, string, boolean]>([
    ['10.0.0.0', 8, '10.255.0.1', true],
    ['10.0.0.0', 8, '11.0.0.1', false],
    ['10.0.0.0', 8, '::ffff:10.1.2.3', true],
    ['10.0.0.0', 8, '::FFFF:a01:203', true],
    ['10.1.2.3', 32, '::ffff:10.1.2.3', true],
    ['::ffff:10.0.0.0', 104, '10.9.9.9', true],
    ['::ffff:10.0.0.0', 104, '11.9.9.9', false],
    ['0:0:0:0:0:ffff:a00:0', 104, '10.9.9.9', true],
    ['0.0.0.0', 0, '255.1.2.3', true],
    ['0.0.0.0', 0, '::1', false],
    ['::', 0, 'fd00::1', true],
    ['fd00::', 8, 'fd12::1', true],
    ['fd00::', 8, 'fe80::1', false],
    ['fd00::', 8, 'nonsense', false],
    ['fd00::', 8, '', false],
  ])('%s/%i has %s: %s', (address, prefixLength, of, expected) => {
    expect(compileCidr({ address, prefixLength })(of)).toBe(expected)
  })

  it.each([
    ['10.0.0.0', 33],
    ['10.0.0.0', -1],
    ['10.0.0.0', 1.5],
    ['::', 129],
    ['::ffff:10.0.0.0', 95],
    ['ten', 8],
    ['', 8],
  ])('is refused when it is %s/%d', (address, prefixLength) => {
    expect(() => compileCidr({ address, prefixLength })).toThrow(/address range/)
  })
})
