import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseDocuments, validateBatch } from '../resources/index.ts'
import { inboundPolicy } from './inbound-policy.ts'
import { MeshIndex } from './mesh-index.ts'
import { inSteps } from './rate-limits.ts'
import { clientOf, endpointOf, Mesh, revisionOf } from './testing/mesh.ts'

const limit = (rule: string, namespace = 'shop', selector = '') => `---
apiVersion: inmesh.dev/v1
kind: RateLimit
metadata: { name: limits, namespace: ${namespace} }
spec: { ${selector} rules: [ ${rule} ] }
`
const instances = (count: number) =>
  Array.from({ length: count }, (_, i) => endpointOf(`payments.shop v1 10.0.0.${i + 1}`))
const limitsOf = (yaml: string, endpoints = instances(1), client = clientOf('payments.shop')) =>
  inboundPolicy(new MeshIndex(revisionOf({ yaml, endpoints })), 8080, client).rateLimits!
const ms = (d: { seconds?: bigint; nanos?: number } | undefined) => Number(d!.seconds!) * 1000 + d!.nanos! / 1e6

describe('RateLimit on the wire', () => {
  it('has its conditions, key, answer and name', () => {
    const [rule] = limitsOf(
      limit(
        '{ name: writes, match: [{ path: { segments: /cart }, methods: [POST], headers: { X-Kind: { prefix: a }, x-there: {} }, principals: ["cluster.local/ns/shop/sa/*"] }], key: "header:X-User", requests: 10, per: 1s, burst: 30, status: 503, headers: false }',
      ),
    )
    expect(rule).toMatchObject({
      name: 'limits.writes',
      match: [
        {
          ...{ pathSegments: '/cart', methods: ['POST'] },
          headers: { 'x-kind': { how: { case: 'prefix', value: 'a' } }, 'x-there': { how: { case: 'present' } } },
          principals: [{ how: { case: 'prefix', value: 'spiffe://cluster.local/ns/shop/sa/' } }],
        },
      ],
      key: { case: 'header', value: 'x-user' },
      ...{ status: 503, headers: false, global: false },
      bucket: { maxTokens: 30 },
    })
  })

  it('gives what was asked for, in portions no finer than 50 ms and no larger than the bucket', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100_000 }),
        fc.integer({ min: 1, max: 3600 }),
        fc.option(fc.integer({ min: 1, max: 1000 }), { nil: undefined }),
        (requests, perSeconds, burst) => {
          const own = burst === undefined ? '' : `, burst: ${burst}`
          const { bucket } = limitsOf(limit(`{ requests: ${requests}, per: ${perSeconds}s${own} }`))[0]!
          expect(bucket!.maxTokens).toBe(burst ?? requests)
          expect(bucket!.tokensPerFill!).toBeLessThanOrEqual(bucket!.maxTokens!)
          const perSecond = (bucket!.tokensPerFill! / ms(bucket!.fillInterval)) * 1000
          expect(perSecond / (requests / perSeconds)).toBeCloseTo(1, 3)
        },
      ),
      { numRuns: 50 },
    )
  })

  it('a global bucket is divided among the healthy instances that it selects', () => {
    const yaml = limit(
      '{ requests: 100, per: 1s, global: true }',
      'shop',
      'selector: { matchLabels: { version: v1 } },',
    )
    const rateWith = (endpoints: ReturnType<typeof instances>) => {
      const { bucket } = limitsOf(yaml, endpoints, clientOf('payments.shop', { labels: { version: 'v1' } }))[0]!
      return [bucket!.maxTokens, (bucket!.tokensPerFill! / ms(bucket!.fillInterval)) * 1000]
    }
    expect(rateWith(instances(1))).toEqual([100, 100])
    expect(rateWith(instances(4))).toEqual([25, 25])
    const sick = endpointOf('payments.shop v1 10.0.0.99', { health: 'UNHEALTHY' })
    const other = endpointOf('payments.shop v2 10.0.0.98')
    expect(rateWith([...instances(4), sick, other])).toEqual([25, 25])
    expect(rateWith([])).toEqual([100, 100])
  })

  it('many instances are counted in steps of an eighth, never too few', () => {
    expect([1, 2, 7, 8, 9, 15, 16, 17, 18, 100].map(inSteps)).toEqual([1, 2, 7, 8, 9, 15, 16, 18, 18, 104])
    fc.assert(fc.property(fc.integer({ min: 1, max: 100_000 }), (n) => inSteps(n) >= n && inSteps(n) <= n * 1.125 + 1))
  })

  it('an instance more changes the listeners of that service alone', () => {
    const yaml = limit('{ requests: 100, per: 1s, global: true }')
    const name = 'inmesh/inbound/10.0.0.1:8080'
    const versions = (mesh: Mesh) =>
      ['payments.shop', 'ledger.bank'].map(
        (who) =>
          mesh.translation.resolve('type.googleapis.com/envoy.config.listener.v3.Listener', name, clientOf(who))!
            .version,
      )
    const before = new Mesh({ yaml, endpoints: instances(2) })
    const after = new Mesh({ yaml, endpoints: instances(3), revision: 2 }, before)
    expect(versions(after)[0]).not.toBe(versions(before)[0])
    expect(versions(after)[1]).toBe(versions(before)[1])
  })

  it('rules of the root namespace come first and hold everywhere, others in their namespace and selector', () => {
    const yaml =
      limit('{ name: one, requests: 1, per: 1s }') +
      limit('{ name: all, requests: 1, per: 1s }', 'istio-system') +
      limit('{ name: other, requests: 1, per: 1s }', 'bank')
    const names = (client: string) => limitsOf(yaml, [], clientOf(client)).map((rule) => rule.name)
    expect(names('payments.shop')).toEqual(['istio-system/limits.all', 'limits.one'])
    const selective = limit('{ requests: 1, per: 1s }', 'shop', 'selector: { matchLabels: { app: payments } },')
    expect(limitsOf(selective, [], clientOf('orders.shop'))).toEqual([])
    expect(limitsOf(selective)).toHaveLength(1)
  })

  it('overrides of callers are SPIFFE ids', () => {
    const rule =
      '{ key: identity, requests: 10, per: 1m, overrides: { "cluster.local/ns/shop/sa/batch": { requests: 1 } } }'
    expect(Object.keys(limitsOf(limit(rule))[0]!.overrides!)).toEqual(['spiffe://cluster.local/ns/shop/sa/batch'])
  })
})

it.each([
  ['{ requests: 0, per: 1s }', 'spec.rules[0].requests'],
  ['{ requests: 1 }', 'spec.rules[0].per'],
  ['{ requests: 1, per: 1 }', 'spec.rules[0].per'],
  ['{ requests: 1, per: 1s, key: user }', 'spec.rules[0].key'],
  ['{ requests: 1, per: 1s, key: "header:" }', 'spec.rules[0].key'],
  ['{ requests: 1, per: 1s, status: 200 }', 'spec.rules[0].status'],
  ['{ requests: 1, per: 1s, overrides: { a: { requests: 2 } } }', 'spec.rules[0].overrides'],
  ['{ requests: 1, per: 1s, match: [{ path: { exact: /a, prefix: /b } }] }', 'spec.rules[0].match[0].path'],
  ['{ requests: 1, per: 1s, match: [{ path: { regex: "(" } }] }', 'spec.rules[0].match[0].path.regex'],
  ['{ requests: 1, per: 1s, match: [{ methods: [get] }] }', 'spec.rules[0].match[0].methods[0]'],
  ['{ name: a, requests: 1, per: 1s }, { name: a, requests: 1, per: 1s }', 'spec.rules[1].name'],
])('a RateLimit with %s is refused', (rule, field) => {
  const { problems } = validateBatch(parseDocuments(limit(rule), 'limit.yaml').documents, {
    ...{ objects: [], endpoints: [], services: [] },
  })
  expect(problems).toMatchObject([{ severity: 'error', field, file: 'limit.yaml', line: 5 }])
})
