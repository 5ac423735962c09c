import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { normalizePath } from './path.ts'

describe('a path as policies see it', () => {
  it.each([
    ['/', '/', '/'],
    ['/a/b', '/a/b', '/a/b'],
    ['/a/./b', '/a/b', '/a/b'],
    ['/a/../b', '/b', '/b'],
    ['/..', '/', '/'],
    ['/a/..', '/', '/'],
    ['/a/b/.', '/a/b/', '/a/b/'],
    ['/%61dmin', '/admin', '/admin'],
    ['/a/%2e%2E/b', '/b', '/b'],
    ['/a\\b', '/a/b', '/a/b'],
    ['/a%2fb', '/a%2fb', '/a/b'],
    ['/a%5Cb', '/a%5Cb', '/a/b'],
    ['//a', '//a', '/a'],
    ['/a%2f..%2fb', '/a%2f..%2fb', '/b'],
    ['/%252e%252e/b', '/%252e%252e/b', '/%252e%252e/b'],
    ['/a;v=1', '/a;v=1', '/a;v=1'],
    ['/A', '/A', '/A'],
    ['/100%', '/100%', '/100%'],
    ['/%E4', '/%E4', '/%E4'],
    ['*', '*', '*'],
  ])('%s is %s, strictly %s', (target, base, strict) => {
    expect(normalizePath(target)).toEqual({ base, strict, query: '' })
  })

  it.each([
    '',
    'a',
    'http://h/a',
    '/a%00',
    '/a\u0000',
    '/a b',
    '/a\n',
    '/%%32e%%32e/',
    '/%2%66',
    '/%0%30',
    '/a//../b',
    '/a//..//admin',
  ])('is refused when it is %j', (target) => {
    expect(normalizePath(target)).toBe(null)
  })

  it('keeps the query as sent and drops the fragment', () => {
    expect(normalizePath('/a/../b?x=/../%61#f?g')).toEqual({ base: '/b', strict: '/b', query: '?x=/../%61' })
    expect(normalizePath('/a#b?c')).toEqual({ base: '/a', strict: '/a', query: '' })
  })

  const nasty = fc
    .array(
      fc.constantFrom(
        '/',
        '.',
        '..',
        '%2e',
        '%2E',
        '%2f',
        '%5c',
        '\\',
        '%',
        '%25',
        '2',
        'e',
        'f',
        'a',
        ';',
        '%%32',
        '%61',
      ),
      {
        maxLength: 12,
      },
    )
    .map((parts) => `/${parts.join('')}`)

  it.each([
    ['nasty', nasty],
    ['any', fc.string({ unit: 'binary' })],
  ])('is stable, has no dot segments, and never throws: %s', (_name, texts) => {
    fc.assert(
      fc.property(texts, (text) => {
        const path = normalizePath(text)
        if (path === null || path.base === '*') return
        for (const form of [path.base, path.strict]) {
          expect(form.startsWith('/')).toBe(true)
          expect(form.split('/').some((s) => /^(?:\.|%2e){1,2}$/i.test(s))).toBe(false)
        }
        expect(normalizePath(path.base)?.base).toBe(path.base)
        expect(normalizePath(path.base)?.strict).toBe(path.strict)
        expect(normalizePath(path.strict)?.strict).toBe(path.strict)
        expect(/\/\/|\\|%2f|%5c/i.test(path.strict)).toBe(false)
      }),
      { numRuns: 2_000 },
    )
  })
})
