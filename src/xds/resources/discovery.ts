import {
  type Cluster,
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_DnsLookupFamily as Family,
} from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterConfigSchema as AggregateSchema } from '../../gen/envoy/extensions/clusters/aggregate/v3/cluster_pb.js'
import type { ClusterSpec, DnsSpec } from '../../model/cluster.ts'
import { nameOrAddress, socketAddress } from './address.ts'
import { holds, unpack } from './any.ts'
import { requireAds } from './config-source.ts'
import { positiveMs } from './duration.ts'
import { clusterEndpoints, type EndpointsResource } from './endpoints.ts'
import type { Field } from './field.ts'

/** Where a cluster's endpoints come from. */
export interface Discovery {
  readonly kind: ClusterSpec['kind']
  readonly edsName: string | null
  readonly dns: DnsSpec | null
  readonly inline: EndpointsResource | null
  /** Clusters that an aggregate stands for, best first; empty = it is none (gRFC A37). */
  readonly children: readonly string[]
}

/**
 * envoy.config.cluster.v3.Cluster type; absent is STATIC, the enum's zero. A LOGICAL_DNS cluster has exactly one endpoint
 * (Envoy, gRFC A37).
 */
export function discovery(field: Field, message: Cluster): Discovery {
  const given = message.clusterDiscoveryType
  const none = { edsName: null, dns: null, inline: null, children: [] }
  if (given.case === 'clusterType') {
    const at = field.at('cluster_type')
    if (!holds(given.value.typedConfig, AggregateSchema)) at.fail(`"${given.value.name}" is not supported`)
    const { clusters } = unpack(at.at('typed_config'), given.value.typedConfig, AggregateSchema)
    if (clusters.length === 0) at.at('typed_config.clusters').fail('must not be empty')
    return { ...none, kind: 'eds', children: clusters }
  }
  const type = given.case === 'type' ? given.value : DiscoveryType.STATIC
  switch (type) {
    case DiscoveryType.EDS: {
      const at = field.at('eds_cluster_config')
      requireAds(at.at('eds_config'), message.edsClusterConfig?.edsConfig)
      return { ...none, kind: 'eds', edsName: message.edsClusterConfig?.serviceName || message.name }
    }
    case DiscoveryType.ORIGINAL_DST:
      return { ...none, kind: 'passthrough' }
    case DiscoveryType.STATIC:
      return { ...none, kind: 'static', inline: assignment(field, message, socketAddress) }
    case DiscoveryType.STRICT_DNS:
      return { ...none, kind: 'strict-dns', dns: dns(field, message) }
    case DiscoveryType.LOGICAL_DNS: {
      const spec = dns(field, message)
      if (spec.names.length !== 1)
        field.at('load_assignment.endpoints').fail(`LOGICAL_DNS needs exactly one endpoint, has ${spec.names.length}`)
      return { ...none, kind: 'logical-dns', dns: spec }
    }
    default:
      return field.at('type').fail(`${DiscoveryType[type] ?? type} is not supported`)
  }
}

function assignment(field: Field, message: Cluster, read: typeof socketAddress): EndpointsResource {
  const at = field.at('load_assignment')
  return message.loadAssignment === undefined
    ? at.fail('is missing')
    : clusterEndpoints(message.loadAssignment, at, read)
}

/** Envoy asks again every 5 s when nothing is said. */
function dns(field: Field, message: Cluster): DnsSpec {
  const { endpoints } = assignment(field, message, nameOrAddress)
  const family = message.dnsLookupFamily
  return {
    refreshMs: positiveMs(field.at('dns_refresh_rate'), message.dnsRefreshRate, 5_000),
    family: family === Family.V4_ONLY ? 'v4' : family === Family.V6_ONLY ? 'v6' : 'any',
    names: endpoints,
  }
}
