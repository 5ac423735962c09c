import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
  SubjectAltNameMatcher_SanType as SanType,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import type { SdsSecretConfig } from '../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import {
  type CommonTlsContext,
  CommonTlsContextSchema,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { StringMatcher } from '../../gen/envoy/type/matcher/v3/string_pb.js'
import { TRUST_BUNDLE_SECRET } from '../proto.ts'
import { snake } from './config-source.ts'
import { type Field, names } from './field.ts'

// Key and certificate are this workload's own, whatever names them; TLS is 1.3 and ALPN ours in any case.
const contextFields = names(`tls_certificate_sds_secret_configs tls_certificate_provider_instance
  tls_certificate_certificate_provider_instance tls_certificate_certificate_provider validation_context
  validation_context_sds_secret_config combined_validation_context validation_context_certificate_provider
  validation_context_certificate_provider_instance alpn_protocols tls_params`)
const refused = names(`trusted_ca system_root_certs verify_certificate_spki verify_certificate_hash crl
  require_signed_certificate_timestamp allow_expired_certificate custom_validator_config only_verify_leaf_cert_crl`)
const accepted = names('ca_certificate_provider_instance match_subject_alt_names match_typed_subject_alt_names')

/**
 * What a CommonTlsContext says about the peer. Identities and roots are the mesh's in any case, so it must name them:
 * by SDS (`ROOTCA`), or as a certificate provider instance in the old fields or the new (gRFC A29, istiod sends both).
 *
 * @returns the SPIFFE ids of which the peer must show one; empty = any of a known trust domain
 */
export function peerIds(field: Field, context: CommonTlsContext | undefined): readonly string[] {
  const at = field.at('common_tls_context')
  if (context === undefined) return at.fail('is missing')
  at.onlyReads(CommonTlsContextSchema, context, contextFields)
  if (context.tlsCertificates.length > 0) at.at('tls_certificates').fail('not supported: workloads bring their own')
  if (context.customHandshaker !== undefined) at.at('custom_handshaker').fail('not supported')
  const source = context.validationContextType
  const here = source.case === undefined ? at : at.at(snake(source.case))
  switch (source.case) {
    case 'validationContextSdsSecretConfig':
      roots(here, source.value)
      return []
    case 'validationContextCertificateProvider':
    case 'validationContextCertificateProviderInstance':
      return []
    case 'validationContext':
      if (source.value.caCertificateProviderInstance === undefined)
        here.at('ca_certificate_provider_instance').fail('is missing')
      return idsOf(here, source.value)
    case 'combinedValidationContext': {
      const combined = source.value
      if (combined.validationContextSdsSecretConfig !== undefined)
        roots(here.at('validation_context_sds_secret_config'), combined.validationContextSdsSecretConfig)
      else if (
        combined.validationContextCertificateProvider === undefined &&
        combined.validationContextCertificateProviderInstance === undefined &&
        combined.defaultValidationContext?.caCertificateProviderInstance === undefined
      )
        here.fail('names no trusted roots')
      return combined.defaultValidationContext === undefined
        ? []
        : idsOf(here.at('default_validation_context'), combined.defaultValidationContext)
    }
    default:
      return at.fail('names no trusted roots (validation_context_type is missing)')
  }
}

function roots(field: Field, secret: SdsSecretConfig): void {
  if (secret.name !== TRUST_BUNDLE_SECRET)
    field.at('name').fail(`is "${secret.name}", expected "${TRUST_BUNDLE_SECRET}"`)
}

function idsOf(field: Field, context: CertificateValidationContext): string[] {
  for (const descriptor of CertificateValidationContextSchema.fields) {
    if (!refused.has(descriptor.name)) continue
    const value = context[descriptor.localName as keyof CertificateValidationContext]
    const isSet = Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false
    if (isSet) field.at(descriptor.name).fail('not supported')
  }
  field.onlyReads(CertificateValidationContextSchema, context, accepted)
  const plain = field.at('match_subject_alt_names').map(context.matchSubjectAltNames, exactId)
  const typed = field.at('match_typed_subject_alt_names').map(context.matchTypedSubjectAltNames, (san, at) => {
    if (san.sanType !== SanType.URI) at.at('san_type').fail('must be URI: peers are known by SPIFFE id')
    return san.matcher === undefined ? at.at('matcher').fail('is missing') : exactId(san.matcher, at.at('matcher'))
  })
  return [...new Set([...plain, ...typed])]
}

export function exactId(matcher: StringMatcher, field: Field): string {
  const pattern = matcher.matchPattern
  if (pattern.case !== 'exact')
    return field.fail(
      `${pattern.case === undefined ? 'no pattern' : snake(pattern.case)} is not supported, expected exact`,
    )
  if (matcher.ignoreCase) field.at('ignore_case').fail('not supported')
  if (!pattern.value.startsWith('spiffe://')) field.at('exact').fail(`"${pattern.value}" is not a SPIFFE id`)
  return pattern.value
}
