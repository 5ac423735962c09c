import type { DataSource } from '../../gen/envoy/config/core/v3/base_pb.js'
import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
  type TlsCertificate,
  TlsCertificateSchema,
  CertificateValidationContext_TrustChainVerification as Verification,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  type CommonTlsContext,
  CommonTlsContextSchema,
  type UpstreamTlsContext,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { ClusterSpec, ExternalTlsSpec, PemSource } from '../../model/cluster.ts'
import { snake } from './config-source.ts'
import { type Field, names } from './field.ts'
import { stringMatch } from './matchers.ts'

/**
 * The validation context of TLS to a service outside of the mesh: one that brings its own roots, or those of the system;
 * undefined = it is about the mesh (roots by SDS or a certificate provider).
 */
export function externalValidation(context: CommonTlsContext | undefined): CertificateValidationContext | undefined {
  const source = context?.validationContextType
  const found =
    source?.case === 'validationContext'
      ? source.value
      : source?.case === 'combinedValidationContext' && source.value.validationContextSdsSecretConfig === undefined
        ? source.value.defaultValidationContext
        : undefined
  if (found === undefined || found.caCertificateProviderInstance !== undefined) return undefined
  const isExternal =
    found.trustedCa !== undefined ||
    found.systemRootCerts !== undefined ||
    found.trustChainVerification === Verification.ACCEPT_UNTRUSTED
  return isExternal ? found : undefined
}

const contextFields = names(`tls_certificates validation_context combined_validation_context alpn_protocols tls_params`)
const validationFields = names(`trusted_ca system_root_certs match_subject_alt_names match_typed_subject_alt_names
  trust_chain_verification`)
/** Leaving one of these out would believe servers that must not be believed. */
const refused = names(`verify_certificate_spki verify_certificate_hash crl require_signed_certificate_timestamp
  allow_expired_certificate custom_validator_config only_verify_leaf_cert_crl max_verify_depth`)

/** TLS origination as Envoy says it: roots, names and an own certificate inline or in files of this machine. */
export function externalTls(
  field: Field,
  upstream: UpstreamTlsContext,
  validation: CertificateValidationContext,
  protocol: ClusterSpec['protocol'],
): ExternalTlsSpec {
  const context = upstream.commonTlsContext!
  const at = field.at('common_tls_context')
  at.onlyReads(CommonTlsContextSchema, context, contextFields)
  const validationAt = at.at(snake(context.validationContextType.case!))
  for (const descriptor of CertificateValidationContextSchema.fields) {
    if (!refused.has(descriptor.name)) continue
    const value = validation[descriptor.localName as keyof CertificateValidationContext]
    const isSet = Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false
    if (isSet) validationAt.at(descriptor.name).fail('not supported')
  }
  validationAt.onlyReads(CertificateValidationContextSchema, validation, new Set([...validationFields, ...refused]))
  const insecureSkipVerify = validation.trustChainVerification === Verification.ACCEPT_UNTRUSTED
  const typed = validationAt.at('match_typed_subject_alt_names')
  return {
    sni: upstream.sni,
    ca: validation.trustedCa === undefined ? null : pemSource(validationAt.at('trusted_ca'), validation.trustedCa),
    subjectAltNames: [
      ...validationAt.at('match_subject_alt_names').map(validation.matchSubjectAltNames, (m, i) => stringMatch(i, m)),
      ...typed.map(validation.matchTypedSubjectAltNames, (san, i) => stringMatch(i.at('matcher'), san.matcher)),
    ],
    insecureSkipVerify,
    client: clientCertificate(at.at('tls_certificates'), context.tlsCertificates),
    alpn:
      context.alpnProtocols.length > 0 ? context.alpnProtocols : protocol === 'h2' ? ['h2', 'http/1.1'] : ['http/1.1'],
  }
}

function clientCertificate(field: Field, certificates: readonly TlsCertificate[]): ExternalTlsSpec['client'] {
  const [first] = certificates
  if (first === undefined) return null
  if (certificates.length > 1) field.fail('more than one certificate is not supported')
  const at = field.index(0)
  at.onlyReads(TlsCertificateSchema, first, names('certificate_chain private_key watched_directory'))
  return {
    certificate: pemSource(at.at('certificate_chain'), first.certificateChain),
    key: pemSource(at.at('private_key'), first.privateKey),
  }
}

function pemSource(field: Field, source: DataSource | undefined): PemSource {
  const specifier = source?.specifier
  switch (specifier?.case) {
    case 'inlineString':
      return { kind: 'inline', pem: specifier.value }
    case 'inlineBytes':
      return { kind: 'inline', pem: Buffer.from(specifier.value).toString('utf8') }
    case 'filename':
      return { kind: 'file', path: specifier.value }
    case undefined:
      return field.fail('is missing')
    case 'environmentVariable':
      return field.at(snake(specifier.case)).fail('not supported, expected inline_string, inline_bytes or filename')
  }
}
