import type { ConnectionOptions } from 'node:tls'
import type { ClusterSpec, EndpointSpec } from '../model/cluster.ts'
import { externalTlsOptions } from './external-tls.ts'

/** TLS to an endpoint outside the mesh; undefined = none. */
export function externalOf(
  endpoint: EndpointSpec,
  cluster: ClusterSpec,
  protocols: readonly string[],
): ConnectionOptions | undefined {
  const { mode, external } = cluster.tls
  return mode === 'external' && external !== undefined ? externalTlsOptions(external, endpoint, protocols) : undefined
}

/** Is the endpoint dialled with mutual TLS? */
export function isSecure(endpoint: EndpointSpec, cluster: ClusterSpec): boolean {
  if (cluster.tls.mode === 'auto') return endpoint.tlsMode === 'mtls'
  return cluster.tls.mode === 'mtls'
}

/** Who may answer; undefined = any id of a known trust domain. */
export function allowedIds(endpoint: EndpointSpec, cluster: ClusterSpec): ReadonlySet<string> | undefined {
  if (endpoint.spiffeId !== null) return new Set([endpoint.spiffeId])
  return cluster.tls.allowedIds.length === 0 ? undefined : new Set(cluster.tls.allowedIds)
}
