import type { Locality, Metadata } from '../../gen/envoy/config/core/v3/base_pb.js'
import { HealthStatus as WireHealth } from '../../gen/envoy/config/core/v3/health_check_pb.js'
import {
  EndpointSchema,
  type LbEndpoint,
  LbEndpointSchema,
  type LocalityLbEndpoints,
  LocalityLbEndpointsSchema,
} from '../../gen/envoy/config/endpoint/v3/endpoint_components_pb.js'
import {
  type ClusterLoadAssignment,
  ClusterLoadAssignment_PolicySchema,
  ClusterLoadAssignmentSchema,
} from '../../gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { EndpointIdentitySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import { clusterDefaults, type EndpointSpec, type HealthStatus } from '../../model/cluster.ts'
import { MetadataKey, TRANSPORT_SOCKET_MATCH, TypeUrl } from '../proto.ts'
import { socketAddress } from './address.ts'
import { type Field, names } from './field.ts'
import { typedMetadata } from './metadata.ts'
import { resourceType } from './resource-type.ts'

/** What EDS, or a cluster itself, says about endpoints. */
export interface EndpointsResource {
  readonly endpoints: readonly EndpointSpec[]
  /** Percent; where nothing is said 140 (Envoy), of foreign control planes so much that a level is either in or out. */
  readonly overprovisioningPercent: number
}

/** EDS. Rules: gRFC A27 (gapless priorities, unique localities and addresses, weights that fit 32 bits). */
export const endpointsType = resourceType({
  typeUrl: TypeUrl.endpoints,
  label: 'ClusterLoadAssignment',
  fullState: false,
  schema: ClusterLoadAssignmentSchema,
  nameOf: (m) => m.clusterName,
  convert: (message, field) => clusterEndpoints(message, field, socketAddress),
})

/** gRPC knows no overprovisioning (A27, A56), and clients say so: a priority and a locality have their share as long as one host is there. */
const ALL_OR_NOTHING = 1_000_000_000

type ReadAddress = typeof socketAddress

/** @param read of an address: literal ones only, or names too where the cluster is resolved here */
export function clusterEndpoints(message: ClusterLoadAssignment, field: Field, read: ReadAddress): EndpointsResource {
  field.onlyReads(ClusterLoadAssignmentSchema, message, names('cluster_name endpoints policy'))
  const policyAt = field.at('policy')
  if (message.policy !== undefined)
    policyAt.onlyReads(ClusterLoadAssignment_PolicySchema, message.policy, names('overprovisioning_factor'))
  const overprovisioningPercent =
    message.policy?.overprovisioningFactor ??
    (field.dialect.providers === null ? clusterDefaults.priorities.overprovisioningPercent : ALL_OR_NOTHING)
  if (overprovisioningPercent < 100)
    policyAt.at('overprovisioning_factor').fail(`must be at least 100, is ${overprovisioningPercent}`)

  const localities = new Set<string>()
  const addresses = new Set<string>()
  const priorities = new Set<number>()
  const endpoints: EndpointSpec[] = []
  field.at('endpoints').map(message.endpoints, (group, at) => {
    const locality = localityText(group.locality)
    const key = `${group.priority} ${locality}`
    if (localities.has(key)) at.fail(`locality "${locality}" appears twice at priority ${group.priority}`)
    localities.add(key)
    priorities.add(group.priority)
    for (const endpoint of localityEndpoints(group, at, locality, read)) {
      const address = `${endpoint.address} ${endpoint.port}`
      if (addresses.has(address)) at.fail(`address ${endpoint.address}:${endpoint.port} appears twice in the resource`)
      addresses.add(address)
      endpoints.push(endpoint)
    }
  })
  for (let priority = 0; priority < priorities.size; priority++)
    if (!priorities.has(priority))
      field.at('endpoints').fail(`no locality has priority ${priority}: priorities must have no gap`)
  return { endpoints, overprovisioningPercent }
}

const localityFields = names('locality lb_endpoints load_balancer_endpoints load_balancing_weight priority proximity')

function localityEndpoints(
  group: LocalityLbEndpoints,
  field: Field,
  locality: string,
  read: ReadAddress,
): EndpointSpec[] {
  field.onlyReads(LocalityLbEndpointsSchema, group, localityFields)
  if (group.lbConfig.case === 'ledsClusterLocalityConfig')
    field.at('leds_cluster_locality_config').fail('not supported')
  // gRFC A27: a locality without weight gets no traffic; an explicit 0 says so, absence is taken as "not weighted".
  if (group.loadBalancingWeight === 0) return []
  const list =
    group.lbConfig.case === 'loadBalancerEndpoints'
      ? [...group.lbEndpoints, ...group.lbConfig.value.lbEndpoints]
      : group.lbEndpoints
  const specs = field.at('lb_endpoints').map(list, (e, at) => endpoint(e, at, locality, group, read))
  const sum = specs.reduce((total, e) => total + e.weight, 0)
  if (sum > 0xffff_ffff) field.fail('the sum of the endpoints’ weights is more than 4294967295')
  return specs
}

const endpointFields = names('endpoint health_status metadata load_balancing_weight')

function endpoint(
  message: LbEndpoint,
  field: Field,
  locality: string,
  { priority, loadBalancingWeight = 0 }: LocalityLbEndpoints,
  read: ReadAddress,
): EndpointSpec {
  field.onlyReads(LbEndpointSchema, message, endpointFields)
  if (message.hostIdentifier.case !== 'endpoint') return field.at('endpoint').fail('is missing')
  const place = message.hostIdentifier.value
  const { address, port } = read(field.at('endpoint.address'), place.address)
  field.at('endpoint').onlyReads(EndpointSchema, place, names('address hostname'))
  const weight = message.loadBalancingWeight ?? 1
  if (weight === 0) field.at('load_balancing_weight').fail('must be at least 1')
  const identity = typedMetadata(field.at('metadata'), message.metadata, MetadataKey.endpoint, EndpointIdentitySchema)
  const spiffeId = identity === undefined || identity.spiffeId === '' ? null : identity.spiffeId
  if (spiffeId !== null && !spiffeId.startsWith('spiffe://'))
    field.at('metadata').fail(`spiffe_id "${spiffeId}" is not a SPIFFE id`)
  return {
    address,
    port,
    weight,
    priority,
    locality,
    // Where localities are weighted, one without a weight gets nothing (Envoy).
    localityWeight: loadBalancingWeight,
    ...(place.hostname === '' ? {} : { hostname: place.hostname }),
    health: health(field.at('health_status'), message.healthStatus),
    tlsMode: speaksMtls(message.metadata) ? 'mtls' : 'plaintext',
    spiffeId,
    labels: { ...identity?.labels },
  }
}

function health(field: Field, status: WireHealth): HealthStatus {
  switch (status) {
    case WireHealth.UNKNOWN:
    case WireHealth.HEALTHY:
      return 'HEALTHY'
    case WireHealth.DEGRADED:
      field.warn('DEGRADED is treated as HEALTHY')
      return 'HEALTHY'
    case WireHealth.DRAINING:
      return 'DRAINING'
    case WireHealth.UNHEALTHY:
    case WireHealth.TIMEOUT:
      return 'UNHEALTHY'
    default:
      return field.fail(`${status} is not a known value`)
  }
}

/** Istio's mark on an endpoint whose workload is in the mesh. */
function speaksMtls(metadata: Metadata | undefined): boolean {
  return metadata?.filterMetadata[TRANSPORT_SOCKET_MATCH]?.tlsMode === 'istio'
}

function localityText(locality: Locality | undefined): string {
  if (locality === undefined) return ''
  return [locality.region, locality.zone, locality.subZone].join('/').replace(/\/+$/, '')
}
