import { describe, expect, it } from 'vitest'
import { clientOf, endpointOf, Mesh } from './testing/mesh.ts'

const endpoints = [
  endpointOf('payments v1 10.0.0.1'),
  endpointOf('payments v2 10.0.0.2'),
  endpointOf('audit v1 10.0.1.1'),
]
const frontend = clientOf('frontend')

const rule = (hash: string, { host = 'payments', more = '' } = {}) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${host}${more === '' ? '' : '-selective'}}
spec:
  host: ${host}
  ${more}
  trafficPolicy: {loadBalancer: {consistentHash: ${hash}}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]
---
`
const virtualService = (http: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments}
spec:
  hosts: [payments]
  http: [${http}]
---
`
const routes = (yaml: string, client = frontend) =>
  new Mesh({ yaml, endpoints }).routes('payments', client)!.virtualHosts[0]!.routes
const to = (...destinations: string[]) =>
  virtualService(`{route: [${destinations.map((d) => `{destination: {${d}}, weight: 1}`).join(', ')}]}`)

describe('hash policies of routes', () => {
  it.each([
    ['{httpHeaderName: X-User}', { kind: 'header', name: 'x-user', terminal: false }],
    ['{httpCookie: {name: sid}}', { kind: 'cookie', name: 'sid', path: '', ttlMs: null, terminal: false }],
    [
      '{httpCookie: {name: sid, path: /a, ttl: 60s}}',
      { kind: 'cookie', name: 'sid', path: '/a', ttlMs: 60_000, terminal: false },
    ],
    ['{httpCookie: {name: sid, ttl: 0s}}', { kind: 'cookie', name: 'sid', path: '', ttlMs: 0, terminal: false }],
    ['{useSourceIp: true}', { kind: 'source-ip', terminal: false }],
    ['{httpQueryParameterName: q}', { kind: 'query', name: 'q', terminal: false }],
  ])('%s, with a VirtualService or without', (hash, expected) => {
    for (const yaml of [rule(hash), rule(hash) + to('host: payments')])
      expect(routes(yaml)[0]).toMatchObject({
        hash: [expected],
        decidedBy: { hash: 'DestinationRule/default/payments' },
        retry: { avoidPreviousHosts: false },
      })
  })

  it('each destination brings its own, equal ones once', () => {
    const yaml = rule('{httpHeaderName: x-user}') + rule('{httpQueryParameterName: q}', { host: 'audit' })
    expect(routes(yaml + to('host: payments', 'host: payments, subset: v1', 'host: audit'))[0]!.hash).toEqual([
      { kind: 'header', name: 'x-user', terminal: false },
      { kind: 'query', name: 'q', terminal: false },
    ])
  })

  it('a subset with a balancer of its own has none', () => {
    const [found] = routes(rule('{httpHeaderName: x-user}') + to('host: payments, subset: v2'))
    expect(found).toMatchObject({ hash: [], retry: { avoidPreviousHosts: true } })
  })

  it('HTTPRoutes have them too', () => {
    const route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a}
spec:
  parentRefs: [{group: "", kind: Service, name: payments}]
  rules: [{backendRefs: [{name: payments, port: 80}]}]
---
`
    expect(routes(rule('{useSourceIp: true}') + route)[0]!.hash).toEqual([{ kind: 'source-ip', terminal: false }])
  })

  it('rules for some callers are for those callers, in one translation', () => {
    const yaml = rule('{useSourceIp: true}', { more: 'workloadSelector: {matchLabels: {tier: web}}' })
    const mesh = new Mesh({ yaml, endpoints })
    const hashes = (labels: Record<string, string>) =>
      mesh.routes('payments', clientOf('frontend', { labels }))!.virtualHosts[0]!.routes[0]!.hash.length
    expect([hashes({ tier: 'web' }), hashes({ tier: 'batch' }), hashes({ tier: 'web' })]).toEqual([1, 0, 1])
  })
})
