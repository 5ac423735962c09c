import type { MessageInitShape } from '@bufbuild/protobuf'
import type { InboundPolicySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { duration } from './encode.ts'
import { serviceHost } from './hosts.ts'
import { effectivePolicy, mergedRule } from './merge.ts'
import type { MeshIndex } from './mesh-index.ts'
import { rateLimits } from './rate-limits.ts'
import type { ClientView } from './types.ts'

export type InboundPolicyInit = MessageInitShape<typeof InboundPolicySchema>

/** What a server enforces besides RBAC, in `metadata.typed_filter_metadata["inmesh.inbound"]` of its listener. */
export function inboundPolicy(index: MeshIndex, port: number, client: ClientView): InboundPolicyInit {
  const pool = inboundPool(index, port, client)
  return {
    // 0 = no limit, in Istio too.
    maxRequests: pool?.http?.http2MaxRequests ?? 0,
    maxConnections: pool?.tcp?.maxConnections ?? 0,
    pathNormalization: index.settings.pathNormalization,
    rateLimits: rateLimits(index, client),
    ...loadShedding(index, client),
  }
}

/** What of a client and the endpoints decides about its inbound policy: equal texts = equal policies, rules being equal. */
export function inboundViewKey(client: ClientView): string {
  return JSON.stringify([client.namespace, client.service, Object.entries(client.labels).sort()])
}

/** Of the ServicePolicy of the server's own service; what it leaves out is the data plane's default. */
function loadShedding(index: MeshIndex, client: ClientView): Pick<InboundPolicyInit, 'loadShedding'> {
  const shed = index.servicePolicy(ownHost(index, client))?.spec.loadShedding
  if (shed === undefined) return {}
  const { enabled, initialLimit, minLimit, maxLimit, lagMs, emergencyLagMs } = shed
  return {
    loadShedding: {
      ...{ disabled: !enabled, initialLimit, minLimit, maxLimit },
      ...(lagMs === undefined ? {} : { lag: duration(lagMs) }),
      ...(emergencyLagMs === undefined ? {} : { emergencyLag: duration(emergencyLagMs) }),
    },
  }
}

function ownHost(index: MeshIndex, client: ClientView): string {
  return serviceHost(client.service, client.namespace, index.settings.domain)
}

/**
 * Limits of a server's port. The first that speaks is taken whole, nothing is merged: the port in the Sidecar, the
 * Sidecar, the DestinationRule of the server's own host.
 */
function inboundPool(index: MeshIndex, port: number, client: ClientView) {
  const { spec } = index.egress.of(client)
  const own = spec?.ingress.find((entry) => entry.port.number === port)?.connectionPool ?? spec?.inboundConnectionPool
  if (own !== undefined || client.service === '') return own
  const host = ownHost(index, client)
  return effectivePolicy(mergedRule(index, host, { namespace: client.namespace, labels: {} }), '', port).blocks
    .connectionPool
}
