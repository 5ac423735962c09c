import { describe, expect, it } from 'vitest'
import { type InboundSpec, inboundDefaults, type Permission, type Principal, type RbacSpec } from '../model/inbound.ts'
import type { HeaderMatch } from '../model/match.ts'
import type { Peer } from '../model/peer.ts'
import { type AuthorizationView, compileRbac } from './authorize.ts'
import { Inbound, type InboundRequest } from './inbound.ts'
import { Rejection } from './rejection.ts'

const exact = (value: string) => ({ kind: 'exact' as const, value, ignoreCase: false })
const peer = { spiffeId: 'spiffe://cluster.local/ns/shop/sa/orders' } as Peer

function view(over: Partial<AuthorizationView> = {}, headers: Record<string, string[]> = {}): AuthorizationView {
  return {
    method: 'GET',
    authority: 'svc:80',
    peer,
    remoteAddress: '::ffff:10.0.0.9',
    localAddress: '10.0.0.1',
    localPort: 8080,
    values: (name) => headers[name] ?? [],
    ...over,
  }
}

const header = (over: Partial<HeaderMatch>): HeaderMatch =>
  ({ name: 'x', invert: false, missingAsEmpty: false, kind: 'string', match: exact('1'), ...over }) as HeaderMatch

function allowed(
  action: 'ALLOW' | 'DENY',
  permission: Permission,
  principal: Principal,
  v = view(),
  path = '/',
): boolean {
  const policies = [{ name: 'p', permissions: [permission], principals: [principal] }]
  return compileRbac({ filterName: 'rbac', action, policies })(v, path) === undefined
}

const any = { kind: 'any' } as const
const matched = (permission: Permission, principal: Principal, v?: AuthorizationView, path?: string) =>
  allowed('ALLOW', permission, principal, v, path)

describe('a permission', () => {
  const method = (value: string): Permission => ({
    kind: 'header',
    match: header({ name: ':method', match: exact(value) }),
  })
  it.each<[Permission, boolean]>([
    [any, true],
    [{ kind: 'destinationPort', port: 8080 }, true],
    [{ kind: 'destinationPort', port: 80 }, false],
    [{ kind: 'destinationIp', cidr: { address: '10.0.0.0', prefixLength: 8 } }, true],
    [{ kind: 'destinationIp', cidr: { address: '10.0.0.2', prefixLength: 32 } }, false],
    [{ kind: 'path', match: { kind: 'prefix', value: '/a', ignoreCase: false } }, true],
    [{ kind: 'path', match: exact('/a') }, false],
    [method('GET'), true],
    [method('POST'), false],
    [{ kind: 'header', match: header({ name: ':authority', match: exact('svc:80') }) }, true],
    [{ kind: 'not', rule: method('GET') }, false],
    [{ kind: 'not', rule: method('POST') }, true],
    [{ kind: 'and', rules: [method('GET'), { kind: 'not', rule: method('POST') }] }, true],
    [{ kind: 'and', rules: [method('GET'), method('POST')] }, false],
    [{ kind: 'or', rules: [method('POST'), method('GET')] }, true],
    [{ kind: 'or', rules: [] }, false],
    [{ kind: 'and', rules: [] }, true],
  ])('%j: %s', (permission, expected) => {
    expect(matched(permission, any, undefined, '/a/b')).toBe(expected)
  })
})

describe('a principal', () => {
  const orders: Principal = { kind: 'authenticated', match: exact(peer.spiffeId) }
  it.each<[string, Principal, Partial<AuthorizationView>, boolean]>([
    ['the id', orders, {}, true],
    ['another id', { kind: 'authenticated', match: exact('spiffe://cluster.local/ns/shop/sa/x') }, {}, false],
    ['any verified peer', { kind: 'authenticated', match: null }, {}, true],
    ['the id, plaintext', orders, { peer: null }, false],
    ['any verified peer, plaintext', { kind: 'authenticated', match: null }, { peer: null }, false],
    ['not the id, plaintext', { kind: 'not', rule: orders }, { peer: null }, true],
    ['not the id', { kind: 'not', rule: orders }, {}, false],
    ['mapped address', { kind: 'directRemoteIp', cidr: { address: '10.0.0.9', prefixLength: 32 } }, {}, true],
    ['mapped range', { kind: 'remoteIp', cidr: { address: '::ffff:10.0.0.0', prefixLength: 104 } }, {}, true],
  ])('%s', (_name, principal, over, expected) => {
    expect(matched(any, principal, view(over))).toBe(expected)
  })
})

describe('a header that comes several times', () => {
  const rule: Permission = { kind: 'header', match: header({}) }
  const not: Permission = { kind: 'not', rule }
  it.each<['ALLOW' | 'DENY', Permission, string[], boolean]>([
    ['ALLOW', rule, ['1'], true],
    ['ALLOW', rule, ['1', '1'], true],
    ['ALLOW', rule, ['1', '2'], false],
    ['ALLOW', rule, [], false],
    ['DENY', rule, ['2', '1'], false],
    ['DENY', rule, ['2'], true],
    ['DENY', rule, [], true],
    // Let pass unless it is 1: one 1 among the values is enough to stop it.
    ['ALLOW', not, ['2', '1'], false],
    ['ALLOW', not, ['2'], true],
    ['ALLOW', not, [], true],
    // Denied unless it is 1: one other among the values is enough.
    ['DENY', not, ['1', '2'], false],
    ['DENY', not, ['1'], true],
    ['DENY', not, [], false],
  ])('under %s %j with %j may pass: %s', (action, permission, values, expected) => {
    expect(allowed(action, permission, any, view({}, { x: values }))).toBe(expected)
  })
})

describe('a filter', () => {
  it('of ALLOW without policies denies all, of DENY without policies nothing', () => {
    expect(compileRbac({ filterName: '', action: 'ALLOW', policies: [] })(view(), '/')).toMatchObject({
      status: 403,
      body: 'RBAC: access denied',
      details: 'rbac_access_denied_matched_policy[none]',
    })
    expect(compileRbac({ filterName: '', action: 'DENY', policies: [] })(view(), '/')).toBe(undefined)
  })

  it('names the policy that denied', () => {
    const policies = [{ name: 'ns[a]-policy[b]-rule[0]', permissions: [any], principals: [any] }]
    expect(compileRbac({ filterName: '', action: 'DENY', policies })(view(), '/')?.details).toBe(
      'rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]',
    )
  })
})

describe('the way in', () => {
  const deny = (path: string): RbacSpec => ({
    filterName: '',
    action: 'DENY',
    policies: [{ name: 'p', permissions: [{ kind: 'path', match: exact(path) }], principals: [any] }],
  })
  function admit(spec: Partial<InboundSpec>, path: string, over: Partial<InboundRequest> = {}) {
    let seen = path
    const request = {
      ...view(),
      path,
      deadline: Number.POSITIVE_INFINITY,
      header: () => undefined,
      setPath(p: string) {
        this.path = p
        seen = p
      },
      ...over,
    }
    const verdict = new Inbound({ ...inboundDefaults, name: '', tlsMode: 'STRICT', rbac: [], ...spec }).admit(
      request as InboundRequest,
    )
    return verdict instanceof Rejection ? verdict.details : seen
  }

  it.each([
    ['/admin', 'rbac_access_denied_matched_policy[p]'],
    ['/x/../%61dmin?q', 'rbac_access_denied_matched_policy[p]'],
    ['//admin', 'ambiguous_path'],
    ['/x%2f..%2fadmin', 'ambiguous_path'],
    ['/a/./b?q=%61', '/a/b?q=%61'],
    ['/a%2fb', '/a%2fb'],
    ['/%00', 'path_normalization_failed'],
  ])('of %s, with /admin denied, ends at %s', (path, end) => {
    expect(admit({ rbac: [deny('/admin')] }, path)).toBe(end)
  })

  it('is closed to plaintext in STRICT mode only', () => {
    expect(admit({}, '/', { peer: null })).toBe('peer_not_authenticated')
    expect(admit({ tlsMode: 'PERMISSIVE' }, '/', { peer: null })).toBe('/')
    expect(admit({ tlsMode: 'DISABLE' }, '/', { peer: null })).toBe('/')
  })
})
