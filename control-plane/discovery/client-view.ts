import type { Node } from '../../src/gen/envoy/config/core/v3/base_pb.js'
import type { Peer } from '../../src/model/peer.ts'
import type { ClientClass, ClientView } from '../translate/types.ts'

/** Who a connection belongs to: what its certificate says. */
export interface ConnectionIdentity {
  readonly peer: Peer
  /** Common name of the certificate, the service it was issued for; '' = it has none (certificates of other authorities). */
  readonly service: string
}

/** The client, or why its node contradicts its certificate. */
export type ClientViewResult = { readonly view: ClientView } | { readonly refused: string }

/** A claim about a workload, as the Node message makes it. */
interface Claims {
  namespace: string
  serviceAccount: string
  service: string
  labels: Record<string, string>
}

const MAX_LABELS = 64

/**
 * Who a client is. With a certificate (`identity`) the certificate decides, and whatever node id and metadata say about
 * namespace, service account or service must agree with it. Without one (`null`, the plaintext development port) the
 * node is believed: metadata first, then an id of istiod's shape `TYPE~IP~NAME.NAMESPACE~NAMESPACE.svc.DOMAIN`.
 */
export function clientView(node: Node, identity: ConnectionIdentity | null): ClientViewResult {
  const metadata = record(node.metadata)
  const fromId = namespacesOfId(node.id)
  const claims: Claims = {
    namespace: text(metadata.NAMESPACE),
    serviceAccount: text(metadata.SERVICE_ACCOUNT),
    service: text(metadata.SERVICE),
    labels: stringRecord(metadata.LABELS),
  }
  if (identity !== null) {
    const { peer, service } = identity
    const contradiction =
      disagree('node metadata NAMESPACE', [claims.namespace], peer.namespace) ??
      disagree('node id', fromId, peer.namespace) ??
      disagree('node metadata SERVICE_ACCOUNT', [claims.serviceAccount], peer.serviceAccount) ??
      disagree('node metadata SERVICE', [claims.service], service === '' ? claims.service : service) ??
      (node.id.startsWith('spiffe://') ? disagree('node id', [node.id], peer.spiffeId) : undefined)
    if (contradiction !== undefined) return { refused: `${contradiction} of ${peer.spiffeId}` }
  }
  const namespace = identity?.peer.namespace ?? (claims.namespace || fromId[0] || 'default')
  const service = identity?.service || claims.service || claims.labels.app || ''
  const { region = '', zone = '', subZone = '' } = node.locality ?? {}
  return {
    view: {
      clientClass: clientClass(node.userAgentName, metadata),
      namespace,
      serviceAccount: identity?.peer.serviceAccount ?? (claims.serviceAccount || service || 'default'),
      service,
      // Labels choose which configuration is about a workload; the service is not the workload's to choose.
      labels: service === '' ? claims.labels : { ...claims.labels, app: service },
      locality: [region, zone, subZone].join('/').replace(/\/+$/, ''),
    },
  }
}

/** From what the client says of itself, never from the names that it asks for. */
function clientClass(userAgent: string, metadata: Record<string, unknown>): ClientClass {
  const name = userAgent.toLowerCase()
  if (name === 'inmesh') return 'inmesh'
  // "gRPC Node Pure JS" of grpc-js-xds.
  if (name.includes('node') && name.includes('grpc')) return 'grpc-js'
  if (userAgent === '' && metadata.GENERATOR === 'inmesh') return 'inmesh'
  return 'grpc'
}

/** Namespaces that an id of istiod's shape names (proxy.ServiceNode); none for ids of another shape. */
function namespacesOfId(id: string): string[] {
  const parts = id.split('~')
  if (parts.length !== 4) return []
  const name = parts[2]!
  const dot = name.lastIndexOf('.')
  const domain = /^([^.]+)\.svc\./.exec(parts[3]!)?.[1]
  return [dot < 0 ? '' : name.slice(dot + 1), domain ?? ''].filter((s) => s !== '')
}

function disagree(what: string, claimed: readonly string[], actual: string): string | undefined {
  const wrong = claimed.find((c) => c !== '' && c !== actual)
  return wrong === undefined ? undefined : `${what} says "${wrong.slice(0, 128)}", not "${actual}" as the certificate`
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

function stringRecord(value: unknown): Record<string, string> {
  const result: Record<string, string> = {}
  for (const [key, v] of Object.entries(record(value)).slice(0, MAX_LABELS)) {
    if (typeof v === 'string' && key !== '__proto__') result[key] = v
  }
  return result
}
