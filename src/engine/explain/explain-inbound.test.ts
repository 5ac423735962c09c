import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type InboundSpec,
  inboundDefaults,
  type Permission,
  type Principal,
  type RbacSpec,
} from '../../model/inbound.ts'
import type { StringMatch } from '../../model/match.ts'
import { Inbound, type InboundRequest } from '../inbound.ts'
import { Rejection } from '../rejection.ts'
import { inboundRequest } from '../testing/inbound-request.ts'
import { explainInbound, formatInboundExplanation } from './explain-inbound.ts'

const exact = (value: string): StringMatch => ({ kind: 'exact', value, ignoreCase: false })
const id = (name: string) => `spiffe://cluster.local/ns/default/sa/${name}`

function inbound(
  rbac: readonly RbacSpec[],
  tlsMode: InboundSpec['tlsMode'] = 'PERMISSIVE',
  pathNormalization: InboundSpec['pathNormalization'] = 'BASE',
): Inbound {
  return new Inbound({ ...inboundDefaults, name: 'inmesh/inbound/10.0.0.1:8080', tlsMode, rbac, pathNormalization })
}

const allowOrders: RbacSpec = {
  filterName: 'allow',
  action: 'ALLOW',
  policies: [
    {
      name: 'ns[default]-policy[payments]-rule[0]',
      permissions: [
        {
          kind: 'and',
          rules: [
            { kind: 'path', match: exact('/charge') },
            { kind: 'destinationPort', port: 8080 },
          ],
        },
      ],
      principals: [{ kind: 'authenticated', match: exact(id('orders')) }],
    },
  ],
}

describe('an inbound explanation', () => {
  it('names the policy that admits, and why others do not', () => {
    const server = inbound([allowOrders])
    expect(explainInbound(server, { path: '/a/../charge?x=1', principal: id('orders') })).toMatchObject({
      admitted: true,
      path: '/charge',
      filters: [{ passes: true, decidedBy: 'ns[default]-policy[payments]-rule[0]' }],
    })
    const refused = explainInbound(server, { path: '/charge', principal: id('web') })
    expect(refused).toMatchObject({
      admitted: false,
      answer: { status: 403 },
      summary: 'refused: no rule of allow allows it',
    })
    expect(refused.filters[0]!.policies[0]!.why).toBe(`is for caller is "${id('orders')}"; the caller is ${id('web')}`)
    expect(explainInbound(server, { path: '/x', principal: id('orders') }).filters[0]!.policies[0]!.why).toBe(
      'asks for (path is "/charge" and port 8080)',
    )
    expect(formatInboundExplanation(refused)).toContain('STOPS ALLOW allow')
  })

  it('shows the rate limits and faults that are about the request', () => {
    const about = (value: string) => ({
      path: { kind: 'prefix', value, ignoreCase: false } as const,
      ...{ methods: [], headers: [], principals: [] },
    })
    const bucket = { maxTokens: 10, tokensPerFill: 5, fillIntervalMs: 1_000 }
    const limit = (name: string, path: string) => ({
      ...{ name, match: [about(path)], key: { kind: 'identity' } as const, bucket, overrides: [], status: 429 },
      ...{ grpcStatus: 8, answerHeaders: [], headers: false, global: false },
    })
    const spec = { ...inbound([]).spec, rateLimits: [limit('a', '/charge'), limit('b', '/other')] }
    const server = new Inbound(spec)
    for (let i = 0; i < 30; i++)
      expect(explainInbound(server, { path: '/charge', principal: id('a') })).toMatchObject({
        admitted: true,
        policies: [{ name: 'rate limit a', value: '5 per 1 s, bursts of 10, for each caller; else 429' }],
      })
  })

  it('says that mutual TLS is required, and that a path is none', () => {
    expect(explainInbound(inbound([], 'STRICT'), { path: '/' })).toMatchObject({
      admitted: false,
      answer: { status: 403 },
    })
    expect(explainInbound(inbound([]), { path: '/%00' })).toMatchObject({ admitted: false, answer: { status: 400 } })
  })

  it('decides as the server does, whatever the rules and the request', () => {
    const word = fc.constantFrom('a', 'b', '/a', '/a/b', 'GET')
    const header = fc
      .record({
        name: fc.constantFrom('x', ':method', ':path'),
        invert: fc.boolean(),
        missingAsEmpty: fc.boolean(),
        word,
      })
      .map(
        ({ word: value, ...rest }) =>
          ({ kind: 'header', match: { ...rest, kind: 'string', match: exact(value) } }) as const,
      )
    const { permission, principal } = fc.letrec<{ permission: Permission; principal: Principal }>((tie) => ({
      permission: fc.oneof(
        { depthSize: 'small' },
        fc.constant<Permission>({ kind: 'any' }),
        header,
        word.map((value): Permission => ({ kind: 'path', match: { kind: 'prefix', value, ignoreCase: false } })),
        tie('permission').map((r): Permission => ({ kind: 'not', rule: r })),
        fc.array(tie('permission'), { maxLength: 2 }).map((rules): Permission => ({ kind: 'and', rules })),
        fc.array(tie('permission'), { maxLength: 2 }).map((rules): Permission => ({ kind: 'or', rules })),
      ),
      principal: fc.oneof(
        { depthSize: 'small' },
        fc.constant<Principal>({ kind: 'any' }),
        header,
        fc.constantFrom('a', 'b').map((n): Principal => ({ kind: 'authenticated', match: exact(id(n)) })),
        fc.constant<Principal>({ kind: 'authenticated', match: null }),
        tie('principal').map((r): Principal => ({ kind: 'not', rule: r })),
      ),
    }))
    const policy = fc.record({
      name: word,
      permissions: fc.array(permission, { minLength: 1, maxLength: 2 }),
      principals: fc.array(principal, { minLength: 1, maxLength: 2 }),
    })
    const filter = fc.record({
      filterName: word,
      action: fc.constantFrom('ALLOW', 'DENY'),
      policies: fc.array(policy, { maxLength: 3 }),
    })
    const ask = fc.record({
      method: fc.constantFrom('GET', 'a'),
      path: fc.constantFrom('/a', '/a/b', '/b', '/a//b', '/a%2fb', '/a/../b?q', '/%00'),
      headers: fc.dictionary(fc.constantFrom('x'), fc.array(word, { minLength: 1, maxLength: 2 })),
      principal: fc.constantFrom(null, id('a'), id('b')),
    })
    const mode = fc.constantFrom('STRICT', 'PERMISSIVE', 'DISABLE')
    const forms = fc.constantFrom('NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES')
    fc.assert(
      fc.property(fc.array(filter, { maxLength: 3 }), mode, forms, ask, (filters, tlsMode, form, asked) => {
        const server = inbound(filters, tlsMode, form)
        const explained = explainInbound(server, asked)
        const verdict = server.admit(requestOf(asked))
        const details = verdict instanceof Rejection ? verdict.details : null
        expect(explained.answer?.details ?? null).toBe(details)
        expect(explained.admitted).toBe(details === null)
      }),
      { numRuns: 2_000 },
    )
  })
})

function requestOf(asked: {
  method: string
  path: string
  headers: Record<string, string[]>
  principal: string | null
}): InboundRequest {
  const { method, path, headers, principal } = asked
  const names = { trustDomain: 'cluster.local', namespace: 'default', serviceAccount: '' }
  const session = { serialNumber: '', notAfter: 0, tlsVersion: '' }
  return inboundRequest({
    ...{ method, path, authority: 'localhost', remoteAddress: '127.0.0.1' },
    peer: principal === null ? null : { spiffeId: principal, ...names, ...session },
    header: (name) => headers[name]?.join(','),
    values: (name) => headers[name] ?? [],
  })
}
