import { X509Certificate } from 'node:crypto'
import type { DataSource } from '../../gen/envoy/config/core/v3/base_pb.js'
import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import { type Secret, SecretSchema } from '../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { SPIFFECertValidatorConfigSchema } from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.js'
import type { TrustBundles } from '../../model/snapshot.ts'
import { TypeUrl } from '../proto.ts'
import { unpack } from './any.ts'
import { snake } from './config-source.ts'
import { inlineBytes } from './data-source.ts'
import { type Field, names } from './field.ts'
import { resourceType } from './resource-type.ts'

/** SDS: trust bundles by trust domain. Keys never come this way: a workload makes its own and asks with a CSR. */
export const secretType = resourceType({
  typeUrl: TypeUrl.secret,
  label: 'Secret',
  fullState: false,
  schema: SecretSchema,
  nameOf: (m) => m.name,
  convert: trustBundles,
})

function trustBundles(message: Secret, field: Field): TrustBundles {
  if (message.type.case !== 'validationContext')
    return field.fail(
      `holds ${message.type.case === undefined ? 'nothing' : snake(message.type.case)}, expected validation_context`,
    )
  return fromContext(message.type.value, field.at('validation_context'))
}

function fromContext(context: CertificateValidationContext, field: Field): TrustBundles {
  field.onlyReads(CertificateValidationContextSchema, context, names('custom_validator_config'))
  const custom = field.at('custom_validator_config')
  if (context.customValidatorConfig === undefined)
    return custom.fail('is missing: roots must be given per trust domain (SPIFFECertValidatorConfig)')
  const config = unpack(
    custom.at('typed_config'),
    context.customValidatorConfig.typedConfig,
    SPIFFECertValidatorConfigSchema,
  )
  const bundles = new Map<string, readonly Uint8Array[]>()
  custom.at('trust_domains').map(config.trustDomains, (domain, at) => {
    if (domain.name === '') at.at('name').fail('is missing')
    if (!/^[a-z0-9._-]+$/.test(domain.name)) at.at('name').fail(`"${domain.name}" is not a trust domain`)
    if (bundles.has(domain.name)) at.at('name').fail(`trust domain "${domain.name}" appears twice`)
    bundles.set(domain.name, certificates(at.at('trust_bundle'), domain.trustBundle))
  })
  if (bundles.size === 0) custom.at('trust_domains').fail('must not be empty')
  return bundles
}

/** PEM with one or more certificates, or one certificate in DER. */
function certificates(field: Field, source: DataSource | undefined): Uint8Array[] {
  const bytes = inlineBytes(field, source)
  const found = bytes[0] === 0x30 ? [bytes] : pemBlocks(Buffer.from(bytes).toString('latin1'))
  if (found.length === 0) field.fail('holds no certificate')
  return found.map((der) => {
    try {
      return new Uint8Array(new X509Certificate(der).raw)
    } catch (error) {
      return field.fail(
        `holds a certificate that cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
  })
}

function pemBlocks(text: string): Uint8Array[] {
  const blocks = text.matchAll(/-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g)
  return Array.from(blocks, ([, body = '']) => Buffer.from(body, 'base64'))
}
