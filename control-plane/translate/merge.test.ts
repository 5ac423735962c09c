import { describe, expect, it } from 'vitest'
import { clientOf, endpointOf, Mesh, objectsOf } from './testing/mesh.ts'

const endpoints = [
  endpointOf('payments v1 10.0.0.1'),
  endpointOf('payments v2 10.0.0.2'),
  endpointOf('payments v2 10.0.0.3', { labels: { app: 'payments', version: 'v2', zone: 'b' } }),
]
const client = clientOf('frontend')
const host = 'payments.default.svc.cluster.local'
const unlimited = Number.POSITIVE_INFINITY

function rule(spec: string, name = 'r', namespace = 'default'): string {
  return `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${name}, namespace: ${namespace}}
spec: {${spec}}
---
`
}

const connections = (n: number) => `connectionPool: {tcp: {maxConnections: ${n}}}`
const cluster = (mesh: Mesh, subset = '', port = 80, from = client) =>
  mesh.cluster(`outbound|${port}|${subset}|${host}`, from)
const limit = (mesh: Mesh, subset = '', port = 80, from = client) =>
  cluster(mesh, subset, port, from)?.limits.maxConnections

describe('which DestinationRule counts', () => {
  it("asks the client's namespace, then the service's, then the root namespace", () => {
    const own = rule(`host: ${host}, trafficPolicy: {${connections(1)}}`, 'client', 'shop')
    const service = rule(`host: payments, trafficPolicy: {${connections(2)}}`, 'service')
    const root = rule(`host: ${host}, trafficPolicy: {${connections(3)}}`, 'root', 'istio-system')
    const of = (yaml: string, name: string) => limit(new Mesh({ yaml, endpoints }), '', 80, clientOf(name))
    expect(of(own + service + root, 'x.shop')).toBe(1)
    expect(of(own + service + root, 'x')).toBe(2)
    expect(of(own + root, 'x')).toBe(3)
    expect(of(own, 'x')).toBe(unlimited)
  })

  it('does not inherit from one namespace to the next', () => {
    const yaml =
      rule(`host: ${host}, trafficPolicy: {${connections(1)}}`, 'client', 'shop') +
      rule('host: payments, subsets: [{name: odd, labels: {zone: b}}]')
    const mesh = new Mesh({ yaml, endpoints })
    expect(cluster(mesh, 'odd')?.endpoints.map((e) => e.address)).toEqual(['10.0.0.3'])
    expect(cluster(mesh, 'odd', 80, clientOf('x.shop'))?.endpoints).toEqual([])
  })

  it('takes the most specific host of a namespace', () => {
    const yaml =
      rule(`host: "*.local", trafficPolicy: {${connections(1)}}`, 'a') +
      rule(`host: "*.svc.cluster.local", trafficPolicy: {${connections(2)}}`, 'b')
    expect(limit(new Mesh({ yaml, endpoints }))).toBe(2)
    expect(
      limit(new Mesh({ yaml: yaml + rule(`host: payments, trafficPolicy: {${connections(3)}}`, 'c'), endpoints })),
    ).toBe(3)
  })

  it('adds up the subsets of several for one host; of the policies the oldest counts whole', () => {
    const objects = objectsOf(
      rule('host: payments, subsets: [{name: a, labels: {version: v1}}]', 'first') +
        rule(
          `host: ${host}, trafficPolicy: {${connections(5)}}, subsets: [{name: a, labels: {version: v2}}, {name: b, labels: {zone: b}}]`,
          'second',
        ) +
        rule('host: payments, trafficPolicy: {connectionPool: {http: {maxRetries: 9}}}', 'third'),
    )
    const mesh = new Mesh({ objects, endpoints })
    expect(cluster(mesh)?.limits).toMatchObject({ maxConnections: 5, maxRetries: unlimited })
    expect(cluster(mesh, 'a')?.endpoints.map((e) => e.address)).toEqual(['10.0.0.1'])
    expect(cluster(mesh, 'b')?.endpoints.map((e) => e.address)).toEqual(['10.0.0.3'])
  })

  it('keeps "version" as the meaning of subsets that no rule defines', () => {
    const mesh = new Mesh({ yaml: rule('host: payments, subsets: [{name: a, labels: {zone: b}}]'), endpoints })
    expect(cluster(mesh, 'v1')?.endpoints.map((e) => e.address)).toEqual(['10.0.0.1'])
    expect(cluster(mesh, 'v9')?.endpoints).toEqual([])
  })
})

describe('what a DestinationRule says about a cluster', () => {
  it('a port-level entry replaces the policy for its port whole', () => {
    const yaml = rule(
      `host: payments, trafficPolicy: {${connections(1)}, outlierDetection: {}, portLevelSettings: [{port: {number: 9000}, loadBalancer: {simple: RANDOM}}]}`,
    )
    const mesh = new Mesh({ yaml, endpoints })
    expect(cluster(mesh)).toMatchObject({ limits: { maxConnections: 1 }, lb: { policy: 'ROUND_ROBIN' } })
    expect(cluster(mesh)?.outlier).not.toBeNull()
    expect(cluster(mesh, '', 9000)).toMatchObject({
      limits: { maxConnections: unlimited },
      lb: { policy: 'RANDOM' },
      outlier: null,
    })
  })

  it("a subset's blocks replace those of the rule one by one, never inside", () => {
    const yaml = rule(
      `host: payments, trafficPolicy: {${connections(1)}, loadBalancer: {simple: LEAST_CONN}}, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 7}}}}]`,
    )
    const mesh = new Mesh({ yaml, endpoints })
    expect(cluster(mesh, 'v1')).toMatchObject({
      limits: { maxConnections: unlimited, maxRequests: 7 },
      lb: { policy: 'LEAST_REQUEST', choiceCount: 2 },
    })
    expect(cluster(mesh, 'v2')).toMatchObject({ limits: { maxConnections: 1 } })
  })

  it("a subset's entry for the port replaces all blocks, even those it leaves out", () => {
    const yaml = rule(
      `host: payments, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {portLevelSettings: [{port: {number: 80}, ${connections(4)}}]}}]`,
    )
    const mesh = new Mesh({ yaml, endpoints })
    expect(cluster(mesh, 'v1')).toMatchObject({ limits: { maxConnections: 4 }, lb: { policy: 'ROUND_ROBIN' } })
    expect(cluster(mesh, 'v1', 81)).toMatchObject({ limits: { maxConnections: unlimited }, lb: { policy: 'RANDOM' } })
  })

  it.each([
    ['tcp: {connectTimeout: 250ms}', { connectTimeoutMs: 250 }],
    ['tcp: {idleTimeout: 9s}', { idleTimeoutMs: 9_000 }],
    ['tcp: {idleTimeout: 9s}, http: {idleTimeout: 3s}', { idleTimeoutMs: 3_000 }],
    ['http: {idleTimeout: 0s}', { idleTimeoutMs: unlimited }],
    ['http: {http1MaxPendingRequests: 0, maxRetries: 4}', { limits: { maxPendingRequests: unlimited, maxRetries: 4 } }],
    ['http: {maxRequestsPerConnection: 1}', { limits: { maxRequestsPerConnection: 1 } }],
  ])('connectionPool {%s}', (pool, expected) => {
    const mesh = new Mesh({ yaml: rule(`host: payments, trafficPolicy: {connectionPool: {${pool}}}`), endpoints })
    expect(cluster(mesh)).toMatchObject(expected)
  })

  it.each([
    [
      '{}',
      {
        consecutive5xx: 5,
        consecutiveGatewayErrors: 0,
        intervalMs: 10_000,
        baseEjectionTimeMs: 30_000,
        maxEjectionPercent: 10,
      },
    ],
    ['{consecutive5xxErrors: 0, consecutiveGatewayErrors: 3}', { consecutive5xx: 0, consecutiveGatewayErrors: 3 }],
    ['{baseEjectionTime: 10m, maxEjectionPercent: 0}', { maxEjectionTimeMs: 600_000, maxEjectionPercent: 10 }],
    ['{maxEjectionPercent: 100, interval: 1s}', { maxEjectionPercent: 100, intervalMs: 1_000 }],
  ])('outlierDetection %s', (outlier, expected) => {
    const mesh = new Mesh({ yaml: rule(`host: payments, trafficPolicy: {outlierDetection: ${outlier}}`), endpoints })
    expect(cluster(mesh)?.outlier).toMatchObject(expected)
  })

  it('minHealthPercent is the panic threshold; without it there is no panic', () => {
    const mesh = new Mesh({
      yaml: rule('host: payments, trafficPolicy: {outlierDetection: {minHealthPercent: 30}}'),
      endpoints,
    })
    expect(cluster(mesh)?.panicThresholdPercent).toBe(30)
    expect(cluster(new Mesh({ endpoints }))?.panicThresholdPercent).toBe(0)
  })

  it("retryBudget replaces the data plane's own", () => {
    const mesh = new Mesh({ yaml: rule('host: payments, trafficPolicy: {retryBudget: {percent: 35}}'), endpoints })
    expect(cluster(mesh)?.retryBudget).toEqual({ kind: 'concurrency', percent: 35, minConcurrency: 3 })
    expect(cluster(new Mesh({ endpoints }))?.retryBudget).toMatchObject({
      kind: 'window',
      percent: 20,
      windowMs: 10_000,
    })
  })

  it.each([
    ['', 'auto'],
    ['tls: {}', 'plaintext'],
    ['tls: {mode: DISABLE}', 'plaintext'],
    ['tls: {mode: ISTIO_MUTUAL}', 'mtls'],
  ])('TLS with "%s" is %s', (tls, mode) => {
    const found = cluster(new Mesh({ yaml: rule(`host: payments, trafficPolicy: {${tls}}`), endpoints }))
    expect(found?.tls).toEqual({
      mode,
      allowedIds: mode === 'plaintext' ? [] : ['spiffe://cluster.local/ns/default/sa/payments'],
    })
  })
})
