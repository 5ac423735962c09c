import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { AnySchema, anyUnpack } from '@bufbuild/protobuf/wkt'
import { describe, expect, it } from 'vitest'
import { Cluster_LbPolicy, ClusterSchema } from '../../src/gen/envoy/config/cluster/v3/cluster_pb.js'
import { RouteConfigurationSchema } from '../../src/gen/envoy/config/route/v3/route_pb.js'
import { HttpProtocolOptionsSchema } from '../../src/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { ClusterPolicySchema, RoutePolicySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { TypeUrl } from '../../src/xds/proto.ts'
import { clusterType } from '../../src/xds/resources/cluster.ts'
import { routeType } from '../../src/xds/resources/route.ts'
import { parseDocuments, validateBatch } from '../resources/index.ts'
import { clientOf, endpointOf, Mesh } from './testing/mesh.ts'

const name = 'outbound|80||payments.default.svc.cluster.local'
const client = clientOf('orders')
const policy = (fields: string) => `
apiVersion: inmesh.dev/v1
kind: ServicePolicy
spec: { service: payments, ${fields} }
`
const meshOf = (yaml: string) => new Mesh({ yaml, endpoints: [endpointOf('payments')] })
const prefix = 'envoy.load_balancing_policies.'
const seconds = (n: number) => ({ seconds: BigInt(n), nanos: 0 })

function routePolicy(yaml: string) {
  const resource = meshOf(yaml).translation.resolve(TypeUrl.route, name, client)!
  const table = anyUnpack(fromBinary(AnySchema, resource.any), RouteConfigurationSchema)!
  const route = table.virtualHosts[0]!.routes[0]!
  return anyUnpack(route.metadata!.typedFilterMetadata['inmesh.route']!, RoutePolicySchema)!
}
function cluster(yaml: string, clientClass: 'inmesh' | 'grpc' = 'inmesh') {
  const resource = meshOf(yaml).translation.resolve(TypeUrl.cluster, name, clientOf('orders', { clientClass }))!
  const message = anyUnpack(fromBinary(AnySchema, resource.any), ClusterSchema)!
  const own = message.metadata?.typedFilterMetadata['inmesh.cluster']
  return { message, own: own === undefined ? undefined : anyUnpack(own, ClusterPolicySchema)! }
}

describe('what a ServicePolicy adds to routes', () => {
  it('nothing when it says nothing', () => {
    expect(routePolicy('')).toMatchObject({ retryNonIdempotent: false, priority: '', maxReplayBytes: 0 })
    expect(routePolicy('').hedge).toBeUndefined()
    expect(routePolicy('').errorRateBreaker).toBeUndefined()
  })

  it('hedging, coalescing, priority, replay and the method gate, each with who decided it', () => {
    const sent = routePolicy(
      policy(
        'hedging: { percentile: 95 }, coalesce: { varyHeaders: [Accept] }, priority: CRITICAL, maxReplayBytes: 1024, retryNonIdempotent: true',
      ),
    )
    expect(sent).toMatchObject({
      hedge: { percentile: 95, maxHedges: 1 },
      coalesce: { varyHeaders: ['accept'], maxBodyBytes: 65_536 },
      ...{ priority: 'CRITICAL', maxReplayBytes: 1024, retryNonIdempotent: true },
    })
    expect(sent.decidedBy).toMatchObject({
      hedge: 'ServicePolicy/default/payments',
      coalesce: 'ServicePolicy/default/payments',
      timeout: 'default',
    })
  })

  it('sessions by a cookie that names the host, as Envoy has them; for clients of inmesh', () => {
    const yaml = policy('stickySession: { cookie: seat, ttlMs: 60000, path: /shop }')
    const route = (clientClass: 'inmesh' | 'grpc') => {
      const resource = meshOf(yaml).translation.resolve(TypeUrl.route, name, clientOf('orders', { clientClass }))!
      return routeType.decode(fromBinary(AnySchema, resource.any).value).value.virtualHosts[0]!.routes[0]!
    }
    expect(route('inmesh')).toMatchObject({
      session: { cookie: 'seat', ttlMs: 60_000, path: '/shop' },
      decidedBy: { session: 'ServicePolicy/default/payments' },
    })
    expect(route('grpc').session).toBeUndefined()
  })

  it('a breaker of the route instead of the service', () => {
    const yaml = policy('breakerScope: route, cbThreshold: 20, cbWindowSec: 10')
    expect(routePolicy(yaml).errorRateBreaker).toMatchObject({ thresholdPercent: 20, window: seconds(10) })
    expect(cluster(yaml).own?.errorRateBreaker).toBeUndefined()
    expect(cluster('').own?.errorRateBreaker).toMatchObject({ thresholdPercent: 50, window: seconds(30) })
  })
})

describe('what a ServicePolicy adds to clusters', () => {
  const rule = (blocks: string) => `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payments }
spec: { host: payments, trafficPolicy: { ${blocks} } }
`

  it('a breaker per host is outlier detection by failure percentage, and a DestinationRule comes before it', () => {
    const yaml = policy('breakerScope: host, cbThreshold: 40, cbWindowSec: 10, cbRecoverySec: 3')
    expect(cluster(yaml).message.outlierDetection).toMatchObject({
      ...{ enforcingFailurePercentage: 100, failurePercentageThreshold: 40, failurePercentageMinimumHosts: 1 },
      ...{ enforcingConsecutive5xx: 0, enforcingSuccessRate: 0, maxEjectionPercent: 100 },
      ...{ interval: seconds(10), baseEjectionTime: seconds(3) },
    })
    expect(cluster(yaml).own?.errorRateBreaker).toBeUndefined()
    const asked = cluster(yaml + rule('outlierDetection: { consecutive5xxErrors: 7 }'))
    expect(asked.message.outlierDetection).toMatchObject({ consecutive5xx: 7, enforcingFailurePercentage: 0 })
    expect(cluster(yaml, 'grpc').message.outlierDetection).toBeUndefined()
  })

  it('a balancer where no DestinationRule chooses', () => {
    const yaml = policy('loadBalancer: PEAK_EWMA')
    expect(cluster(yaml).own).toMatchObject({
      balancer: 'PEAK_EWMA',
      decidedBy: { loadBalancer: 'ServicePolicy/default/payments' },
    })
    const chosen = cluster(yaml + rule('loadBalancer: { simple: LEAST_REQUEST }'))
    expect(chosen.own?.balancer).toBe('')
    expect(chosen.own?.decidedBy).toMatchObject({ loadBalancer: 'DestinationRule/default/payments' })
  })

  it('by reported load, in the words that gRPC knows, too', () => {
    const numbers = '{ oobReportingMs: 20000, blackoutMs: 0, expirationMs: 60000, updateMs: 500, errorPenalty: 0.5 }'
    const yaml = policy(`loadBalancer: WEIGHTED_ROUND_ROBIN, weightedRoundRobin: ${numbers}`)
    const lb = { policy: 'WEIGHTED_ROUND_ROBIN', oobReportingMs: 20_000, blackoutMs: 0 }
    const all = { ...lb, expirationMs: 60_000, updateMs: 500, errorPenalty: 0.5 }
    for (const client of ['inmesh', 'grpc'] as const) {
      const { message } = cluster(yaml, client)
      const decoded = clusterType.decode(toBinary(ClusterSchema, message))
      // grpc-go takes 0 for the default.
      const blackoutMs = client === 'inmesh' ? 0 : 1
      expect(decoded).toMatchObject({ value: { spec: { lb: { ...all, blackoutMs } } }, warnings: [] })
      expect(message.lbPolicy).toBe(Cluster_LbPolicy.ROUND_ROBIN)
    }
    const top = (client: 'inmesh' | 'grpc') =>
      cluster(yaml, client).message.loadBalancingPolicy!.policies.map((p) => p.typedExtensionConfig?.name)
    expect(top('inmesh')).toEqual(['client_side_weighted_round_robin', 'round_robin'].map((name) => prefix + name))
    expect(top('grpc')).toEqual([`${prefix}wrr_locality`])
    const ruled = cluster(policy('retryAttempts: 1') + rule('loadBalancer: { simple: WEIGHTED_ROUND_ROBIN }'))
    expect(ruled.message.loadBalancingPolicy?.policies).toHaveLength(2)
    expect(cluster(yaml + rule('loadBalancer: { simple: RANDOM }')).message.loadBalancingPolicy).toBeUndefined()
  })

  it.each([
    ['path: /health', { case: 'httpHealthCheck', value: { path: '/health' } }],
    ['grpc: payments.v1.Payments', { case: 'grpcHealthCheck', value: { serviceName: 'payments.v1.Payments' } }],
    ['grpc: true', { case: 'grpcHealthCheck', value: { serviceName: '' } }],
    ['tcp: true', { case: 'tcpHealthCheck' }],
  ])('health check by %s', (how, healthChecker) => {
    const yaml = policy(`healthCheck: { ${how}, intervalMs: 2000, unhealthyThreshold: 5 }`)
    expect(cluster(yaml).message.healthChecks).toMatchObject([
      { interval: seconds(2), timeout: seconds(1), healthyThreshold: 2, unhealthyThreshold: 5, healthChecker },
    ])
    expect(cluster(yaml, 'grpc').message.healthChecks).toEqual([])
  })

  it('HTTP/2 and the retry budget', () => {
    const { message, own } = cluster(policy('http2: true, retryBudgetPercent: 5'))
    const options = anyUnpack(Object.values(message.typedExtensionProtocolOptions)[0]!, HttpProtocolOptionsSchema)!
    expect(options.upstreamProtocolOptions).toMatchObject({
      value: { protocolConfig: { case: 'http2ProtocolOptions' } },
    })
    expect(own?.retryBudget?.percent).toBe(5)
  })
})

it.each([
  ['hedging: {}', 'spec.hedging'],
  ['hedging: { delayMs: 5, percentile: 99 }', 'spec.hedging'],
  ['healthCheck: { path: /a, tcp: true }', 'spec.healthCheck'],
  ['healthCheck: { path: health }', 'spec.healthCheck.path'],
  ['priority: HIGH', 'spec.priority'],
  ['loadShedding: { minLimit: 9, maxLimit: 3 }', 'spec.loadShedding.minLimit'],
  ['breakerScope: pod', 'spec.breakerScope'],
  ['loadBalancer: FASTEST', 'spec.loadBalancer'],
  ['retryBudgetPercent: 101', 'spec.retryBudgetPercent'],
])('a ServicePolicy with %s is refused', (fields, field) => {
  const world = { objects: [], endpoints: [endpointOf('payments')], services: [] }
  const { problems } = validateBatch(parseDocuments(policy(fields), 'policy.yaml').documents, world)
  expect(problems).toMatchObject([{ severity: 'error', field, file: 'policy.yaml', line: 4 }])
})
