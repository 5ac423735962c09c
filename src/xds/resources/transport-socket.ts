import type {
  Cluster,
  Cluster_TransportSocketMatch as SocketMatch,
} from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import type { TransportSocket } from '../../gen/envoy/config/core/v3/base_pb.js'
import { RawBufferSchema } from '../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import { UpstreamTlsContextSchema } from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { ClusterSpec, ClusterTls, ExternalTlsSpec } from '../../model/cluster.ts'
import { holds, typeNameOf, unpack } from './any.ts'
import { externalTls, externalValidation } from './external-tls.ts'
import type { Field } from './field.ts'
import { providerClusterTls } from './provider-tls.ts'
import { peerIds } from './tls.ts'

type Socket =
  | { readonly kind: 'plaintext' }
  /** The mesh's mutual TLS. */
  | { readonly kind: 'mesh'; readonly ids: readonly string[] }
  | { readonly kind: 'external'; readonly tls: ExternalTlsSpec }

const plaintext: Socket = { kind: 'plaintext' }

/**
 * How the endpoints of a cluster are spoken to. Envoy takes, for each endpoint, the first match whose labels the
 * endpoint has, else `transport_socket`; endpoints differ here only by Istio's `tlsMode: istio`, so both kinds are
 * looked up at once and the answer is one mode.
 */
export function clusterTls(field: Field, cluster: Cluster, protocol: ClusterSpec['protocol']): ClusterTls {
  const rest = upstream(field.at('transport_socket'), cluster.transportSocket, protocol)
  const matchesAt = field.at('transport_socket_matches')
  const matches = cluster.transportSocketMatches.map((match, i) => {
    const at = matchesAt.index(i)
    return {
      onlyIstio: onlyIstio(at.at('match'), match),
      socket: upstream(at.at('transport_socket'), match.transportSocket, protocol),
    }
  })
  const meshed = (matches[0] ?? { socket: rest }).socket
  const others = (matches.find((m) => !m.onlyIstio) ?? { socket: rest }).socket
  if (meshed === others && meshed.kind === 'external') return { mode: 'external', allowedIds: [], external: meshed.tls }
  if (meshed.kind === 'external' || others.kind === 'external')
    return matchesAt.fail('TLS to services outside of the mesh is supported for all endpoints alike only')
  if (meshed.kind === 'plaintext')
    return others.kind === 'plaintext'
      ? { mode: 'plaintext', allowedIds: [] }
      : matchesAt.fail('plaintext to meshed endpoints beside TLS to others is not supported')
  if (others.kind === 'plaintext') return { mode: 'auto', allowedIds: meshed.ids }
  if (!sameIds(meshed.ids, others.ids)) matchesAt.fail('differing identities are not supported')
  return { mode: 'mtls', allowedIds: meshed.ids }
}

/** True: for endpoints with `tlsMode: istio`; false: for all. */
function onlyIstio(field: Field, { match }: SocketMatch): boolean {
  const labels = Object.entries(match ?? {})
  if (labels.length === 0) return false
  if (labels.length === 1 && labels[0]?.[0] === 'tlsMode' && labels[0][1] === 'istio') return true
  return field.fail(`${JSON.stringify(match)} is not supported, expected {"tlsMode":"istio"} or nothing`)
}

function upstream(field: Field, socket: TransportSocket | undefined, protocol: ClusterSpec['protocol']): Socket {
  if (socket === undefined) return plaintext
  const at = field.at('typed_config')
  if (socket.configType.case === undefined) {
    // Envoy's raw_buffer needs no configuration.
    return socket.name === 'envoy.transport_sockets.raw_buffer' || socket.name === 'raw_buffer'
      ? plaintext
      : at.fail('is missing')
  }
  const config = socket.configType.value
  if (holds(config, RawBufferSchema)) return plaintext
  if (!holds(config, UpstreamTlsContextSchema)) return at.fail(`${typeNameOf(config)} is not supported`)
  const context = unpack(at, config, UpstreamTlsContextSchema)
  if (field.dialect.providers !== null) {
    const { allowedIds, external } = providerClusterTls(at, context)
    return external === undefined ? { kind: 'mesh', ids: allowedIds } : { kind: 'external', tls: external }
  }
  const external = externalValidation(context.commonTlsContext)
  if (external !== undefined) return { kind: 'external', tls: externalTls(at, context, external, protocol) }
  return { kind: 'mesh', ids: peerIds(at, context.commonTlsContext) }
}

function sameIds(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((id) => b.includes(id))
}
