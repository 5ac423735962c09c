import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import { describe, expect, it } from 'vitest'
import {
  anyOf,
  bytesOf,
  clusterInit,
  endpointsInit,
  type Init,
  lbEndpoint,
} from '../../../test/support/xds-resources.ts'
import {
  ClusterSchema,
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_DnsLookupFamily as Family,
  Cluster_LbPolicy as LbPolicy,
  LoadBalancingPolicySchema,
  Cluster_RingHashLbConfig_HashFunction as OldHash,
} from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { RequestMethod } from '../../gen/envoy/config/core/v3/base_pb.js'
import { ClientSideWeightedRoundRobinSchema } from '../../gen/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin_pb.js'
import { LeastRequestSchema } from '../../gen/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.js'
import { MaglevSchema } from '../../gen/envoy/extensions/load_balancing_policies/maglev/v3/maglev_pb.js'
import { RandomSchema } from '../../gen/envoy/extensions/load_balancing_policies/random/v3/random_pb.js'
import { RingHashSchema } from '../../gen/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash_pb.js'
import { RoundRobinSchema } from '../../gen/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.js'
import { WrrLocalitySchema } from '../../gen/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality_pb.js'
import {
  CertificateValidationContextSchema,
  SubjectAltNameMatcher_SanType as SanType,
  CertificateValidationContext_TrustChainVerification as Verification,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import { UpstreamTlsContextSchema } from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { HttpProtocolOptionsSchema } from '../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { ClusterPolicySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import { weightedRoundRobinDefaults } from '../../model/cluster.ts'
import { MetadataKey } from '../proto.ts'
import { clusterType } from './cluster.ts'

type ClusterInit = Init<typeof ClusterSchema>

const decode = (init: ClusterInit = {}) => clusterType.decode(bytesOf(ClusterSchema, { ...clusterInit('c'), ...init }))
const spec = (init: ClusterInit) => {
  const { value, warnings } = decode(init)
  expect(warnings).toEqual([])
  return value.spec
}
const refusal = (init: ClusterInit) => {
  try {
    decode(init)
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}
const typed = (value: DiscoveryType, ...addresses: string[]): ClusterInit => ({
  clusterDiscoveryType: { case: 'type', value },
  loadAssignment: endpointsInit('c', ...addresses),
})

describe('endpoints of a cluster', () => {
  it('come with it when it is static', () => {
    const { value } = decode(typed(DiscoveryType.STATIC, '10.0.0.1:80', '10.0.0.2:80'))
    expect(value).toMatchObject({ edsName: null, spec: { kind: 'static', dns: null } })
    expect(value.inline?.endpoints.map((e) => e.address)).toEqual(['10.0.0.1', '10.0.0.2'])
    expect(refusal(typed(DiscoveryType.STATIC, 'a.example:80'))).toContain('"a.example" is not an IP address')
  })

  it('are names when they are found by DNS', () => {
    const init = { ...typed(DiscoveryType.STRICT_DNS, 'a.example:80', '10.0.0.1:80'), dnsRefreshRate: { seconds: 30n } }
    expect(spec({ ...init, dnsLookupFamily: Family.V4_ONLY })).toMatchObject({
      kind: 'strict-dns',
      dns: { refreshMs: 30_000, family: 'v4', names: [{ address: 'a.example', port: 80 }, { address: '10.0.0.1' }] },
    })
    expect(spec(typed(DiscoveryType.STRICT_DNS, 'a.example:80')).dns).toMatchObject({ refreshMs: 5_000, family: 'any' })
    expect(spec(typed(DiscoveryType.LOGICAL_DNS, 'a.example:80')).kind).toBe('logical-dns')
    expect(refusal(typed(DiscoveryType.LOGICAL_DNS, 'a:80', 'b:80'))).toContain('needs exactly one endpoint, has 2')
    expect(refusal(typed(DiscoveryType.STRICT_DNS, 'a b:80'))).toContain('neither an IP address nor a host name')
    expect(refusal({ clusterDiscoveryType: { case: 'type', value: DiscoveryType.STRICT_DNS } })).toBe(
      'load_assignment: is missing',
    )
  })
})

describe('balancers', () => {
  const list = (...configs: ReturnType<typeof anyOf>[]) => ({
    loadBalancingPolicy: {
      policies: configs.map((typedConfig) => ({ typedExtensionConfig: { name: 'x', typedConfig } })),
    },
  })
  const slowStartConfig = {
    slowStartWindow: { seconds: 30n },
    aggression: { defaultValue: 2, runtimeKey: 'k' },
    minWeightPercent: { value: 5 },
  }
  const slowStart = { windowMs: 30_000, aggression: 2, minWeightPercent: 5 }

  it('ring hash, in both forms', () => {
    const ring = {
      policy: 'RING_HASH',
      minimumRingSize: 1024,
      maximumRingSize: 8_388_608,
      hashFunction: 'XX_HASH',
      balanceFactorPercent: 0,
      useHostname: false,
    }
    expect(spec({ lbPolicy: LbPolicy.RING_HASH }).lb).toEqual(ring)
    expect(spec(list(anyOf(RingHashSchema, {}))).lb).toEqual(ring)
    const value = { minimumRingSize: 64n, maximumRingSize: 128n, hashFunction: OldHash.MURMUR_HASH_2 }
    const consistentHashingLbConfig = { useHostnameForHashing: true, hashBalanceFactor: 150 }
    const asked = { ...ring, minimumRingSize: 64, maximumRingSize: 128, balanceFactorPercent: 150, useHostname: true }
    expect(
      spec({
        lbPolicy: LbPolicy.RING_HASH,
        lbConfig: { case: 'ringHashLbConfig', value },
        commonLbConfig: { consistentHashingLbConfig },
      }).lb,
    ).toEqual({ ...asked, hashFunction: 'MURMUR_HASH_2' })
    expect(
      spec(list(anyOf(RingHashSchema, { minimumRingSize: 64n, maximumRingSize: 128n, consistentHashingLbConfig }))).lb,
    ).toEqual(asked)
    expect(refusal(list(anyOf(RingHashSchema, { minimumRingSize: 9n, maximumRingSize: 8n })))).toContain(
      'minimum_ring_size: 9 is more than the maximum_ring_size 8',
    )
    expect(refusal(list(anyOf(RingHashSchema, { maximumRingSize: 8_388_609n })))).toContain('between 1 and 8388608')
    expect(refusal(list(anyOf(RingHashSchema, { hashBalanceFactor: 99 })))).toContain('must be at least 100, is 99')
  })

  it('maglev, in both forms', () => {
    const lbConfig = { case: 'maglevLbConfig', value: { tableSize: 101n } } as const
    expect(spec({ lbPolicy: LbPolicy.MAGLEV }).lb).toMatchObject({ policy: 'MAGLEV', tableSize: 65_537 })
    expect(spec({ lbPolicy: LbPolicy.MAGLEV, lbConfig }).lb).toMatchObject({ tableSize: 101 })
    expect(spec(list(anyOf(MaglevSchema, { tableSize: 5_000_011n }))).lb).toMatchObject({ tableSize: 5_000_011 })
    expect(refusal(list(anyOf(MaglevSchema, { tableSize: 100n })))).toContain('must be a prime number, is 100')
    expect(refusal(list(anyOf(MaglevSchema, { tableSize: 5_000_077n })))).toContain('must be at most 5000011')
  })

  it('with slow start and bias', () => {
    const value = { slowStartConfig, activeRequestBias: { defaultValue: 0.5, runtimeKey: 'k' } }
    const least = { policy: 'LEAST_REQUEST', choiceCount: 2, activeRequestBias: 0.5, slowStart }
    expect(spec({ lbPolicy: LbPolicy.LEAST_REQUEST, lbConfig: { case: 'leastRequestLbConfig', value } }).lb).toEqual(
      least,
    )
    expect(spec(list(anyOf(LeastRequestSchema, value))).lb).toEqual(least)
    expect(spec({ lbConfig: { case: 'roundRobinLbConfig', value: { slowStartConfig } } }).lb).toEqual({
      policy: 'ROUND_ROBIN',
      slowStart,
    })
    expect(spec(list(anyOf(RoundRobinSchema, { slowStartConfig: { slowStartWindow: { seconds: 1n } } }))).lb).toEqual({
      policy: 'ROUND_ROBIN',
      slowStart: { windowMs: 1_000, aggression: 1, minWeightPercent: 10 },
    })
    const bad = { ...slowStartConfig, aggression: { defaultValue: 0, runtimeKey: 'k' } }
    expect(refusal(list(anyOf(RoundRobinSchema, { slowStartConfig: bad })))).toContain(
      'aggression: must be greater than 0',
    )
    const negative = { activeRequestBias: { defaultValue: -1, runtimeKey: 'k' } }
    expect(refusal(list(anyOf(LeastRequestSchema, negative)))).toContain('active_request_bias: must not be negative')
  })

  it('peak EWMA stands beside them', () => {
    const policy = (peakEwma: object) => ({
      metadata: { typedFilterMetadata: { [MetadataKey.cluster]: anyOf(ClusterPolicySchema, { peakEwma }) } },
    })
    expect(spec(policy({})).lb).toEqual({ policy: 'PEAK_EWMA', decayMs: 10_000 })
    const lbConfig = { case: 'leastRequestLbConfig', value: { slowStartConfig } } as const
    expect(spec({ ...policy({ decay: { seconds: 5n } }), lbPolicy: LbPolicy.LEAST_REQUEST, lbConfig }).lb).toEqual({
      policy: 'PEAK_EWMA',
      decayMs: 5_000,
      slowStart,
    })
  })

  it('of inmesh come by name; one that is not known leaves it to lb_policy', () => {
    const named = (policy: object) => ({
      metadata: { typedFilterMetadata: { [MetadataKey.cluster]: anyOf(ClusterPolicySchema, policy) } },
      lbPolicy: LbPolicy.RANDOM,
    })
    expect(spec(named({ balancer: 'PEAK_EWMA' })).lb).toEqual({ policy: 'PEAK_EWMA', decayMs: 10_000 })
    expect(spec(named({ balancer: 'PEAK_EWMA', peakEwma: { decay: { seconds: 5n } } })).lb).toMatchObject({
      decayMs: 5_000,
    })
    const { value, warnings } = decode(named({ balancer: 'toString' }))
    expect(value.spec.lb).toEqual({ policy: 'RANDOM' })
    expect(warnings.join()).toContain('balancer: "toString" is not known, lb_policy is used')
  })

  it('weighted round robin by load, alone or below localities', () => {
    const wrr = (init: MessageInitShape<typeof ClientSideWeightedRoundRobinSchema> = {}) =>
      anyOf(ClientSideWeightedRoundRobinSchema, init)
    expect(spec(list(wrr())).lb).toEqual(weightedRoundRobinDefaults)
    const given = {
      enableOobLoadReport: true,
      oobReportingPeriod: { seconds: 20n },
      blackoutPeriod: {},
      weightExpirationPeriod: { seconds: 60n },
      weightUpdatePeriod: { nanos: 1_000_000 },
      errorUtilizationPenalty: 0.5,
    }
    const numbers = { oobReportingMs: 20_000, blackoutMs: 0, expirationMs: 60_000, updateMs: 100, errorPenalty: 0.5 }
    expect(spec(list(wrr(given))).lb).toEqual({ policy: 'WEIGHTED_ROUND_ROBIN', ...numbers })
    expect(spec(list(wrr({ ...given, enableOobLoadReport: false }))).lb).toMatchObject({ oobReportingMs: null })
    const { policies } = list(wrr(), anyOf(RoundRobinSchema, {})).loadBalancingPolicy
    const below = spec(list(anyOf(WrrLocalitySchema, { endpointPickingPolicy: { policies } })))
    expect(below).toMatchObject({ lb: weightedRoundRobinDefaults, priorities: { locality: 'weighted' } })
    expect(() => spec(list(wrr({ errorUtilizationPenalty: -1 })))).toThrow(
      'load_balancing_policy.policies[0].typed_extension_config.error_utilization_penalty: must not be negative, is -1',
    )
  })

  it('of a random subset of the hosts: of each priority, or each locality where localities are weighted', () => {
    const child = (...configs: ReturnType<typeof anyOf>[]) =>
      toBinary(LoadBalancingPolicySchema, create(LoadBalancingPolicySchema, list(...configs).loadBalancingPolicy))
    const subset = (size: number, policy?: Uint8Array) => {
      const typeUrl =
        'type.googleapis.com/envoy.extensions.load_balancing_policies.random_subsetting.v3.RandomSubsetting'
      const fields = policy === undefined ? [] : [0x12, policy.length, ...policy]
      return create(AnySchema, { typeUrl, value: Uint8Array.from([0x0a, 2, 0x08, size, ...fields]) })
    }
    const round = child(anyOf(RoundRobinSchema, {}))
    expect(spec(list(subset(5, round)))).toMatchObject({
      lb: { policy: 'ROUND_ROBIN' },
      subset: { size: 5, per: 'priority' },
    })
    const { policies } = list(subset(7, child(anyOf(RandomSchema, {})))).loadBalancingPolicy
    expect(spec(list(anyOf(WrrLocalitySchema, { endpointPickingPolicy: { policies } })))).toMatchObject({
      lb: { policy: 'RANDOM' },
      subset: { size: 7, per: 'locality' },
    })
    expect(spec({}).subset).toBeNull()
    expect(refusal(list(subset(0, round)))).toContain('subset_size: must be greater than 0, is 0')
    expect(refusal(list(subset(3)))).toContain('child_policy: is missing')
    expect(refusal(list(subset(3, Uint8Array.of(0xff))))).toContain('is not a valid')
  })

  it('weigh localities where they are told to', () => {
    const locality = (init: ClusterInit) => spec(init).priorities.locality
    const localityConfigSpecifier = { case: 'localityWeightedLbConfig', value: {} } as const
    expect(locality({})).toBe('none')
    expect(locality({ commonLbConfig: { localityConfigSpecifier } })).toBe('weighted')
    expect(locality(list(anyOf(RoundRobinSchema, { localityLbConfig: { localityConfigSpecifier } })))).toBe('weighted')
    expect(locality(list(anyOf(RingHashSchema, { localityWeightedLbConfig: {} })))).toBe('weighted')
    const { policies } = list(anyOf(RoundRobinSchema, {})).loadBalancingPolicy
    expect(locality(list(anyOf(WrrLocalitySchema, { endpointPickingPolicy: { policies } })))).toBe('weighted')
    const zones = {
      case: 'zoneAwareLbConfig',
      value: { routingEnabled: { value: 50 }, minClusterSize: 3n },
    } as const
    expect(spec({ commonLbConfig: { localityConfigSpecifier: zones } }).priorities).toEqual({
      overprovisioningPercent: 140,
      locality: 'zone-aware',
      minClusterSize: 3,
      routingEnabledPercent: 50,
    })
  })
})

describe('health checks', () => {
  const base = { timeout: { seconds: 1n }, interval: { seconds: 5n }, unhealthyThreshold: 3, healthyThreshold: 2 }
  const http = (value: object) => ({ ...base, healthChecker: { case: 'httpHealthCheck', value } }) as const

  it('by HTTP, gRPC and TCP', () => {
    const checks = spec({
      healthChecks: [
        http({
          path: '/health',
          host: 'h',
          method: RequestMethod.HEAD,
          expectedStatuses: [{ start: 200n, end: 300n }],
        }),
        { ...base, intervalJitterPercent: 20, healthChecker: { case: 'grpcHealthCheck', value: { serviceName: 's' } } },
        { ...base, noTrafficInterval: { seconds: 9n }, healthChecker: { case: 'tcpHealthCheck', value: {} } },
      ],
    }).healthChecks
    expect(checks).toMatchObject([
      {
        ...{ timeoutMs: 1_000, intervalMs: 5_000, unhealthyThreshold: 3, healthyThreshold: 2 },
        noTrafficIntervalMs: 60_000,
        how: { kind: 'http', path: '/health', host: 'h', method: 'HEAD', expectedStatuses: [{ start: 200, end: 300 }] },
      },
      { intervalJitterPercent: 20, how: { kind: 'grpc', serviceName: 's' } },
      { noTrafficIntervalMs: 9_000, how: { kind: 'tcp' } },
    ])
    expect(spec({ healthChecks: [http({ path: '/' })] }).healthChecks[0]?.how).toMatchObject({
      method: 'GET',
      expectedStatuses: [{ start: 200, end: 201 }],
    })
  })

  it.each<[string, NonNullable<ClusterInit['healthChecks']>[number]]>([
    ['interval: is missing', { ...http({ path: '/' }), interval: undefined as never }],
    ['healthy_threshold: is missing', { timeout: base.timeout, interval: base.interval, unhealthyThreshold: 1 }],
    ['has none of http_health_check', base],
    ['http_health_check.path: must begin with "/"', http({ path: 'health' })],
    ['expected_statuses[0]: [300, 200) is not', http({ path: '/', expectedStatuses: [{ start: 300n, end: 200n }] })],
    ['http_health_check.method: CONNECT is not possible', http({ path: '/', method: RequestMethod.CONNECT })],
    ['custom_health_check: not supported', { ...base, healthChecker: { case: 'customHealthCheck', value: {} } }],
  ])('refused: %s', (message, check) => {
    const { interval, ...rest } = check as typeof base
    expect(refusal({ healthChecks: [interval === undefined ? rest : check] })).toContain(message)
  })
})

describe('outlier detection by statistics', () => {
  it('is as Envoy has it: success rate enforced, failure percentage not', () => {
    expect(spec({ outlierDetection: {} }).outlier).toMatchObject({
      successRate: { minimumHosts: 5, requestVolume: 100, stdevFactor: 1.9, enforcingPercent: 100 },
      failurePercentage: null,
      splitLocalOrigin: false,
      errorStatuses: null,
    })
    expect(
      spec({
        outlierDetection: {
          enforcingSuccessRate: 0,
          enforcingFailurePercentage: 50,
          failurePercentageThreshold: 40,
          failurePercentageMinimumHosts: 1,
          splitExternalLocalOriginErrors: true,
          consecutiveLocalOriginFailure: 7,
          enforcingLocalOriginSuccessRate: 0,
        },
      }).outlier,
    ).toMatchObject({
      successRate: null,
      failurePercentage: { minimumHosts: 1, requestVolume: 50, thresholdPercent: 40, enforcingPercent: 50 },
      splitLocalOrigin: true,
      consecutiveLocalOrigin: 7,
    })
  })

  it('may be told which statuses are errors', () => {
    const policy = (start: number, end: number) => ({
      outlierDetection: {},
      metadata: {
        typedFilterMetadata: {
          [MetadataKey.cluster]: anyOf(ClusterPolicySchema, { outlierErrorStatuses: [{ start, end }] }),
        },
      },
    })
    expect(spec(policy(429, 430)).outlier?.errorStatuses).toEqual([{ start: 429, end: 430 }])
    expect(refusal(policy(500, 500))).toContain('outlier_error_statuses[0]: [500, 500) is not a range')
  })
})

describe('the protocol', () => {
  const key = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
  const options = (init: Init<typeof HttpProtocolOptionsSchema>) =>
    spec({ typedExtensionProtocolOptions: { [key]: anyOf(HttpProtocolOptionsSchema, init) } }).protocol
  it('is HTTP/2 where it is asked for', () => {
    const explicit = (kase: 'httpProtocolOptions' | 'http2ProtocolOptions') =>
      options({
        upstreamProtocolOptions: {
          case: 'explicitHttpConfig',
          value: { protocolConfig: { case: kase, value: {} } },
        },
      })
    expect(spec({}).protocol).toBe('http1')
    expect(spec({ http2ProtocolOptions: {} }).protocol).toBe('h2')
    expect(explicit('httpProtocolOptions')).toBe('http1')
    expect(explicit('http2ProtocolOptions')).toBe('h2')
    expect(options({ upstreamProtocolOptions: { case: 'autoConfig', value: {} } })).toBe('h2')
  })
})

describe('TLS to services outside of the mesh', () => {
  type Tls = Init<typeof UpstreamTlsContextSchema>
  type Validation = Init<typeof CertificateValidationContextSchema>
  const tls = (validation: Validation, more: Tls['commonTlsContext'] = {}, sni = 'api.example.com'): ClusterInit => ({
    transportSocket: {
      name: 'envoy.transport_sockets.tls',
      configType: {
        case: 'typedConfig',
        value: anyOf(UpstreamTlsContextSchema, {
          sni,
          commonTlsContext: {
            ...more,
            validationContextType: {
              case: 'validationContext',
              value: create(CertificateValidationContextSchema, validation),
            },
          },
        }),
      },
    },
  })
  const inline = (value: string) => ({ specifier: { case: 'inlineString', value } }) as const
  const file = (value: string) => ({ specifier: { case: 'filename', value } }) as const
  const dns = (value: string) => ({
    sanType: SanType.DNS,
    matcher: { matchPattern: { case: 'exact', value } } as const,
  })

  it('by the roots of the system, or given ones', () => {
    expect(spec(tls({ systemRootCerts: {}, matchTypedSubjectAltNames: [dns('api.example.com')] })).tls).toEqual({
      mode: 'external',
      allowedIds: [],
      external: {
        sni: 'api.example.com',
        ca: null,
        subjectAltNames: [{ kind: 'exact', value: 'api.example.com', ignoreCase: false }],
        insecureSkipVerify: false,
        client: null,
        alpn: ['http/1.1'],
      },
    })
    expect(spec(tls({ trustedCa: inline('PEM') })).tls.external?.ca).toEqual({ kind: 'inline', pem: 'PEM' })
    expect(spec(tls({ trustedCa: file('/ca') })).tls.external?.ca).toEqual({ kind: 'file', path: '/ca' })
    expect(spec(tls({ trustChainVerification: Verification.ACCEPT_UNTRUSTED })).tls.external?.insecureSkipVerify).toBe(
      true,
    )
    expect(spec({ ...tls({ systemRootCerts: {} }), http2ProtocolOptions: {} }).tls.external?.alpn).toEqual([
      'h2',
      'http/1.1',
    ])
  })

  it('with a certificate of our own', () => {
    const tlsCertificates = [{ certificateChain: file('/c'), privateKey: inline('K') }]
    expect(spec(tls({ systemRootCerts: {} }, { tlsCertificates })).tls.external?.client).toEqual({
      certificate: { kind: 'file', path: '/c' },
      key: { kind: 'inline', pem: 'K' },
    })
    expect(refusal(tls({ systemRootCerts: {} }, { tlsCertificates: [{ certificateChain: file('/c') }] }))).toContain(
      'tls_certificates[0].private_key: is missing',
    )
  })

  it('refuses what it cannot check, and roots that nobody names', () => {
    expect(refusal(tls({ systemRootCerts: {}, verifyCertificateHash: ['x'] }))).toContain(
      'verify_certificate_hash: not supported',
    )
    expect(refusal(tls({ trustedCa: file('/ca'), crl: file('/crl') }))).toContain('crl: not supported')
    expect(refusal(tls({}))).toContain('is missing')
    const env = { specifier: { case: 'environmentVariable', value: 'X' } } as const
    expect(refusal(tls({ trustedCa: env }))).toContain('environment_variable: not supported')
  })

  it('is for all endpoints alike', () => {
    const { transportSocket } = tls({ systemRootCerts: {} })
    const init = {
      transportSocketMatches: [{ name: 'a', match: { tlsMode: 'istio' }, transportSocket }],
    } as ClusterInit
    expect(refusal(init)).toContain('for all endpoints alike only')
  })
})

it('endpoints have names, weights of localities and an overprovisioning factor', () => {
  const named = { ...lbEndpoint('10.0.0.1:80') }
  const { value } = decode({
    clusterDiscoveryType: { case: 'type', value: DiscoveryType.STATIC },
    loadAssignment: {
      clusterName: 'c',
      policy: { overprovisioningFactor: 200 },
      endpoints: [
        {
          loadBalancingWeight: 7,
          lbEndpoints: [
            {
              ...named,
              hostIdentifier: { case: 'endpoint', value: { ...named.hostIdentifier.value, hostname: 'one.example' } },
            },
          ],
        },
      ],
    },
  })
  expect(value.inline).toMatchObject({
    overprovisioningPercent: 200,
    endpoints: [{ hostname: 'one.example', localityWeight: 7 }],
  })
  expect(
    refusal({
      clusterDiscoveryType: { case: 'type', value: DiscoveryType.STATIC },
      loadAssignment: { clusterName: 'c', policy: { overprovisioningFactor: 99 } },
    }),
  ).toContain('load_assignment.policy.overprovisioning_factor: must be at least 100, is 99')
})
