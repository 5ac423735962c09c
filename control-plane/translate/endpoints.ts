import type { MessageInitShape } from '@bufbuild/protobuf'
import { HealthStatus } from '../../src/gen/envoy/config/core/v3/health_check_pb.js'
import type { LbEndpointSchema } from '../../src/gen/envoy/config/endpoint/v3/endpoint_components_pb.js'
import { ClusterLoadAssignmentSchema } from '../../src/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { EndpointIdentitySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { clusterName, MetadataKey, TRANSPORT_SOCKET_MATCH, TypeUrl } from '../../src/xds/proto.ts'
import type { EndpointRecord } from '../store/store.ts'
import { isForeign } from './class.ts'
import { type Built, encode, pack, sorted, struct } from './encode.ts'
import { mergedRule, subsetLabels } from './merge.ts'
import type { MeshIndex } from './mesh-index.ts'
import { tlsModeOf } from './peer-authentication.ts'
import { compareText } from './rule.ts'
import type { ClientView } from './types.ts'

/** The endpoints of a service that belong to a subset, by address. */
export function selectedEndpoints(
  index: MeshIndex,
  host: string,
  subset: string,
  client: ClientView,
): readonly EndpointRecord[] {
  const labels = Object.entries(subsetLabels(mergedRule(index, host, client.namespace), subset))
  const endpoints = index.services.get(host)?.endpoints ?? []
  return endpoints.filter((endpoint) => labels.every(([key, value]) => endpoint.labels[key] === value))
}

/** EDS: real addresses and ports, whatever port was dialled; by locality, all of priority 0. Empty = none, 503. */
export function loadAssignment(
  index: MeshIndex,
  host: string,
  subset: string,
  port: number,
  client: ClientView,
): Built {
  const name = clusterName(port, subset, host)
  const byLocality = Map.groupBy(selectedEndpoints(index, host, subset, client), (e) => e.locality)
  const localities = [...byLocality].sort(([a], [b]) => compareText(a, b))
  const resource = encode(TypeUrl.endpoints, name, ClusterLoadAssignmentSchema, {
    clusterName: name,
    endpoints: localities.map(([locality, endpoints]) => ({
      locality: parseLocality(locality),
      lbEndpoints: endpoints.map((endpoint) => lbEndpoint(index, endpoint, client)),
      loadBalancingWeight: endpoints.reduce((sum, endpoint) => sum + weightOf(endpoint), 0),
    })),
  })
  return { resource, references: [] }
}

const health = {
  HEALTHY: HealthStatus.HEALTHY,
  UNHEALTHY: HealthStatus.UNHEALTHY,
  DRAINING: HealthStatus.DRAINING,
} as const

/** Sums must fit 32 bits; 0 and less are refused by every client. */
function weightOf(endpoint: EndpointRecord): number {
  return Math.min(1_000_000, Math.max(1, Math.round(endpoint.weight) || 1))
}

function lbEndpoint(
  index: MeshIndex,
  endpoint: EndpointRecord,
  client: ClientView,
): MessageInitShape<typeof LbEndpointSchema> {
  const { address, port } = endpoint
  return {
    hostIdentifier: {
      case: 'endpoint',
      value: {
        address: {
          address: { case: 'socketAddress', value: { address, portSpecifier: { case: 'portValue', value: port } } },
        },
      },
    },
    healthStatus: health[endpoint.health],
    loadBalancingWeight: weightOf(endpoint),
    ...(isForeign(client.clientClass) ? {} : { metadata: metadata(index, endpoint) }),
  }
}

/** Whether it speaks mutual TLS, and who must answer there. A server that takes only plaintext shows nobody. */
function metadata(index: MeshIndex, endpoint: EndpointRecord) {
  const secure = tlsModeOf(index, endpoint.namespace, endpoint.labels, endpoint.port) !== 'DISABLE'
  const identity = pack(EndpointIdentitySchema, {
    spiffeId: secure ? endpoint.spiffeId : '',
    labels: sorted(endpoint.labels),
  })
  return {
    ...(secure ? { filterMetadata: { [TRANSPORT_SOCKET_MATCH]: struct({ tlsMode: 'istio' }) } } : {}),
    typedFilterMetadata: { [MetadataKey.endpoint]: identity },
  }
}

function parseLocality(locality: string) {
  const [region = '', zone = '', ...rest] = locality.split('/')
  return { region, zone, subZone: rest.join('/') }
}
