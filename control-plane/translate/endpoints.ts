import { isIP } from 'node:net'
import type { MessageInitShape } from '@bufbuild/protobuf'
import { HealthStatus } from '../../src/gen/envoy/config/core/v3/health_check_pb.js'
import type {
  LbEndpointSchema,
  LocalityLbEndpointsSchema,
} from '../../src/gen/envoy/config/endpoint/v3/endpoint_components_pb.js'
import { ClusterLoadAssignmentSchema } from '../../src/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { EndpointIdentitySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { clusterName, MetadataKey, TRANSPORT_SOCKET_MATCH, TypeUrl } from '../../src/xds/proto.ts'
import type { EndpointRecord } from '../store/store.ts'
import { isForeign } from './class.ts'
import { type Built, encode, pack, sorted, struct } from './encode.ts'
import { groupByLocality } from './localities.ts'
import { effectivePolicy, mergedRule, subsetLabels } from './merge.ts'
import type { MeshIndex } from './mesh-index.ts'
import { tlsModeOf } from './peer-authentication.ts'
import type { ClientView } from './types.ts'

/** An endpoint as a cluster has it, wherever it comes from. */
export interface Target {
  /** IP address, or a name in clusters that are resolved by the client. */
  readonly address: string
  readonly port: number
  readonly weight: number
  readonly locality: string
  readonly labels: Readonly<Record<string, string>>
  readonly health: EndpointRecord['health']
  /** '' = none. */
  readonly spiffeId: string
  /** Speaks mutual TLS. */
  readonly secure: boolean
  /** Name for TLS and hashing; '' = none. */
  readonly hostname: string
}

/** The endpoints of a service that belong to a subset, by address. */
export function selectedTargets(
  index: MeshIndex,
  host: string,
  subset: string,
  port: number,
  client: ClientView,
): readonly Target[] {
  const labels = Object.entries(subsetLabels(mergedRule(index, host, client), subset))
  const service = index.services.get(host)
  if (service?.declared != null)
    return index
      .declaredEndpoints(service.declared, host, port)
      .filter((endpoint) => labels.every(([key, value]) => endpoint.labels[key] === value))
  return atPort(service?.endpoints ?? [], port, client)
    .filter((endpoint) => labels.every(([key, value]) => endpoint.labels[key] === value))
    .map((endpoint) => targetOf(index, endpoint))
}

/**
 * A process tells its ports by itself, so which one is dialled has no meaning; but where a service speaks HTTP at some and gRPC
 * at others, a port of its own means that one, and any other those of the caller's protocol: HTTP, gRPC for foreign clients.
 */
function atPort(all: readonly EndpointRecord[], port: number, client: ClientView): readonly EndpointRecord[] {
  const grpc = all.filter(({ protocol }) => protocol === 'GRPC')
  if (grpc.length === 0 || grpc.length === all.length) return all
  const there = all.filter((endpoint) => endpoint.port === port)
  if (there.length > 0) return there
  return isForeign(client.clientClass) ? grpc : all.filter(({ protocol }) => protocol !== 'GRPC')
}

/** Whether all of a service's own endpoints, as this client reaches them by this port, speak gRPC and nothing else. */
export function speaksGrpc(index: MeshIndex, host: string, port: number, client: ClientView): boolean {
  const reached = atPort(index.services.get(host)?.endpoints ?? [], port, client)
  return reached.length > 0 && reached.every(({ protocol }) => protocol === 'GRPC')
}

function targetOf(index: MeshIndex, endpoint: EndpointRecord): Target {
  const { address, port, locality, labels, health, spiffeId, namespace } = endpoint
  const secure = tlsModeOf(index, namespace, labels, port) !== 'DISABLE'
  return { address, port, weight: weightOf(endpoint), locality, labels, health, spiffeId, secure, hostname: '' }
}

/** Sums must fit 32 bits; 0 and less are refused by every client. */
export function weightOf({ weight }: { weight: number }): number {
  return Math.min(1_000_000, Math.max(1, Math.round(weight) || 1))
}

/** EDS: real addresses and ports, whatever port was dialled. Empty = none, 503. */
export function loadAssignment(
  index: MeshIndex,
  host: string,
  subset: string,
  port: number,
  client: ClientView,
): Built {
  const name = clusterName(port, subset, host)
  // Addresses only, whatever a client that cannot resolve names is asked to call (gRFC A27).
  const targets = selectedTargets(index, host, subset, port, client).filter(({ address }) => isIP(address) !== 0)
  const resource = encode(TypeUrl.endpoints, name, ClusterLoadAssignmentSchema, {
    clusterName: name,
    endpoints: localities(index, host, subset, port, targets, client),
  })
  return { resource, references: [] }
}

/** By locality, with priorities and shares as this client shall see them. */
export function localities(
  index: MeshIndex,
  host: string,
  subset: string,
  port: number,
  targets: readonly Target[],
  client: ClientView,
): MessageInitShape<typeof LocalityLbEndpointsSchema>[] {
  const { blocks } = effectivePolicy(mergedRule(index, host, client), subset, port)
  const foreign = isForeign(client.clientClass)
  // A rule that names identities speaks for all endpoints.
  const named = (blocks.tls?.subjectAltNames ?? []).length > 0
  return groupByLocality(targets, blocks, index.settings, client).map((group) => ({
    locality: parseLocality(group.locality),
    lbEndpoints: group.endpoints.map((target) => lbEndpoint(named ? { ...target, spiffeId: '' } : target, foreign)),
    loadBalancingWeight: group.weight,
    priority: group.priority,
  }))
}

const health = {
  HEALTHY: HealthStatus.HEALTHY,
  UNHEALTHY: HealthStatus.UNHEALTHY,
  DRAINING: HealthStatus.DRAINING,
} as const

function lbEndpoint(target: Target, foreign: boolean): MessageInitShape<typeof LbEndpointSchema> {
  const { address, port, hostname } = target
  return {
    hostIdentifier: {
      case: 'endpoint',
      value: {
        address: {
          address: { case: 'socketAddress', value: { address, portSpecifier: { case: 'portValue', value: port } } },
        },
        hostname,
      },
    },
    healthStatus: health[target.health],
    loadBalancingWeight: target.weight,
    ...(foreign ? {} : { metadata: metadata(target) }),
  }
}

/** Whether it speaks mutual TLS, and who must answer there. A server that takes only plaintext shows nobody. */
function metadata({ secure, spiffeId, labels }: Target) {
  const identity = pack(EndpointIdentitySchema, { spiffeId: secure ? spiffeId : '', labels: sorted(labels) })
  return {
    ...(secure ? { filterMetadata: { [TRANSPORT_SOCKET_MATCH]: struct({ tlsMode: 'istio' }) } } : {}),
    typedFilterMetadata: { [MetadataKey.endpoint]: identity },
  }
}

function parseLocality(locality: string) {
  const [region = '', zone = '', ...rest] = locality.split('/')
  return { region, zone, subZone: rest.join('/') }
}
