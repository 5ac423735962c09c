import { describe, expect, it } from 'vitest'
import { createTestCa } from '../../../test/support/test-ca.ts'
import { anyOf, bytesOf, type Init } from '../../../test/support/xds-resources.ts'
import type { DataSourceSchema } from '../../gen/envoy/config/core/v3/base_pb.js'
import { SecretSchema } from '../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { SPIFFECertValidatorConfigSchema } from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.js'
import { secretType } from './secret.ts'

type Source = Init<typeof DataSourceSchema>

const first = createTestCa('cluster.local')
const second = createTestCa('partner.example')

const decode = (init: Init<typeof SecretSchema>) => secretType.decode(bytesOf(SecretSchema, init)).value
const bundles = (trustDomains: Record<string, Source | undefined>) => {
  const domains = Object.entries(trustDomains).map(([name, trustBundle]) => ({ name, trustBundle }))
  return secretOf(domains)
}
const secretOf = (trustDomains: { name: string; trustBundle?: Source }[]): Init<typeof SecretSchema> => ({
  name: 'ROOTCA',
  type: {
    case: 'validationContext',
    value: {
      customValidatorConfig: {
        name: 'envoy.tls.cert_validator.spiffe',
        typedConfig: anyOf(SPIFFECertValidatorConfigSchema, { trustDomains }),
      },
    },
  },
})
const text = (value: string): Source => ({ specifier: { case: 'inlineString', value } })
const bytes = (value: Uint8Array): Source => ({ specifier: { case: 'inlineBytes', value } })
const refusal = (init: Init<typeof SecretSchema>) => {
  try {
    decode(init)
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

describe('trust bundles', () => {
  it('are kept by trust domain, from PEM with several certificates or from DER', () => {
    const value = decode(
      bundles({
        'cluster.local': text(`${first.rootPem}\n${second.rootPem}`),
        'partner.example': bytes(second.rootDer),
      }),
    )
    expect([...value.keys()]).toEqual(['cluster.local', 'partner.example'])
    expect(value.get('cluster.local')?.map((der) => Buffer.from(der))).toEqual([
      Buffer.from(first.rootDer),
      Buffer.from(second.rootDer),
    ])
    expect(value.get('partner.example')).toHaveLength(1)
  })

  it.each<[string, Init<typeof SecretSchema>]>([
    ['holds nothing, expected validation_context', { name: 'ROOTCA' }],
    [
      'holds tls_certificate, expected validation_context',
      { name: 'default', type: { case: 'tlsCertificate', value: {} } },
    ],
    ['custom_validator_config: is missing', { name: 'ROOTCA', type: { case: 'validationContext', value: {} } }],
    ['trust_domains: must not be empty', bundles({})],
    ['trust_domains[0].name: is missing', bundles({ '': text(first.rootPem) })],
    [
      'trust_domains[1].name: trust domain "a" appears twice',
      secretOf([{ name: 'a', trustBundle: text(first.rootPem) }, { name: 'a' }]),
    ],
    ['trust_bundle: is missing', bundles({ a: undefined })],
    ['trust_bundle.filename: not supported', bundles({ a: { specifier: { case: 'filename', value: '/etc/ssl' } } })],
    ['trust_bundle: holds no certificate', bundles({ a: text('nothing') })],
    ['holds a certificate that cannot be read', bundles({ a: bytes(first.rootDer.subarray(0, 50)) })],
  ])('are refused with "%s"', (message, init) => {
    expect(refusal(init)).toContain(message)
  })
})
