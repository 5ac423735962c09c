import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  type CommonTlsContext,
  CommonTlsContextSchema,
  type UpstreamTlsContext,
  UpstreamTlsContextSchema,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { CertificateFiles } from '../../model/certificate-files.ts'
import type { ClusterTls, PemSource } from '../../model/cluster.ts'
import { snake } from './config-source.ts'
import type { Dialect } from './dialect.ts'
import { type Field, names } from './field.ts'
import { stringMatch } from './matchers.ts'
import { exactId } from './tls.ts'

/** What a CommonTlsContext of a foreign control plane may say (gRFC A29): instances of the bootstrap, and names of the peer. */
export interface ProviderContext {
  /** Instance of the own certificate; null = none is shown. */
  readonly identity: string | null
  /** Instance of the roots; null = none are named, 'system' = those that Node trusts (A82). */
  readonly roots: { readonly instance: string } | 'system' | null
  readonly validation: CertificateValidationContext | null
  readonly validationAt: Field
}

const read = names(`tls_certificate_provider_instance tls_certificate_certificate_provider_instance validation_context
  combined_validation_context validation_context_certificate_provider_instance alpn_protocols`)
/** Values of these would be dropped by a client that goes by instances; the peer would be believed for other reasons than written. */
const refusedContext = names(`tls_params tls_certificates tls_certificate_sds_secret_configs custom_handshaker
  tls_certificate_certificate_provider validation_context_sds_secret_config validation_context_certificate_provider
  custom_tls_certificate_selector`)
const refusedValidation = names(`trusted_ca verify_certificate_spki verify_certificate_hash crl custom_validator_config
  require_signed_certificate_timestamp allow_expired_certificate only_verify_leaf_cert_crl max_verify_depth
  match_typed_subject_alt_names`)

/** Both generations of the fields are understood; the newer ones count. */
export function providerContext(field: Field, context: CommonTlsContext | undefined): ProviderContext {
  const at = field.at('common_tls_context')
  if (context === undefined) return at.fail('is missing')
  refuse(at, CommonTlsContextSchema, context, refusedContext)
  at.onlyReads(CommonTlsContextSchema, context, new Set([...read, ...refusedContext]))
  const identity = context.tlsCertificateProviderInstance ?? context.tlsCertificateCertificateProviderInstance
  const source = context.validationContextType
  const here = source.case === undefined ? at : at.at(snake(source.case))
  const combined = source.case === 'combinedValidationContext' ? source.value : undefined
  if (combined?.validationContextSdsSecretConfig !== undefined)
    here.at('validation_context_sds_secret_config').fail('not supported')
  const validation = source.case === 'validationContext' ? source.value : (combined?.defaultValidationContext ?? null)
  const validationAt = combined === undefined ? here : here.at('default_validation_context')
  if (validation !== null) refuse(validationAt, CertificateValidationContextSchema, validation, refusedValidation)
  const old =
    combined?.validationContextCertificateProviderInstance ??
    (source.case === 'validationContextCertificateProviderInstance' ? source.value : undefined)
  const instance = validation?.caCertificateProviderInstance ?? old
  const system = validation?.systemRootCerts !== undefined
  return {
    identity: identity === undefined ? null : known(at.at('tls_certificate_provider_instance'), identity.instanceName),
    roots:
      instance !== undefined
        ? { instance: known(validationAt.at('ca_certificate_provider_instance'), instance.instanceName) }
        : system
          ? 'system'
          : null,
    validation,
    validationAt,
  }
}

/** How a client speaks TLS to a cluster (A29): roots are needed; names of the peer replace the check of the host's name. */
export function providerClusterTls(field: Field, context: UpstreamTlsContext): ClusterTls {
  field.onlyReads(UpstreamTlsContextSchema, context, names('common_tls_context sni auto_host_sni allow_renegotiation'))
  const { identity, roots, validation, validationAt } = providerContext(field, context.commonTlsContext)
  if (roots === null) return field.at('common_tls_context').fail('names no roots (ca_certificate_provider_instance)')
  const at = validationAt.at('match_subject_alt_names')
  const wanted = validation?.matchSubjectAltNames ?? []
  const trusted = roots === 'system' ? null : filesOf(field.dialect, roots.instance).roots
  if (roots !== 'system' && trusted === null)
    validationAt.at('ca_certificate_provider_instance').fail(`"${roots.instance}" has no ca_certificate_file`)
  if (trusted?.kind === 'spiffe') {
    // By trust domain (A87), which is how this process judges its peers anyway.
    if (identity !== null) sameIdentity(field, identity)
    return { mode: 'mtls', allowedIds: at.map(wanted, exactId) }
  }
  const own = identity === null ? null : filesOf(field.dialect, identity).certificate
  if (identity !== null && own === null)
    field.at('common_tls_context.tls_certificate_provider_instance').fail(`"${identity}" has no certificate_file`)
  return {
    mode: 'external',
    allowedIds: [],
    external: {
      sni: context.sni,
      ca: trusted === null ? null : file(trusted.path),
      subjectAltNames: at.map(wanted, (matcher, i) => stringMatch(i, matcher)),
      // Without names any that the roots signed will do; with the system's roots that would be anybody (A82).
      anyName: wanted.length === 0 && trusted !== null,
      insecureSkipVerify: false,
      client: own === null ? null : { certificate: file(own.chain), key: file(own.key) },
      alpn: [],
    },
  }
}

/** What a server of this process must be told: its own identity, and the roots by which it judges its callers. */
export function checkServerContext(field: Field, context: CommonTlsContext | undefined): void {
  const { identity, roots, validation, validationAt } = providerContext(field, context)
  const at = field.at('common_tls_context')
  sameIdentity(field, identity ?? at.at('tls_certificate_provider_instance').fail('is missing'))
  const { instance } =
    roots === 'system'
      ? validationAt.at('system_root_certs').fail('not supported for servers')
      : (roots ?? at.fail('require_client_certificate needs roots (ca_certificate_provider_instance)'))
  if ((validation?.matchSubjectAltNames.length ?? 0) > 0)
    validationAt.at('match_subject_alt_names').fail('not supported for servers, use RBAC')
  const { serverRoots } = field.dialect
  if (instance !== serverRoots)
    validationAt
      .at('ca_certificate_provider_instance')
      .fail(`is "${instance}", but callers are judged by the roots of "${serverRoots ?? 'none'}"`)
}

function sameIdentity(field: Field, instance: string): void {
  const { serverIdentity } = field.dialect
  if (instance !== serverIdentity)
    field
      .at('common_tls_context.tls_certificate_provider_instance')
      .fail(`is "${instance}", but the identity of this process is of "${serverIdentity ?? 'none'}"`)
}

function known(field: Field, instance: string): string {
  if (instance === '') field.at('instance_name').fail('is missing')
  if (field.dialect.providers?.has(instance) !== true)
    field.at('instance_name').fail(`"${instance}" is not in certificate_providers of the bootstrap`)
  return instance
}

function filesOf(dialect: Dialect, instance: string): CertificateFiles {
  return dialect.providers!.get(instance)!
}

function file(path: string): PemSource {
  return { kind: 'file', path }
}

function refuse(
  field: Field,
  schema: { readonly fields: readonly { readonly name: string; readonly localName: string }[] },
  message: object,
  refused: ReadonlySet<string>,
): void {
  for (const { name, localName } of schema.fields) {
    if (!refused.has(name)) continue
    const given = (message as Readonly<Record<string, unknown>>)[localName]
    const oneof = (message as Readonly<Record<string, unknown>>).validationContextType as { case?: string } | undefined
    const isSet = Array.isArray(given)
      ? given.length > 0
      : (given !== undefined && given !== false) || oneof?.case === localName
    if (isSet) field.at(name).fail('not supported')
  }
}
