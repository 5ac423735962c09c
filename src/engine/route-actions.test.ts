import { describe, expect, it } from 'vitest'
import { compileReplace } from '../match/regex.ts'
import type { HeaderEdit, PathMatch, PathRewrite, RedirectSpec, RouteSpec } from '../model/route.ts'
import { compileFormat } from './format.ts'
import { compilePathRewrite } from './path-rewrite.ts'
import type { RouteEdits, Target } from './route.ts'
import { Dice } from './testing/dice.ts'
import { Lab, LabExchange } from './testing/lab.ts'
import { clusterSpec, endpoint, everyPath, routeSpec } from './testing/specs.ts'

const { random } = new Dice(5, 5)

function view(path: string, authority = 'svc', headers: Record<string, string> = {}) {
  return { method: 'GET', authority, path, header: (name: string) => headers[name] }
}

function target(route: Partial<RouteSpec>, request = view('/')): Target {
  const lab = new Lab()
  lab.apply([clusterSpec('c')], [routeSpec('c', route)])
  return lab.engine.outbound('svc')!.match(request, random)
}

const prefix = (value: string): PathMatch => ({ kind: 'prefix', value, ignoreCase: false })
const exact = (value: string): PathMatch => ({ kind: 'exact', value, ignoreCase: false })
const segments = (value: string): PathMatch => ({ kind: 'segments', value, ignoreCase: false })
const regexMatch = (value: string): PathMatch => ({ kind: 'regex', value })

describe('a path rewrite', () => {
  const to = (value: string): PathRewrite => ({ kind: 'prefix', value })
  const full = (value: string): PathRewrite => ({ kind: 'full', value })
  const regex = (pattern: string, substitution: string): PathRewrite => ({ kind: 'regex', pattern, substitution })
  it.each<[PathMatch, PathRewrite, string, string]>([
    [prefix('/api'), to('/v1'), '/api/x?a=1', '/v1/x?a=1'],
    [prefix('/api'), to('/v1'), '/apis', '/v1s'],
    [prefix('/prefix'), to('/'), '/prefix/x', '//x'],
    [prefix('/prefix/'), to('/'), '/prefix/x', '/x'],
    [prefix('/'), to('/v1/'), '/x', '/v1/x'],
    [prefix('/api'), to(''), '/api', '/'],
    [exact('/api'), to('/v1'), '/api?a', '/v1?a'],
    [segments('/api/'), to('/v1'), '/api/x', '/v1/x'],
    [segments('/api'), to('/v1'), '/api?a/b', '/v1?a/b'],
    [regexMatch('/a.*'), to('/v1'), '/abc?q', '/v1?q'],
    [prefix('/a'), full('/b'), '/a/c/d?q=1', '/b?q=1'],
    [prefix('/a'), full('/b'), '/a#f?x', '/b#f?x'],
    [
      prefix('/'),
      regex('^/service/([^/]+)(/.*)$', '\\2/instance/\\1'),
      '/service/foo/v1/api?q',
      '/v1/api/instance/foo?q',
    ],
    [prefix('/'), regex('one', 'two'), '/xxx/one/yyy/one/zzz?one', '/xxx/two/yyy/two/zzz?one'],
    [prefix('/'), regex('(?i)/ABC', '/\\0\\\\$1'), '/abc', '//abc\\$1'],
    [prefix('/'), regex('x', 'y'), '/a', '/a'],
  ])('of %j by %j: %s is %s', (match, rewrite, before, after) => {
    expect(compilePathRewrite(rewrite, match)(before)).toBe(after)
  })

  it.each(['\\3', '\\x', 'a\\'])('refuses the substitution %s', (substitution) => {
    expect(() => compileReplace('(a)(b)', substitution)).toThrow(/substitution/)
  })

  it('begins no empty match where a match ended', () => {
    expect(compileReplace('a*', 'x')('baac')).toBe('xbxcx')
  })
})

describe('a redirect', () => {
  const spec = (over: Partial<RedirectSpec>): RedirectSpec => ({
    status: 301,
    scheme: null,
    host: null,
    port: null,
    path: null,
    stripQuery: false,
    ...over,
  })
  it.each<[string, Partial<RedirectSpec>, string, string, string]>([
    ['nothing but the status', { status: 307 }, 'svc:8080', '/a?b', 'http://svc:8080/a?b'],
    ['host', { host: 'other' }, 'svc:8080', '/a?b', 'http://other/a?b'],
    ['scheme', { scheme: 'https' }, 'svc', '/', 'https://svc/'],
    ['scheme, from the port of http', { scheme: 'https' }, 'svc:80', '/', 'https://svc/'],
    ['scheme, from another port', { scheme: 'https' }, 'svc:8080', '/', 'https://svc:8080/'],
    ['port', { port: 9090 }, 'svc:80', '/', 'http://svc:9090/'],
    ['port of http', { port: 80 }, 'svc:8080', '/', 'http://svc/'],
    ['port of https', { scheme: 'https', port: 443, host: 'h' }, 'svc', '/', 'https://h/'],
    ['port 443 of http', { port: 443 }, 'svc', '/', 'http://svc:443/'],
    ['an IPv6 address', { port: 81 }, '[::1]:8080', '/', 'http://[::1]:81/'],
    ['path', { path: { kind: 'full', value: '/new' } }, 'svc', '/a?b=1', 'http://svc/new?b=1'],
    ['path with a query', { path: { kind: 'full', value: '/new?c=2' } }, 'svc', '/a?b=1', 'http://svc/new?c=2'],
    ['stripped query', { path: { kind: 'full', value: '/new' }, stripQuery: true }, 'svc', '/a?b=1', 'http://svc/new'],
    ['stripped query alone', { stripQuery: true }, 'svc', '/a?b=1', 'http://svc/a'],
    ['prefix', { path: { kind: 'prefix', value: '/n' } }, 'svc', '/a/x?b=1', 'http://svc/n/x?b=1'],
    [
      'regex',
      { path: { kind: 'regex', pattern: '/a/(.*)', substitution: '/\\1' } },
      'svc',
      '/a/x?b=1',
      'http://svc/x?b=1',
    ],
  ])('of %s', (_name, over, authority, path, location) => {
    const made = target(
      { match: { ...everyPath, path: prefix('/a') }, action: { kind: 'redirect', redirect: spec(over) } },
      view(path === '/' ? '/a' : path, authority),
    )
    if (made.kind !== 'direct') throw new Error(made.kind)
    expect(made.rejection.status).toBe(over.status ?? 301)
    expect(made.rejection.headers).toEqual(['location', path === '/' ? `${location}a` : location])
  })
})

describe('a destination that does not exist', () => {
  it.each([
    [undefined, 503],
    [500, 500],
    [404, 404],
  ])('answers %s with %i', (clusterNotFoundStatus, status) => {
    const clusters = [{ name: 'missing', weight: 1 }]
    const action = { kind: 'forward' as const, clusters, ...(clusterNotFoundStatus && { clusterNotFoundStatus }) }
    expect(target({ action })).toMatchObject({ kind: 'direct', rejection: { status, flag: 'NC' } })
  })
})

describe('header edits', () => {
  const set = (name: string, value: string, keepEmpty = false): HeaderEdit => ({ kind: 'set', name, value, keepEmpty })
  const edit = (kind: 'append' | 'add-if-absent' | 'overwrite-if-exists', name: string, value: string): HeaderEdit => ({
    kind,
    name,
    value,
    keepEmpty: false,
  })
  const remove = (name: string): HeaderEdit => ({ kind: 'remove', name })

  function editsOf(route: Partial<RouteSpec>): RouteEdits {
    const made = target(route)
    if (made.kind !== 'route' || made.edits === null) throw new Error('no edits')
    return made.edits
  }

  function edited(edits: readonly HeaderEdit[], headers: string[], routeOver: Partial<RouteSpec> = {}): string[] {
    const lab = Lab.of({}, { name: 'r', headers: { request: edits, response: [] }, ...routeOver })
    const { call } = lab.call()
    call.route.edits!.request(headers, call.exchange, call)
    return headers
  }

  it.each<[string, HeaderEdit[], string[], string[]]>([
    ['set a new one', [set('a', '1')], ['host', 'x'], ['host', 'x', 'a', '1']],
    ['set over all lines, in any case', [set('a', '1')], ['A', '2', 'b', '3', 'a', '4'], ['A', '1', 'b', '3']],
    ['append', [edit('append', 'a', '1')], ['A', '2'], ['A', '2', 'a', '1']],
    ['add when absent', [edit('add-if-absent', 'a', '1')], [], ['a', '1']],
    ['do not add when present', [edit('add-if-absent', 'a', '1')], ['A', '2'], ['A', '2']],
    ['overwrite when present', [edit('overwrite-if-exists', 'a', '1')], ['A', '2'], ['A', '1']],
    ['do not overwrite when absent', [edit('overwrite-if-exists', 'a', '1')], [], []],
    ['remove every line', [remove('a')], ['a', '1', 'b', '2', 'A', '3'], ['b', '2']],
    ['act in their order', [remove('a'), set('a', '1'), edit('append', 'a', '2')], ['a', '0'], ['a', '1', 'a', '2']],
    ['leave out what is empty', [set('a', '%REQ(none)%')], ['a', '0'], ['a', '0']],
    ['keep what is empty', [set('a', '%REQ(none)%', true)], ['a', '0'], ['a', '']],
    ['leave framing alone', [set('transfer-encoding', 'x'), remove('content-length'), set('host', 'y')], [], []],
  ])('%s', (_name, edits, before, after) => {
    expect(edited(edits, before)).toEqual(after)
  })

  it('of the destination come before those of the route', () => {
    const headers = { request: [set('a', 'destination'), set('b', 'destination')], response: [] }
    const clusters = [{ name: 'c', weight: 1, headers, authority: 'dest' }]
    const after = edited([set('a', 'route')], [], { action: { kind: 'forward', clusters } })
    expect(after).toEqual(['a', 'route', 'b', 'destination'])
    const rewrite = { path: null, authority: 'route' }
    expect(editsOf({ rewrite, action: { kind: 'forward', clusters } }).authority('svc')).toBe('dest')
    expect(editsOf({ rewrite }).authority('svc')).toBe('route')
  })

  it('of an answer know its headers', () => {
    const lab = Lab.of({}, { headers: { request: [], response: [set('x', '%RESP(server)%'), remove('server')] } })
    const { call } = lab.call()
    const headers = { server: 's', other: ['1', '2'] }
    const response = call.route.edits!.response!
    response.apply(headers, { request: call.exchange, call, response: headers, routeName: 'r' })
    expect(headers).toEqual({ x: 's', other: ['1', '2'] })
    expect([...response.names]).toEqual(['x', 'server'])
  })

  it('cost nothing where there are none', () => {
    expect(target({})).toMatchObject({ kind: 'route', edits: null, mirror: null, hash: null })
  })
})

describe('a format in a header', () => {
  it.each([
    ['%REQ(X-A)%', 'one'],
    ['%REQ(none?x-a)%', 'one'],
    ['%REQ(x-empty?x-a)%', 'one'],
    ['%REQ(none)%', ''],
    ['%REQ(X-A):2%', 'on'],
    ['%REQ(:METHOD)% %REQ(:path)% %REQ(:authority)%', 'GET / svc'],
    ['%PROTOCOL%', 'HTTP/1.1'],
    ['%UPSTREAM_HOST%', '10.0.0.0:80'],
    ['%UPSTREAM_REMOTE_PORT%', '80'],
    ['%UPSTREAM_CLUSTER%', 'c'],
    ['%ROUTE_NAME%', 'r'],
    ['%UPSTREAM_REQUEST_ATTEMPT_COUNT%', '1'],
    ['%DOWNSTREAM_REMOTE_ADDRESS%', ''],
    ['100%%', '100%'],
  ])('%s is %j', (text, expected) => {
    const lab = Lab.of({ endpoints: [endpoint(0)] }, { name: 'r' })
    const { call } = lab.call()
    const headers: Record<string, string> = { 'x-a': 'one', 'x-empty': '' }
    const exchange = new LabExchange('svc', true, headers)
    const format = compileFormat(text)
    const seen = { request: exchange, call, response: null, routeName: 'r' }
    expect(typeof format === 'string' ? format : format(seen)).toBe(expected)
  })

  it('without operators is a constant', () => {
    process.env.INMESH_FORMAT_TEST = 'e'
    expect(compileFormat('a%%%ENVIRONMENT(INMESH_FORMAT_TEST)%%ENVIRONMENT(INMESH_NO_SUCH)%')).toBe('a%e')
    delete process.env.INMESH_FORMAT_TEST
  })
})
