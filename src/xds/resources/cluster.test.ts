import { describe, expect, it } from 'vitest'
import { ads, anyOf, bytesOf, clusterInit, type Init } from '../../../test/support/xds-resources.ts'
import {
  ClusterSchema,
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_LbPolicy as LbPolicy,
} from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { RoutingPriority } from '../../gen/envoy/config/core/v3/base_pb.js'
import { LeastRequestSchema } from '../../gen/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.js'
import { PickFirstSchema } from '../../gen/envoy/extensions/load_balancing_policies/pick_first/v3/pick_first_pb.js'
import { RoundRobinSchema } from '../../gen/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.js'
import { WrrLocalitySchema } from '../../gen/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality_pb.js'
import { RawBufferSchema } from '../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import { UpstreamTlsContextSchema } from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { HttpProtocolOptionsSchema } from '../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { ClusterPolicySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import { MetadataKey } from '../proto.ts'
import { clusterType } from './cluster.ts'

type ClusterInit = Init<typeof ClusterSchema>
type Tls = Init<typeof UpstreamTlsContextSchema>

const name = 'outbound|8080|v1|payments.shop.svc.cluster.local'
const decode = (init: ClusterInit = {}) => clusterType.decode(bytesOf(ClusterSchema, { ...clusterInit(name), ...init }))
const spec = (init?: ClusterInit) => decode(init).value.spec
const refusal = (init: ClusterInit) => {
  try {
    decode(init)
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

const socket = (context: Tls) => ({
  name: 'envoy.transport_sockets.tls',
  configType: { case: 'typedConfig', value: anyOf(UpstreamTlsContextSchema, context) } as const,
})
const rawBuffer = {
  name: 'envoy.transport_sockets.raw_buffer',
  configType: { case: 'typedConfig', value: anyOf(RawBufferSchema, {}) } as const,
}
const exact = (value: string) => ({ matchPattern: { case: 'exact', value } as const })
const ids = ['spiffe://cluster.local/ns/shop/sa/payments']
const sds = (...sans: string[]): Tls => ({
  commonTlsContext: {
    validationContextType: {
      case: 'combinedValidationContext',
      value: {
        defaultValidationContext: { matchSubjectAltNames: sans.map(exact) },
        validationContextSdsSecretConfig: { name: 'ROOTCA', sdsConfig: ads },
      },
    },
  },
})

describe('a cluster', () => {
  it('has the defaults of Envoy where nothing is said', () => {
    expect(spec({ connectTimeout: undefined })).toMatchObject({
      name,
      kind: 'eds',
      lb: { policy: 'ROUND_ROBIN' },
      connectTimeoutMs: 5_000,
      idleTimeoutMs: 3_600_000,
      limits: {
        maxConnections: 1024,
        maxPendingRequests: 1024,
        maxRequests: 1024,
        maxRetries: 3,
        maxRequestsPerConnection: Number.POSITIVE_INFINITY,
      },
      outlier: null,
      breaker: null,
      retryBudget: null,
      tls: { mode: 'plaintext', allowedIds: [] },
      panicThresholdPercent: 0,
    })
  })

  it('finds its endpoints under its own name or the one it gives', () => {
    expect(decode({ edsClusterConfig: { edsConfig: ads } }).value.edsName).toBe(name)
    expect(decode({ edsClusterConfig: { edsConfig: ads, serviceName: 'other' } }).value.edsName).toBe('other')
  })

  it('of type ORIGINAL_DST passes through', () => {
    const { value } = decode({
      clusterDiscoveryType: { case: 'type', value: DiscoveryType.ORIGINAL_DST },
      edsClusterConfig: undefined,
      lbPolicy: LbPolicy.CLUSTER_PROVIDED,
    })
    expect(value.edsName).toBeNull()
    expect(value.spec.kind).toBe('passthrough')
  })

  it.each<[string, ClusterInit]>([
    ['type: 9 is not supported', { clusterDiscoveryType: { case: 'type', value: 9 as DiscoveryType } }],
    ['load_assignment: is missing', { clusterDiscoveryType: { case: undefined } }],
    [
      'cluster_type: "aggregate" is not supported',
      { clusterDiscoveryType: { case: 'clusterType', value: { name: 'aggregate' } } },
    ],
    ['eds_cluster_config.eds_config: must be ads or self, is missing', { edsClusterConfig: {} }],
    [
      'eds_cluster_config.eds_config: must be ads or self, is path',
      { edsClusterConfig: { edsConfig: { configSourceSpecifier: { case: 'path', value: '/etc' } } } },
    ],
    ['lb_policy: CLUSTER_PROVIDED is not supported', { lbPolicy: LbPolicy.CLUSTER_PROVIDED }],
    ['lb_policy: 77 is not supported', { lbPolicy: 77 as LbPolicy }],
    ['connect_timeout: must be greater than 0', { connectTimeout: {} }],
    ['connect_timeout: must not be negative', { connectTimeout: { seconds: -1n } }],
    [
      'common_lb_config.healthy_panic_threshold: must be between 0 and 100, is 101',
      { commonLbConfig: { healthyPanicThreshold: { value: 101 } } },
    ],
    [
      'outlier_detection.max_ejection_percent: must be between 0 and 100, is 101',
      { outlierDetection: { maxEjectionPercent: 101 } },
    ],
    ['outlier_detection.interval: must be greater than 0', { outlierDetection: { interval: {} } }],
  ])('is refused with "%s"', (message, init) => {
    expect(refusal(init)).toContain(message)
  })

  it('without a name is refused', () => {
    expect(refusal({ name: '' })).toBe('name: is missing')
  })

  it('says what of it has no effect', () => {
    const { warnings } = decode({
      lbSubsetConfig: {},
      altStatName: 'harmless',
      typedExtensionProtocolOptions: { 'envoy.other': anyOf(RawBufferSchema, {}) },
      commonLbConfig: { closeConnectionsOnHostSetChange: true },
      outlierDetection: { monitors: [{}] },
    })
    expect([...warnings].sort()).toEqual([
      'common_lb_config.close_connections_on_host_set_change: not supported, has no effect',
      'lb_subset_config: not supported, has no effect',
      'outlier_detection.monitors: not supported, has no effect',
      'typed_extension_protocol_options[envoy.other]: not supported, has no effect',
    ])
  })
})

describe('load balancing', () => {
  it('of lb_policy', () => {
    expect(spec({ lbPolicy: LbPolicy.RANDOM }).lb).toEqual({ policy: 'RANDOM' })
    expect(spec({ lbPolicy: LbPolicy.LEAST_REQUEST }).lb).toEqual({ policy: 'LEAST_REQUEST', choiceCount: 2 })
    expect(
      spec({ lbPolicy: LbPolicy.LEAST_REQUEST, lbConfig: { case: 'leastRequestLbConfig', value: { choiceCount: 5 } } })
        .lb,
    ).toEqual({ policy: 'LEAST_REQUEST', choiceCount: 5 })
  })

  const list = (...configs: ReturnType<typeof anyOf>[]) => ({
    policies: configs.map((typedConfig) => ({ typedExtensionConfig: { name: 'x', typedConfig } })),
  })

  it('takes the first policy of a list that it knows, over lb_policy', () => {
    const init = {
      lbPolicy: LbPolicy.MAGLEV,
      loadBalancingPolicy: list(
        anyOf(RawBufferSchema, {}),
        anyOf(LeastRequestSchema, { choiceCount: 3 }),
        anyOf(RoundRobinSchema, {}),
      ),
    }
    expect(spec(init).lb).toEqual({ policy: 'LEAST_REQUEST', choiceCount: 3 })
  })

  it('takes pick_first, shuffled or not', () => {
    const lb = (shuffleAddressList: boolean) =>
      spec({ loadBalancingPolicy: list(anyOf(PickFirstSchema, { shuffleAddressList })) }).lb
    expect(lb(false)).toEqual({ policy: 'PICK_FIRST', shuffle: false })
    expect(lb(true)).toEqual({ policy: 'PICK_FIRST', shuffle: true })
  })

  it('looks inside wrr_locality', () => {
    const inner = anyOf(WrrLocalitySchema, { endpointPickingPolicy: list(anyOf(RoundRobinSchema, {})) })
    expect(spec({ loadBalancingPolicy: list(inner) }).lb).toEqual({ policy: 'ROUND_ROBIN' })
  })

  it('refuses a list without one, a nest without end and fewer than 2 choices', () => {
    expect(refusal({ loadBalancingPolicy: list(anyOf(ClusterSchema, {}), anyOf(RawBufferSchema, {})) })).toMatch(
      /^load_balancing_policy.policies: none of .*Cluster, .*RawBuffer is supported/,
    )
    expect(refusal({ loadBalancingPolicy: {} })).toBe('load_balancing_policy.policies: must not be empty')
    expect(refusal({ loadBalancingPolicy: list(anyOf(LeastRequestSchema, { choiceCount: 1 })) })).toContain(
      'at least 2, is 1',
    )
    let nested = list(anyOf(RoundRobinSchema, {}))
    for (let i = 0; i < 18; i++) nested = list(anyOf(WrrLocalitySchema, { endpointPickingPolicy: nested }))
    expect(refusal({ loadBalancingPolicy: nested })).toContain('nested more than 16 deep')
  })
})

describe('limits', () => {
  it('are those of priority DEFAULT; 4294967295 is none', () => {
    const circuitBreakers = {
      thresholds: [
        { priority: RoutingPriority.HIGH, maxConnections: 1 },
        { maxConnections: 7, maxPendingRequests: 0, maxRequests: 4294967295, maxRetries: 9 },
      ],
    }
    expect(spec({ circuitBreakers }).limits).toMatchObject({
      maxConnections: 7,
      maxPendingRequests: 0,
      maxRequests: Number.POSITIVE_INFINITY,
      maxRetries: 9,
    })
  })

  it('of Envoy’s retry budget replace the number of retries', () => {
    const { limits, retryBudget } = spec({ circuitBreakers: { thresholds: [{ maxRetries: 1, retryBudget: {} }] } })
    expect(limits.maxRetries).toBe(Number.POSITIVE_INFINITY)
    expect(retryBudget).toEqual({ kind: 'concurrency', percent: 20, minConcurrency: 3 })
  })

  it('of connections come from HttpProtocolOptions', () => {
    const options = anyOf(HttpProtocolOptionsSchema, {
      commonHttpProtocolOptions: { idleTimeout: { seconds: 300n }, maxRequestsPerConnection: 10 },
    })
    const init = {
      typedExtensionProtocolOptions: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': options },
    }
    expect(spec(init).idleTimeoutMs).toBe(300_000)
    expect(spec(init).limits.maxRequestsPerConnection).toBe(10)
    expect(spec({ commonHttpProtocolOptions: { idleTimeout: {} } }).idleTimeoutMs).toBe(Number.POSITIVE_INFINITY)
    expect(spec({ maxRequestsPerConnection: 1 }).limits.maxRequestsPerConnection).toBe(1)
  })
})

describe('outlier detection', () => {
  it('has its defaults field by field', () => {
    expect(spec({ outlierDetection: {} }).outlier).toMatchObject({
      consecutive5xx: 5,
      consecutiveGatewayErrors: 0,
      intervalMs: 10_000,
      baseEjectionTimeMs: 30_000,
      maxEjectionTimeMs: 300_000,
      maxEjectionPercent: 10,
    })
    expect(spec({ outlierDetection: { interval: { nanos: 500_000_000 }, consecutive5xx: 3 } }).outlier).toMatchObject({
      consecutive5xx: 3,
      intervalMs: 500,
      baseEjectionTimeMs: 30_000,
    })
  })

  it('counts what is enforced', () => {
    const outlierDetection = {
      enforcingConsecutive5xx: 0,
      consecutiveGatewayFailure: 7,
      enforcingConsecutiveGatewayFailure: 100,
      baseEjectionTime: { seconds: 600n },
    }
    expect(spec({ outlierDetection }).outlier).toMatchObject({
      consecutive5xx: 0,
      consecutiveGatewayErrors: 7,
      maxEjectionTimeMs: 600_000,
    })
  })
})

describe('inmesh.cluster metadata', () => {
  const policy = (init: Init<typeof ClusterPolicySchema>) => ({
    metadata: { typedFilterMetadata: { [MetadataKey.cluster]: anyOf(ClusterPolicySchema, init) } },
  })

  it('carries breaker and retry budget', () => {
    const errorRateBreaker = {
      thresholdPercent: 50,
      window: { seconds: 5n },
      minimumRequests: 20,
      recovery: { seconds: 3n },
      maxRecovery: { seconds: 30n },
      halfOpenProbes: 1,
    }
    const retryBudget = { percent: 20, window: { seconds: 10n }, floorPerSecond: 0.5 }
    expect(spec(policy({ errorRateBreaker, retryBudget }))).toMatchObject({
      breaker: {
        thresholdPercent: 50,
        windowMs: 5_000,
        minimumRequests: 20,
        recoveryMs: 3_000,
        maxRecoveryMs: 30_000,
        halfOpenProbes: 1,
      },
      retryBudget: { kind: 'window', percent: 20, windowMs: 10_000, floorPerSecond: 0.5 },
    })
  })

  it('comes after Envoy’s own retry budget', () => {
    const init = { ...policy({ retryBudget: { percent: 5 } }), circuitBreakers: { thresholds: [{ retryBudget: {} }] } }
    expect(spec(init).retryBudget?.kind).toBe('concurrency')
  })

  it('is checked', () => {
    const at = 'metadata.typed_filter_metadata[inmesh.cluster]'
    expect(refusal(policy({ errorRateBreaker: {} }))).toBe(
      `${at}.error_rate_breaker.threshold_percent: must be more than 0 and at most 100, is 0`,
    )
    expect(refusal(policy({ retryBudget: { percent: Number.NaN } }))).toContain('retry_budget.percent: must be between')
    const wrong = { metadata: { typedFilterMetadata: { [MetadataKey.cluster]: anyOf(RawBufferSchema, {}) } } }
    expect(refusal(wrong)).toBe(
      `${at}: is a envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer, expected inmesh.v1.ClusterPolicy`,
    )
  })
})

describe('TLS', () => {
  const meshed = (context: Tls) => ({ name: 'istio', match: { tlsMode: 'istio' }, transportSocket: socket(context) })
  const others = { name: 'default', match: {}, transportSocket: rawBuffer }

  it('by endpoint label is automatic', () => {
    expect(spec({ transportSocketMatches: [meshed(sds(...ids)), others] }).tls).toEqual({
      mode: 'auto',
      allowedIds: ids,
    })
  })

  it('for all endpoints is mutual TLS', () => {
    expect(spec({ transportSocket: socket(sds(...ids)) }).tls).toEqual({ mode: 'mtls', allowedIds: ids })
    expect(spec({ transportSocket: rawBuffer }).tls.mode).toBe('plaintext')
  })

  it('is understood in both generations of fields, as istiod sends them', () => {
    const instance = { instanceName: 'default', certificateName: 'ROOTCA' }
    const both: Tls = {
      commonTlsContext: {
        tlsCertificateProviderInstance: { instanceName: 'default', certificateName: 'default' },
        tlsCertificateCertificateProviderInstance: { instanceName: 'default', certificateName: 'default' },
        validationContextType: {
          case: 'combinedValidationContext',
          value: {
            defaultValidationContext: { matchSubjectAltNames: ids.map(exact), caCertificateProviderInstance: instance },
            validationContextCertificateProviderInstance: instance,
          },
        },
      },
    }
    expect(spec({ transportSocket: socket(both) }).tls).toEqual({ mode: 'mtls', allowedIds: ids })
    const onlyNew: Tls = {
      commonTlsContext: {
        validationContextType: { case: 'validationContext', value: { caCertificateProviderInstance: instance } },
      },
    }
    expect(spec({ transportSocket: socket(onlyNew) }).tls).toEqual({ mode: 'mtls', allowedIds: [] })
  })

  const context = (validationContextType: NonNullable<Tls['commonTlsContext']>['validationContextType']) => ({
    transportSocket: socket({ commonTlsContext: { validationContextType } }),
  })
  const withDefault = (value: object) =>
    context({
      case: 'combinedValidationContext',
      value: { defaultValidationContext: value, validationContextSdsSecretConfig: { name: 'ROOTCA', sdsConfig: ads } },
    })

  it.each<[string, ClusterInit]>([
    ['common_tls_context: is missing', { transportSocket: socket({}) }],
    ['names no trusted roots', { transportSocket: socket({ commonTlsContext: {} }) }],
    ['combined_validation_context: names no trusted roots', context({ case: 'combinedValidationContext', value: {} })],
    [
      'name: is "file", expected "ROOTCA"',
      context({ case: 'validationContextSdsSecretConfig', value: { name: 'file' } }),
    ],
    [
      'match_subject_alt_names[0]: prefix is not supported',
      withDefault({ matchSubjectAltNames: [{ matchPattern: { case: 'prefix', value: 'spiffe://' } }] }),
    ],
    ['"payments" is not a SPIFFE id', withDefault({ matchSubjectAltNames: [exact('payments')] })],
    ['verify_certificate_hash: not supported', withDefault({ verifyCertificateHash: ['00'] })],
    ['trusted_ca: not supported', withDefault({ trustedCa: {} })],
    ['san_type: must be URI', withDefault({ matchTypedSubjectAltNames: [{ sanType: 2, matcher: exact('payments') }] })],
    [
      'transport_socket.typed_config: google.protobuf.Duration is not supported',
      {
        transportSocket: {
          name: 'x',
          configType: { case: 'typedConfig', value: { typeUrl: 'type.googleapis.com/google.protobuf.Duration' } },
        },
      },
    ],
    [
      'transport_socket_matches[0].match: {"x":"y"} is not supported',
      { transportSocketMatches: [{ match: { x: 'y' }, transportSocket: rawBuffer }] },
    ],
    [
      'plaintext to meshed endpoints beside TLS to others',
      {
        transportSocketMatches: [{ match: { tlsMode: 'istio' }, transportSocket: rawBuffer }],
        transportSocket: socket(sds()),
      },
    ],
  ])('is refused with "%s"', (message, init) => {
    expect(refusal(init)).toContain(message)
  })
})
