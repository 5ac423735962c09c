/** Type URLs of the xDS resources that inmesh speaks, and the names of its own metadata. */
export const TypeUrl = {
  listener: 'type.googleapis.com/envoy.config.listener.v3.Listener',
  route: 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
  cluster: 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  endpoints: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  secret: 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
} as const
export type TypeUrl = (typeof TypeUrl)[keyof typeof TypeUrl]

/** Keys of `metadata.typed_filter_metadata` under which the messages of proto/inmesh/v1/extensions.proto ride. */
export const MetadataKey = {
  cluster: 'inmesh.cluster',
  route: 'inmesh.route',
  endpoint: 'inmesh.endpoint',
  inbound: 'inmesh.inbound',
} as const

/** SDS name of the trust bundles: a validation context whose custom validator is Envoy's SPIFFECertValidatorConfig. */
export const TRUST_BUNDLE_SECRET = 'ROOTCA'
/** SDS name under which foreign clients know their own certificate (istiod's name); ours get theirs by CSR. */
export const OWN_CERTIFICATE_SECRET = 'default'

/** Istio's endpoint metadata: filter_metadata["envoy.transport_socket_match"].tlsMode = "istio" means mTLS. */
export const TRANSPORT_SOCKET_MATCH = 'envoy.transport_socket_match'

/** Name of the cluster that stands for "dial what the caller named" (Istio). */
export const PASSTHROUGH_CLUSTER = 'PassthroughCluster'
export const BLACKHOLE_CLUSTER = 'BlackHoleCluster'

/** istiod's cluster and route name: `outbound|PORT|SUBSET|FQDN`. */
export function clusterName(port: number, subset: string, fqdn: string): string {
  return `outbound|${port}|${subset}|${fqdn}`
}

export function inboundListenerName(address: string, port: number): string {
  return `inmesh/inbound/${address.includes(':') ? `[${address}]` : address}:${port}`
}
