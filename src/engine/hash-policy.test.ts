import { hostname } from 'node:os'
import { describe, expect, it } from 'vitest'
import { Hash64 } from '../match/hash64.ts'
import { xxHash64 } from '../match/xxhash64.ts'
import type { HashSpec } from '../model/route.ts'
import type { Call } from './call.ts'
import type { ResponseHeaders } from './format.ts'
import { compileCookies, compileHash, cookieOf } from './hash-policy.ts'
import { Dice } from './testing/dice.ts'

interface Request {
  path?: string
  sourceAddress?: string
  headers?: Record<string, string>
  policy?: string
}

function callOf({ path = '/', sourceAddress, headers = {}, policy = 'RING_HASH' }: Request): Call {
  const exchange = { method: 'GET', authority: 'svc', path, sourceAddress, header: (name: string) => headers[name] }
  const env = { random: new Dice(1, 2).random }
  return { exchange, cluster: { spec: { lb: { policy } } }, env, cookies: null } as unknown as Call
}

const header = (name: string, terminal = false): HashSpec => ({ kind: 'header', name, terminal })
const query = (name: string, terminal = false): HashSpec => ({ kind: 'query', name, terminal })
const sourceIp: HashSpec = { kind: 'source-ip', terminal: false }
const cookie = (ttlMs: number | null, path = '/'): HashSpec => ({
  kind: 'cookie',
  name: 'id',
  ttlMs,
  path,
  terminal: false,
})

function hashed(specs: readonly HashSpec[], request: Request): string | null {
  return compileHash(specs)!.hash(callOf(request))?.toString() ?? null
}

/** Of these values, one after the other. */
function of(...values: string[]): string {
  const [first, ...others] = values.map((value) => xxHash64(value, new Hash64()))
  for (const other of others) first!.mix(other)
  return first!.toString()
}

describe('the hash of a call', () => {
  it.each<[string, HashSpec[], Request, string | null]>([
    ['a header', [header('x')], { headers: { x: 'v' } }, of('v')],
    ['an empty header', [header('x')], { headers: { x: '' } }, of('')],
    ['no header', [header('x')], {}, null],
    ['a query parameter, as it is', [query('q')], { path: '/?q=%20a&q=b' }, of('%20a')],
    ['no query parameter', [query('q')], { path: '/?r=1' }, null],
    ['the caller of this service', [sourceIp], { sourceAddress: '10.1.2.3' }, of('10.1.2.3')],
    ['this process', [sourceIp], {}, of(hostname())],
    ['a cookie', [cookie(null)], { headers: { cookie: 'a=1; id="v"' } }, of('v')],
    ['no cookie', [cookie(null)], {}, null],
    [
      'all that is there',
      [header('x'), header('none'), query('q')],
      { path: '/?q=b', headers: { x: 'a' } },
      of('a', 'b'),
    ],
    ['equal values', [header('x'), header('x')], { headers: { x: 'a' } }, of('a', 'a')],
    ['the first of a terminal one', [header('x', true), query('q')], { path: '/?q=b', headers: { x: 'a' } }, of('a')],
    ['what follows a terminal one that is not there', [header('x', true), query('q')], { path: '/?q=b' }, of('b')],
    [
      'a terminal one after others',
      [query('q'), header('none', true), header('x')],
      { path: '/?q=b', headers: { x: 'a' } },
      of('b'),
    ],
  ])('is of %s', (_name, specs, request, expected) => {
    expect(hashed(specs, request)).toBe(expected)
  })

  it('does not depend on the order of lines', () => {
    const call = (lines: string[]) => {
      const made = callOf({ headers: { x: lines.join() } })
      return Object.assign(made, { exchange: { ...made.exchange, headerLines: () => lines } })
    }
    const hash = (lines: string[]) =>
      compileHash([header('x')])!
        .hash(call(lines))!
        .toString()
    expect(hash(['foo', 'bar'])).toBe(of('barfoo'))
    expect(hash(['bar', 'foo'])).toBe(of('barfoo'))
    expect(hash(['b,a'])).toBe(of('b,a'))
  })

  it('is not asked for by clusters that do not hash', () => {
    const call = callOf({ policy: 'ROUND_ROBIN', headers: { x: 'a' } })
    expect(compileHash([header('x'), cookie(0)])!.hash(call)).toBeNull()
    expect(call.cookies).toBeNull()
  })

  it('costs nothing where there is none', () => {
    expect(compileHash([])).toBeNull()
    expect(compileCookies([header('x'), cookie(null)])).toBeNull()
  })
})

describe('a sticky cookie', () => {
  it('is made once, comes with the answer, and leads to the same hash', () => {
    const specs = [cookie(60_000, '/shop')]
    const call = callOf({})
    const hash = compileHash(specs)!.hash(call)!.toString()
    const headers: ResponseHeaders = { 'set-cookie': 'own=1' }
    const view = { request: call.exchange, call, response: headers, routeName: '' }
    compileCookies(specs)!.apply(headers, view)
    const [own, made] = headers['set-cookie'] as string[]
    expect(own).toBe('own=1')
    expect(made).toMatch(/^id="[0-9a-f]{16}"; Max-Age=60; Path=\/shop; HttpOnly$/)
    expect(hashed(specs, { headers: { cookie: made!.split(';')[0]! } })).toBe(hash)
  })

  it('without a time is one of the session', () => {
    const call = callOf({ headers: { cookie: 'id=' } })
    compileHash([cookie(0, '')])!.hash(call)
    expect(call.cookies).toEqual([expect.stringMatching(/^id="[0-9a-f]{16}"; HttpOnly$/)])
  })

  it.each([
    [undefined, null],
    ['', null],
    ['id=1', '1'],
    ['idx=1; id=2', '2'],
    ['a=id=3; id=4', '4'],
    ['id="5"', '5'],
    ['id', null],
    ['id=', null],
    ['a=1,id=6', '6'],
  ])('in %s is %s', (text, expected) => {
    expect(cookieOf(text, 'id')).toBe(expected)
  })
})
