import type { MessageInitShape } from '@bufbuild/protobuf'
import type { TransportSocketSchema } from '../../src/gen/envoy/config/core/v3/base_pb.js'
import { ApiVersion } from '../../src/gen/envoy/config/core/v3/config_source_pb.js'
import { RawBufferSchema } from '../../src/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import { SubjectAltNameMatcher_SanType } from '../../src/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  type CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../src/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { TRUST_BUNDLE_SECRET } from '../../src/xds/proto.ts'
import { isForeign } from './class.ts'
import { pack } from './encode.ts'
import type { ClientClass } from './types.ts'

type Context = MessageInitShape<typeof CommonTlsContextSchema>
type Socket = MessageInitShape<typeof TransportSocketSchema>

/** "Over this very stream." */
export const ads = {
  configSourceSpecifier: { case: 'ads' as const, value: {} },
  resourceApiVersion: ApiVersion.V3,
}

/** Mutual TLS to servers that show one of `spiffeIds`; none = any id of a known trust domain. */
export function upstreamTls(clientClass: ClientClass, spiffeIds: readonly string[]): Socket {
  const commonTlsContext = isForeign(clientClass) ? providerContext(spiffeIds) : sdsContext(spiffeIds)
  return socket('envoy.transport_sockets.tls', pack(UpstreamTlsContextSchema, { commonTlsContext }))
}

/** Mutual TLS from clients; who they may be is for RBAC to say. */
export function downstreamTls(clientClass: ClientClass): Socket {
  const commonTlsContext = isForeign(clientClass) ? providerContext([]) : sdsContext([])
  const context = { commonTlsContext, requireClientCertificate: true }
  return socket('envoy.transport_sockets.tls', pack(DownstreamTlsContextSchema, context))
}

export function plaintext(): Socket {
  return socket('envoy.transport_sockets.raw_buffer', pack(RawBufferSchema, {}))
}

function socket(name: string, config: ReturnType<typeof pack>): Socket {
  return { name, configType: { case: 'typedConfig', value: config } }
}

/** Our data plane has its certificate by CSR and takes the trust bundles from this stream. */
function sdsContext(spiffeIds: readonly string[]): Context {
  return {
    validationContextType: {
      case: 'combinedValidationContext',
      value: {
        defaultValidationContext: {
          matchTypedSubjectAltNames: spiffeIds.map((id) => ({
            sanType: SubjectAltNameMatcher_SanType.URI,
            matcher: { matchPattern: { case: 'exact', value: id } },
          })),
        },
        validationContextSdsSecretConfig: { name: TRUST_BUNDLE_SECRET, sdsConfig: ads },
      },
    },
  }
}

/**
 * gRPC takes certificate and roots from plugins of its bootstrap only (gRFC A29): instance "default", in the old fields
 * and the new, as istiod sends them.
 */
function providerContext(spiffeIds: readonly string[]): Context {
  const own = { instanceName: 'default', certificateName: 'default' }
  const roots = { instanceName: 'default', certificateName: TRUST_BUNDLE_SECRET }
  return {
    tlsCertificateProviderInstance: own,
    tlsCertificateCertificateProviderInstance: own,
    validationContextType: {
      case: 'combinedValidationContext',
      value: {
        defaultValidationContext: {
          caCertificateProviderInstance: roots,
          matchSubjectAltNames: spiffeIds.map((id) => ({ matchPattern: { case: 'exact', value: id } })),
        },
        validationContextCertificateProviderInstance: roots,
      },
    },
  }
}
