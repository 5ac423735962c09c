import { describe, expect, it } from 'vitest'
import type { HeaderMatch } from '../model/match.ts'
import type { PathMatch, QueryMatch, RouteMatch } from '../model/route.ts'
import { Outbound } from './outbound.ts'
import type { Route } from './route.ts'
import { Dice } from './testing/dice.ts'
import { Lab } from './testing/lab.ts'
import { breakerSpec, clusterSpec, everyPath, listenerSpec, routeSpec } from './testing/specs.ts'

const { random } = new Dice(3, 3)

function request(path: string, headers: Record<string, string> = {}, method = 'GET') {
  return { method, authority: 'svc', path, header: (name: string) => headers[name] }
}

function matches(match: Partial<RouteMatch>, view: ReturnType<typeof request>): boolean {
  const route = routeSpec('c', { match: { ...everyPath, ...match }, action: { kind: 'direct', status: 200, body: '' } })
  const target = new Outbound(listenerSpec('svc', [route]), () => undefined).match(view, random)
  return target.kind === 'direct' && target.rejection.status === 200
}

const path = (kind: 'prefix' | 'exact' | 'segments', value: string, ignoreCase = false): PathMatch => ({
  kind,
  value,
  ignoreCase,
})
const regex = (value: string): PathMatch => ({ kind: 'regex', value })

describe('a route matches', () => {
  it.each<[PathMatch, string, boolean]>([
    [path('prefix', '/'), '/x', true],
    [path('prefix', '/foo'), '/foobar', true],
    [path('prefix', '/foo'), '/Foo', false],
    [path('prefix', '/Foo', true), '/fOObar', true],
    [path('prefix', '/foo?a'), '/foo?a=1', false],
    [path('exact', '/foo'), '/foo', true],
    [path('exact', '/foo'), '/foo?q=1', true],
    [path('exact', '/foo'), '/foo/', false],
    [path('exact', '/foo'), '/foo#f', true],
    [path('segments', '/foo'), '/foo/bar?q', true],
    [path('segments', '/foo/'), '/foo?q', true],
    [path('segments', '/foo'), '/foobar', false],
    [path('segments', '/'), '/x', true],
    [path('exact', '/FOO', true), '/foo', true],
    [regex('/a.*'), '/abc?d', true],
    [regex('/a'), '/ab', false],
    [regex('/a|/ab'), '/ab', true],
    [regex('(?i)/ABC'), '/abc', true],
  ])('%j against %s: %s', (match, text, expected) => {
    expect(matches({ path: match }, request(text))).toBe(expected)
  })

  const exact = (value: string) => ({ kind: 'exact' as const, value, ignoreCase: false })
  const header = (over: Partial<HeaderMatch>): HeaderMatch =>
    ({ name: 'x', invert: false, missingAsEmpty: false, kind: 'string', match: exact('1'), ...over }) as HeaderMatch
  it.each<[string, HeaderMatch, Record<string, string>, boolean]>([
    ['equal', header({}), { x: '1' }, true],
    ['other', header({}), { x: '2' }, false],
    ['absent', header({}), {}, false],
    ['inverted', header({ invert: true }), { x: '2' }, true],
    ['inverted, equal', header({ invert: true }), { x: '1' }, false],
    ['inverted, absent', header({ invert: true }), {}, false],
    ['inverted, absent as empty', header({ invert: true, missingAsEmpty: true }), {}, true],
    ['present', header({ kind: 'present', present: true }), { x: '' }, true],
    ['present, absent', header({ kind: 'present', present: true }), {}, false],
    ['not present', header({ kind: 'present', present: false }), {}, true],
    ['inverted present', header({ kind: 'present', present: true, invert: true }), {}, true],
    ['in range', header({ kind: 'range', start: -5, end: 10 }), { x: '-5' }, true],
    ['range is half open', header({ kind: 'range', start: 1, end: 10 }), { x: '10' }, false],
    ['no number', header({ kind: 'range', start: 0, end: 10 }), { x: '1a' }, false],
    [':method', header({ name: ':method', match: exact('GET') }), {}, true],
    [':authority', header({ name: ':authority', match: exact('svc') }), {}, true],
    [':scheme', header({ name: ':scheme', match: exact('http') }), {}, true],
    [':path with query', header({ name: ':path', match: exact('/p?q') }), {}, true],
  ])('header %s', (_name, match, headers, expected) => {
    expect(matches({ headers: [match] }, request('/p?q', headers))).toBe(expected)
  })

  const query = (name: string, value: string): QueryMatch => ({ name, kind: 'string', match: exact(value) })
  it.each<[QueryMatch, string, boolean]>([
    [query('a', '1'), '/?a=1', true],
    [query('a', '1'), '/?b=2&a=1&a=2', true],
    [query('a', '2'), '/?a=1&a=2', false],
    [query('a', '1'), '/?aa=1', false],
    [query('a', ''), '/?a', true],
    [query('a', ''), '/?a=&b', true],
    [query('a', '%31'), '/?a=%31', true],
    [query('a', '1'), '/?a=%31', false],
    [query('a', '1=2'), '/?a=1=2', true],
    [query('a', '1'), '/a=1', false],
    [query('a', '1'), '/#a=1', false],
    [query('a', '1'), '/?a=1#b', true],
    [query('b', ''), '/?a=1#&b', false],
    [query('a', '1'), '/', false],
    [{ name: 'a', kind: 'present', present: true }, '/?b&a', true],
    [{ name: 'a', kind: 'present', present: false }, '/?b', true],
    [{ name: 'a', kind: 'present', present: false }, '/?a', false],
  ])('query %j against %s: %s', (match, text, expected) => {
    expect(matches({ query: [match] }, request(text))).toBe(expected)
  })

  it('its share of requests', () => {
    const share = (fractionPerMillion: number) => {
      let n = 0
      for (let i = 0; i < 20_000; i++) if (matches({ fractionPerMillion }, request('/'))) n++
      return n / 20_000
    }
    expect(share(0)).toBe(0)
    expect(share(1_000_000)).toBe(1)
    expect(Math.abs(share(250_000) - 0.25)).toBeLessThan(0.02)
  })
})

describe('a forwarding route', () => {
  it('splits by weight, and answers for clusters that are not there', () => {
    const lab = new Lab()
    const clusters = [
      { name: 'c', weight: 90 },
      { name: 'd', weight: 9 },
      { name: 'missing', weight: 1 },
    ]
    const route = routeSpec('', { action: { kind: 'forward', clusters } })
    lab.apply([clusterSpec('c'), clusterSpec('d')], [route])
    const count: Record<string, number> = { c: 0, d: 0, missing: 0 }
    for (let i = 0; i < 20_000; i++) {
      const target = lab.engine.outbound('svc')!.match(request('/'), random)
      if (target.kind === 'direct') expect(target.rejection.flag).toBe('NC')
      count[target.kind === 'route' ? target.cluster.name : 'missing']!++
    }
    const chi = clusters.reduce((sum, { name, weight }) => sum + (count[name]! - weight * 200) ** 2 / (weight * 200), 0)
    expect(chi).toBeLessThan(18.4)
  })

  it('is the first that matches', () => {
    const lab = new Lab()
    const on = (name: string, value: string) =>
      routeSpec('c', { name, match: { ...everyPath, path: path('prefix', value) } })
    lab.apply([clusterSpec('c')], [on('a', '/a'), on('ab', '/ab')])
    const { engine } = lab
    expect(engine.outbound('svc')!.match(request('/ab'), random).name).toBe('a')
    expect(engine.outbound('svc')!.match(request('/b'), random)).toMatchObject({ rejection: { flag: 'NR' } })
  })

  it('shares with others of its cluster what keeps no state of its own, and nothing that says its name', () => {
    const lab = new Lab()
    const edited = (name: string, value: string) => {
      const request = [{ kind: 'set' as const, name: 'x-a', value, keepEmpty: false }]
      const match = { ...everyPath, path: path('exact', `/${name}`) }
      return routeSpec('c', { name, match, headers: { request, response: [] } })
    }
    lab.apply([clusterSpec('c', { breaker: breakerSpec() })], [edited('a', '1'), edited('b', '1')])
    const routeOf = (asked: string) => lab.engine.outbound('svc')!.match(request(asked), random) as Route
    const [a, b] = [routeOf('/a'), routeOf('/b')]
    expect(a.policies).toHaveLength(1)
    expect([a.policies, a.onOutcome]).toEqual([b.policies, b.onOutcome])
    expect(a.policies).toBe(b.policies)
    lab.apply([clusterSpec('c')], [edited('a', '%ROUTE_NAME%'), edited('b', '%ROUTE_NAME%')])
    for (const name of ['a', 'b']) {
      const headers = ['host', 'svc']
      routeOf(`/${name}`).edits!.request(headers, request('/'), null)
      expect(headers).toEqual(['host', 'svc', 'x-a', name])
    }
  })

  it('without policies costs no policies', () => {
    const target = Lab.of({}).engine.outbound('svc')!.match(request('/'), random)
    expect(target).toMatchObject({ policies: [], onOutcome: [], retry: null })
  })
})
