import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseDocuments, validateBatch } from '../resources/index.ts'
import { routeOf, splitOf, verdict } from './testing/decide.ts'
import { clientOf, endpointOf, Mesh } from './testing/mesh.ts'

const folder = join(import.meta.dirname, '../../test/fixtures')
const fixture = (name: string) => readFileSync(join(folder, `${name}.yaml`), 'utf8')
const fqdn = (name: string) => `${name}.default.svc.cluster.local`

const endpoints = [
  endpointOf('payment-service v1 10.0.0.1'),
  endpointOf('payment-service v1 10.0.0.2'),
  endpointOf('payment-service v2 10.0.0.3'),
  endpointOf('order-service v1 10.0.1.1'),
]
const frontend = clientOf('frontend')

describe("the mission's own YAML", () => {
  it.each(readdirSync(folder))('%s is accepted as it is', (file) => {
    const { documents, problems } = parseDocuments(readFileSync(join(folder, file), 'utf8'), file)
    const batch = validateBatch(documents, { objects: [], endpoints, services: [] })
    expect([...problems, ...batch.problems].filter((p) => p.severity === 'error')).toEqual([])
    expect(batch.objects).toHaveLength(file === 'deployment.yaml' ? 0 : 1)
  })

  it('deployment.yaml: is skipped with a notice', () => {
    const { documents } = parseDocuments(fixture('deployment'), 'deployment.yaml')
    const { objects, problems } = validateBatch(documents, { objects: [], endpoints: [], services: [] })
    expect(objects).toEqual([])
    expect(problems).toMatchObject([{ severity: 'warning', subject: 'Deployment/payment-service' }])
  })

  it.each([
    ['virtualservice-90-10', 'v1:90 v2:10'],
    ['virtualservice-80-20', 'v1:80 v2:20'],
  ])('%s: splits by the version labels, without a DestinationRule', (name, split) => {
    const mesh = new Mesh({ yaml: fixture(name), endpoints })
    for (const authority of [
      'payment-service',
      'payment-service:8080',
      'payment-service.default',
      fqdn('payment-service'),
    ])
      expect(splitOf(mesh.routes(authority, frontend)), authority).toBe(split)
    const addresses = (subset: string) =>
      mesh.cluster(`outbound|80|${subset}|${fqdn('payment-service')}`, frontend)?.endpoints.map((e) => e.address)
    expect(addresses('v1')).toEqual(['10.0.0.1', '10.0.0.2'])
    expect(addresses('v2')).toEqual(['10.0.0.3'])
    const route = routeOf(mesh.routes('payment-service', frontend), {})
    expect(route).toMatchObject({ timeoutMs: 5_000, timeoutUntilHeaders: true })
    expect(route?.retry).toMatchObject({
      retryOn: ['connect-failure', 'retriable-4xx', 'reset', 'retriable-status-codes'],
      statusCodes: [503],
      numRetries: 3,
      retryNonIdempotent: false,
    })
    expect(route?.decidedBy).toMatchObject({
      route: 'VirtualService/default/payment-service',
      timeout: 'default',
      retries: 'default',
    })
  })

  it('virtualservice-retries-timeout: overrides timeout and retries field by field', () => {
    const mesh = new Mesh({ yaml: fixture('virtualservice-retries-timeout'), endpoints })
    const route = routeOf(mesh.routes('order-service', frontend), {})
    expect(route).toMatchObject({ timeoutMs: 5_000, timeoutUntilHeaders: false })
    expect(route?.retry).toMatchObject({
      retryOn: ['5xx', 'reset', 'connect-failure'],
      statusCodes: [],
      numRetries: 3,
      perTryTimeoutMs: 2_000,
      baseIntervalMs: 25,
      maxIntervalMs: 250,
    })
    expect(new Set(Object.values(route!.decidedBy))).toEqual(new Set(['VirtualService/default/order-service']))
  })

  it('destinationrule-circuit-breaker: limits and ejection, beside the breaker that every service has', () => {
    const mesh = new Mesh({ yaml: fixture('destinationrule-circuit-breaker'), endpoints })
    const cluster = mesh.cluster(`outbound|80||${fqdn('payment-service')}`, frontend)
    expect(cluster).toMatchObject({
      lb: { policy: 'ROUND_ROBIN' },
      connectTimeoutMs: 1_000,
      idleTimeoutMs: 300_000,
      limits: {
        maxConnections: 100,
        maxPendingRequests: 50,
        maxRequests: Number.POSITIVE_INFINITY,
        maxRetries: Number.POSITIVE_INFINITY,
        maxRequestsPerConnection: 2,
      },
      outlier: {
        consecutive5xx: 5,
        consecutiveGatewayErrors: 0,
        intervalMs: 30_000,
        baseEjectionTimeMs: 30_000,
        maxEjectionTimeMs: 300_000,
        maxEjectionPercent: 10,
      },
      breaker: {
        thresholdPercent: 50,
        windowMs: 30_000,
        minimumRequests: 20,
        recoveryMs: 5_000,
        maxRecoveryMs: 30_000,
        halfOpenProbes: 1,
      },
      panicThresholdPercent: 0,
    })
    const other = mesh.cluster(`outbound|80||${fqdn('order-service')}`, frontend)
    expect(other?.outlier).toBeNull()
    expect(other?.limits.maxConnections).toBe(Number.POSITIVE_INFINITY)
  })

  it('authorizationpolicy: only order-service may POST /process', () => {
    const mesh = new Mesh({ yaml: fixture('authorizationpolicy'), endpoints })
    const inbound = mesh.inbound('inmesh/inbound/10.0.0.1:8080', clientOf('payment-service'))
    const order = 'spiffe://cluster.local/ns/default/sa/order-service'
    const ask = (principal: string | null, method: string, path: string) =>
      verdict(inbound, { principal, method, path })
    expect(ask(order, 'POST', '/process')).toBe('allow')
    expect(ask(order, 'POST', '/process?x=1')).toBe('allow')
    expect(ask(order, 'GET', '/process')).toBe('deny')
    expect(ask(order, 'POST', '/process/x')).toBe('deny')
    expect(ask('spiffe://cluster.local/ns/default/sa/intruder', 'POST', '/process')).toBe('deny')
    expect(ask(null, 'POST', '/process')).toBe('deny')
    expect(inbound.rbac[0]?.policies[0]?.name).toBe('ns[default]-policy[payment-service-policy]-rule[0]')
    const elsewhere = mesh.inbound('inmesh/inbound/10.0.1.1:8080', clientOf('order-service'))
    expect(elsewhere.rbac).toEqual([])
  })

  it('authorizationpolicy: means the local trust domain, whatever its name', () => {
    const mesh = new Mesh({ yaml: fixture('authorizationpolicy'), settings: { trustDomain: 'prod.example' } })
    const inbound = mesh.inbound('inmesh/inbound/10.0.0.1:8080', clientOf('payment-service'))
    const ask = (domain: string) =>
      verdict(inbound, {
        principal: `spiffe://${domain}/ns/default/sa/order-service`,
        method: 'POST',
        path: '/process',
      })
    expect(ask('prod.example')).toBe('allow')
    expect(ask('cluster.local')).toBe('deny')
  })

  it('peerauthentication-strict: refuses plaintext in its namespace', () => {
    const mesh = new Mesh({ yaml: fixture('peerauthentication-strict'), endpoints })
    expect(mesh.inbound('inmesh/inbound/10.0.0.1:8080', clientOf('payment-service')).tlsMode).toBe('STRICT')
    expect(mesh.inbound('inmesh/inbound/10.0.0.1:8080', clientOf('other.shop')).tlsMode).toBe('PERMISSIVE')
  })

  it('all of it at once', () => {
    const names = [
      'virtualservice-90-10',
      'virtualservice-retries-timeout',
      'destinationrule-circuit-breaker',
      'authorizationpolicy',
      'peerauthentication-strict',
    ]
    const mesh = new Mesh({ yaml: names.map(fixture).join('\n---\n'), endpoints })
    expect(splitOf(mesh.routes('payment-service', frontend))).toBe('v1:90 v2:10')
    const v1 = mesh.cluster(`outbound|80|v1|${fqdn('payment-service')}`, frontend)
    expect(v1).toMatchObject({ limits: { maxConnections: 100 }, outlier: { consecutive5xx: 5 }, tls: { mode: 'auto' } })
    expect(v1?.endpoints[0]).toMatchObject({
      tlsMode: 'mtls',
      spiffeId: 'spiffe://cluster.local/ns/default/sa/payment-service',
      labels: { app: 'payment-service', version: 'v1' },
    })
  })
})
