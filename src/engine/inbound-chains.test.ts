import { describe, expect, it } from 'vitest'
import { type ChainMatch, type InboundSpec, inboundDefaults, type RbacSpec } from '../model/inbound.ts'
import { type RouteSpec, routeDefaults } from '../model/route.ts'
import { Inbound } from './inbound.ts'
import { compileChains } from './inbound-chains.ts'
import { Rejection } from './rejection.ts'
import { inboundRequest } from './testing/inbound-request.ts'

const cidr = (text: string) => {
  const [address = '', length] = text.split('/')
  return { address, prefixLength: Number(length) }
}
const match = (to: string | null, type: ChainMatch['sourceType'] = 'ANY', from: string | null = null): ChainMatch => ({
  destination: to === null ? null : cidr(to),
  sourceType: type,
  source: from === null ? null : cidr(from),
})

describe('the chain of a connection (A36)', () => {
  const find = compileChains([
    { match: match(null), value: 'anywhere' },
    { match: match('10.0.0.0/8'), value: 'ten' },
    { match: match('10.1.0.0/16', 'EXTERNAL'), value: 'ten-one, from outside' },
    { match: match('10.2.0.0/16', 'ANY', '192.168.0.0/16'), value: 'of 192.168' },
    { match: match('10.2.0.0/16', 'ANY', '192.168.7.0/24'), value: 'of 192.168.7' },
    { match: match('10.3.0.0/16', 'SAME_IP_OR_LOOPBACK'), value: 'from here' },
    { match: match('10.3.0.0/16'), value: 'to ten-three' },
    { match: null, value: 'default' },
  ])

  it.each([
    ['1.1.1.1', '2.2.2.2', 'anywhere'],
    ['10.9.9.9', '2.2.2.2', 'ten'],
    ['10.1.0.1', '2.2.2.2', 'ten-one, from outside'],
    // The best destination leaves nothing for this source: no other destination is tried.
    ['10.1.0.1', '127.0.0.1', 'default'],
    ['10.2.0.1', '192.168.7.1', 'of 192.168.7'],
    ['10.2.0.1', '192.168.8.1', 'of 192.168'],
    ['10.2.0.1', '8.8.8.8', 'default'],
    ['10.3.0.1', '10.3.0.1', 'from here'],
    ['10.3.0.1', '127.0.0.1', 'from here'],
    ['::ffff:10.3.0.1', '::ffff:10.3.0.1', 'from here'],
    ['10.3.0.1', '10.3.0.2', 'to ten-three'],
  ])('to %s from %s is "%s"', (localAddress, remoteAddress, expected) => {
    expect(find({ localAddress, remoteAddress })).toBe(expected)
  })

  it('may be none', () => {
    expect(
      compileChains([{ match: match('10.0.0.0/8'), value: 1 }])({ localAddress: '1.1.1.1', remoteAddress: '' }),
    ).toBe(null)
  })
})

const rbac = (action: RbacSpec['action'], id: string): RbacSpec => ({
  filterName: 'rbac',
  action,
  policies: [
    {
      name: 'p',
      permissions: [{ kind: 'any' }],
      principals: [{ kind: 'authenticated', match: { kind: 'suffix', value: `/${id}`, ignoreCase: false } }],
    },
  ],
})
const spec = (over: Partial<InboundSpec>): InboundSpec => ({
  ...inboundDefaults,
  name: 'server',
  tlsMode: 'STRICT',
  rbac: [],
  ...over,
})
const route = (path: string, over: Partial<RouteSpec> = {}): RouteSpec => ({
  ...routeDefaults,
  name: path,
  match: { path: { kind: 'prefix', value: path, ignoreCase: false }, headers: [], query: [], fractionPerMillion: null },
  action: { kind: 'direct', status: 503, body: '' },
  timeoutMs: Number.POSITIVE_INFINITY,
  timeoutUntilHeaders: false,
  retry: null,
  decidedBy: {},
  ...over,
})
const outcome = (inbound: Inbound, over: Parameters<typeof inboundRequest>[0]) => {
  const verdict = inbound.admit(inboundRequest(over))
  return verdict instanceof Rejection ? `${verdict.status} ${verdict.details}` : 'served'
}

describe('routes of a server (A36, A41)', () => {
  const inbound = new Inbound(
    spec({
      rbac: [rbac('ALLOW', 'orders')],
      routes: {
        filters: [
          { name: 'rbac', rules: rbac('ALLOW', 'orders') },
          { name: 'later', rules: null },
        ],
        table: {
          name: 'r',
          virtualHosts: [
            {
              name: 'all',
              domains: ['payments'],
              routes: [
                route('/open', { served: true, rbac: { rbac: null } }),
                route('/others', { served: true, rbac: { rbac: rbac('ALLOW', 'others') } }),
                route('/not-orders', { served: true, rbac: { later: rbac('DENY', 'orders') } }),
                route('/elsewhere'),
                route('/', { served: true }),
              ],
            },
          ],
        },
      },
    }),
  )

  it.each([
    ['/', 'served'],
    ['/open', 'served'],
    ['/others', '403 rbac_access_denied_matched_policy[none]'],
    ['/not-orders', '403 rbac_access_denied_matched_policy[p]'],
    ['/elsewhere', '503 route_not_found'],
    // Two readings of it lead to two routes.
    ['/open/../others', '400 ambiguous_path'],
  ])('%s is %s', (path, expected) => {
    const got = outcome(inbound, { path })
    if (expected.startsWith('400')) expect(got).not.toBe('served')
    else expect(got).toBe(expected)
  })

  it('refuse hosts that none of them names', () => {
    expect(outcome(inbound, { authority: 'somebody' })).toBe('503 route_not_found')
  })
})

describe('chains of a server', () => {
  const inbound = new Inbound(
    spec({
      chains: [
        { match: match('10.0.0.1/32'), spec: spec({ rbac: [rbac('ALLOW', 'orders')] }) },
        { match: match('10.0.0.2/32'), spec: spec({ tlsMode: 'DISABLE', rbac: [rbac('DENY', 'orders')] }) },
      ],
    }),
  )

  it('each have rules of their own', () => {
    expect(outcome(inbound, { localAddress: '10.0.0.1' })).toBe('served')
    expect(outcome(inbound, { localAddress: '10.0.0.1', peer: null })).toBe('403 peer_not_authenticated')
    expect(outcome(inbound, { localAddress: '10.0.0.2' })).toContain('403')
    expect(outcome(inbound, { localAddress: '10.0.0.2', peer: null })).toBe('served')
  })

  it('leave nothing for other connections', () => {
    expect(inbound.forConnection({ localAddress: '10.0.0.3', remoteAddress: '10.0.0.9' })).toBeNull()
    expect(outcome(inbound, { localAddress: '10.0.0.3' })).not.toBe('served')
    expect(inbound.forConnection({ localAddress: '10.0.0.2', remoteAddress: '10.0.0.9' })?.spec.tlsMode).toBe('DISABLE')
  })
})
