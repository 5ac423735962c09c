import type { MessageInitShape } from '@bufbuild/protobuf'
import type { ClusterSchema } from '../../src/gen/envoy/config/cluster/v3/cluster_pb.js'
import { type ClientTls, tlsMode } from '../resources/client-tls.ts'
import { isForeign } from './class.ts'
import type { EffectiveSettings } from './effective-settings.ts'
import { struct } from './encode.ts'
import { externalTls } from './external-tls.ts'
import { compareText } from './rule.ts'
import { plaintext, upstreamTls } from './tls.ts'
import type { ClientClass } from './types.ts'

/** How a cluster's endpoints are spoken to. */
export interface Transport {
  readonly fields: Pick<MessageInitShape<typeof ClusterSchema>, 'transportSocket' | 'transportSocketMatches'>
  /** Whether it is the mesh's own TLS, which needs the trust bundles. */
  readonly mesh: boolean
}

/**
 * No `tls` in the rules: mutual TLS to endpoints that speak it. gRPC cannot choose per endpoint, and not every client
 * has certificates, so it gets TLS only where a rule says ISTIO_MUTUAL, as from istiod.
 *
 * @param spiffeIds of the endpoints
 */
export function transport(
  settings: EffectiveSettings,
  host: string,
  tls: ClientTls | undefined,
  spiffeIds: readonly string[],
  clientClass: ClientClass,
): Transport {
  const auto = settings.autoMtls && !isForeign(clientClass)
  if (tls === undefined ? !auto : tlsMode(tls) === 'DISABLE') return { fields: {}, mesh: false }
  if (tls?.mode === 'SIMPLE' || tls?.mode === 'MUTUAL')
    return { fields: { transportSocket: externalTls(tls, host) }, mesh: false }
  const asked = tls?.subjectAltNames ?? []
  const ids = asked.length > 0 ? asked : spiffeIds
  const secure = upstreamTls(clientClass, [...new Set(ids)].filter((id) => id !== '').sort(compareText))
  if (tls?.mode === 'ISTIO_MUTUAL') return { fields: { transportSocket: secure }, mesh: true }
  return {
    fields: {
      transportSocketMatches: [
        { name: 'tlsMode-istio', match: struct({ tlsMode: 'istio' }), transportSocket: secure },
        { name: 'tlsMode-disabled', match: {}, transportSocket: plaintext() },
      ],
    },
    mesh: true,
  }
}
