import { describe, expect, it } from 'vitest'
import { anyOf, bytesOf, endpointsInit, type Init, lbEndpoint } from '../../../test/support/xds-resources.ts'
import { HealthStatus } from '../../gen/envoy/config/core/v3/health_check_pb.js'
import { ClusterLoadAssignmentSchema } from '../../gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { EndpointIdentitySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import { MetadataKey, TRANSPORT_SOCKET_MATCH } from '../proto.ts'
import { endpointsType } from './endpoints.ts'

type Localities = NonNullable<Init<typeof ClusterLoadAssignmentSchema>['endpoints']>

const decodeAll = (init: Init<typeof ClusterLoadAssignmentSchema>) =>
  endpointsType.decode(bytesOf(ClusterLoadAssignmentSchema, init))
const decode = (...endpoints: Localities) => decodeAll({ clusterName: 'c', endpoints }).value.endpoints
const group = (priority: number, zone: string, ...addresses: string[]) => ({
  priority,
  locality: { region: 'r', zone },
  loadBalancingWeight: 1,
  lbEndpoints: addresses.map(lbEndpoint),
})
const one = (more: object, address = '10.0.0.1:80') => ({ lbEndpoints: [{ ...lbEndpoint(address), ...more }] })
const refusal = (...endpoints: Localities) => {
  try {
    decode(...endpoints)
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

describe('endpoints', () => {
  it('are listed in order with what they are', () => {
    const identity = anyOf(EndpointIdentitySchema, { spiffeId: 'spiffe://td/ns/a/sa/b', labels: { version: 'v2' } })
    const metadata = {
      filterMetadata: { [TRANSPORT_SOCKET_MATCH]: { tlsMode: 'istio' } },
      typedFilterMetadata: { [MetadataKey.endpoint]: identity },
    }
    const locality = { region: 'r', zone: 'z', subZone: 's' }
    const [meshed, plain] = decode({
      locality,
      lbEndpoints: [{ ...lbEndpoint('10.0.0.1:8080'), metadata, loadBalancingWeight: 3 }, lbEndpoint('10.0.0.2:80')],
    })
    expect(meshed).toEqual({
      address: '10.0.0.1',
      port: 8080,
      weight: 3,
      priority: 0,
      locality: 'r/z/s',
      health: 'HEALTHY',
      tlsMode: 'mtls',
      spiffeId: 'spiffe://td/ns/a/sa/b',
      labels: { version: 'v2' },
      localityWeight: 0,
    })
    expect(plain).toMatchObject({ tlsMode: 'plaintext', spiffeId: null, labels: {}, weight: 1 })
  })

  it('may be none: no localities, a locality without endpoints, or one of weight 0', () => {
    expect(decode()).toEqual([])
    expect(decode(group(0, 'z'))).toEqual([])
    expect(decode({ ...group(0, 'z', '10.0.0.1:80'), loadBalancingWeight: 0 })).toEqual([])
  })

  it.each([
    [HealthStatus.UNKNOWN, 'HEALTHY'],
    [HealthStatus.HEALTHY, 'HEALTHY'],
    [HealthStatus.DEGRADED, 'HEALTHY'],
    [HealthStatus.DRAINING, 'DRAINING'],
    [HealthStatus.UNHEALTHY, 'UNHEALTHY'],
    [HealthStatus.TIMEOUT, 'UNHEALTHY'],
  ])('of health %s are %s', (healthStatus, health) => {
    expect(decode(one({ healthStatus }))[0]?.health).toBe(health)
  })

  it('keep localities of one name apart by priority', () => {
    expect(decode(group(0, 'a', '10.0.0.1:80'), group(1, 'a', '10.0.0.2:80')).map((e) => e.priority)).toEqual([0, 1])
  })

  it('may have IPv6 addresses', () => {
    const address = {
      address: { case: 'socketAddress', value: { address: '::1', portSpecifier: { case: 'portValue', value: 1 } } },
    }
    expect(decode(one({ hostIdentifier: { case: 'endpoint', value: { address } } }))[0]?.address).toBe('::1')
  })

  it.each<[string, Localities]>([
    ['endpoints: no locality has priority 1', [group(0, 'a', '10.0.0.1:80'), group(2, 'a', '10.0.0.2:80')]],
    ['endpoints: no locality has priority 0', [group(3, 'a')]],
    ['endpoints[1]: locality "r/a" appears twice at priority 0', [group(0, 'a'), group(0, 'a')]],
    ['endpoints[1]: address 10.0.0.1:80 appears twice', [group(0, 'a', '10.0.0.1:80'), group(0, 'b', '10.0.0.1:80')]],
    ['"localhost" is not an IP address', [one({}, 'localhost:80')]],
    ['port_value: must be between 1 and 65535, is 0', [one({}, '10.0.0.1:0')]],
    ['port_value: must be between 1 and 65535, is 70000', [one({}, '10.0.0.1:70000')]],
    ['endpoints[0].lb_endpoints[0].endpoint: is missing', [one({ hostIdentifier: { case: undefined } })]],
    ['lb_endpoints[0].load_balancing_weight: must be at least 1', [one({ loadBalancingWeight: 0 })]],
    ['lb_endpoints[0].health_status: 99 is not a known value', [one({ healthStatus: 99 })]],
    [
      'the sum of the endpoints',
      [
        {
          lbEndpoints: ['10.0.0.1:80', '10.0.0.2:80'].map((a) => ({
            ...lbEndpoint(a),
            loadBalancingWeight: 4294967295,
          })),
        },
      ],
    ],
    ['leds_cluster_locality_config: not supported', [{ lbConfig: { case: 'ledsClusterLocalityConfig', value: {} } }]],
    [
      'spiffe_id "payments" is not a SPIFFE id',
      [
        one({
          metadata: {
            typedFilterMetadata: { [MetadataKey.endpoint]: anyOf(EndpointIdentitySchema, { spiffeId: 'payments' }) },
          },
        }),
      ],
    ],
  ])('are refused with "%s"', (message, endpoints) => {
    expect(refusal(...endpoints)).toContain(message)
  })

  it('say what has no effect', () => {
    const { warnings } = decodeAll({
      ...endpointsInit('c', '10.0.0.1:80'),
      policy: { dropOverloads: [{}] },
      namedEndpoints: { a: {} },
    })
    expect([...warnings].sort()).toEqual([
      'named_endpoints: not supported, has no effect',
      'policy.drop_overloads: not supported, has no effect',
    ])
  })
})
