import { isIP } from 'node:net'
import type { MessageInitShape } from '@bufbuild/protobuf'
import type { TransportSocketSchema } from '../../src/gen/envoy/config/core/v3/base_pb.js'
import {
  SubjectAltNameMatcher_SanType as SanType,
  CertificateValidationContext_TrustChainVerification as Verification,
} from '../../src/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import { UpstreamTlsContextSchema } from '../../src/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { type ClientTls, isPem } from '../resources/client-tls.ts'
import { pack } from './encode.ts'

/**
 * TLS to a service outside of the mesh, in Envoy's words: Istio's SIMPLE and MUTUAL. Without `sni` it is the host; without
 * `subjectAltNames` the certificate must name that.
 *
 * @param host the service's name; a wildcard says nothing, then the name of each endpoint counts
 */
export function externalTls(tls: ClientTls, host: string): MessageInitShape<typeof TransportSocketSchema> {
  const named = host.includes('*') || isIP(host) !== 0 ? '' : host
  const sni = tls.sni ?? named
  const context = pack(UpstreamTlsContextSchema, {
    sni,
    commonTlsContext: {
      tlsCertificates:
        tls.mode === 'MUTUAL'
          ? [{ certificateChain: source(tls.clientCertificate!), privateKey: source(tls.privateKey!) }]
          : [],
      validationContextType: {
        case: 'validationContext',
        value: {
          ...(tls.insecureSkipVerify
            ? { trustChainVerification: Verification.ACCEPT_UNTRUSTED }
            : tls.caCertificates === undefined
              ? { systemRootCerts: {} }
              : { trustedCa: source(tls.caCertificates) }),
          matchTypedSubjectAltNames: sansOf(tls, sni).map((value) => ({
            sanType: sanType(value),
            matcher: { matchPattern: { case: 'exact' as const, value } },
          })),
        },
      },
    },
  })
  return { name: 'envoy.transport_sockets.tls', configType: { case: 'typedConfig', value: context } }
}

function sansOf(tls: ClientTls, sni: string): readonly string[] {
  if (tls.insecureSkipVerify) return []
  if (tls.subjectAltNames.length > 0) return tls.subjectAltNames
  return sni === '' ? [] : [sni]
}

function sanType(name: string): SanType {
  if (isIP(name) !== 0) return SanType.IP_ADDRESS
  return name.includes('://') ? SanType.URI : SanType.DNS
}

/** A path is read by the caller's process, as Envoy does. */
function source(text: string) {
  const specifier = { case: isPem(text) ? ('inlineString' as const) : ('filename' as const), value: text }
  return { specifier }
}
