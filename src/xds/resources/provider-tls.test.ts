import { create } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { anyOf, bytesOf, clusterInit, type Init } from '../../../test/support/xds-resources.ts'
import { ClusterSchema } from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import {
  CertificateValidationContextSchema,
  SubjectAltNameMatcher_SanType as SanType,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  CommonTlsContext_CombinedCertificateValidationContextSchema as CombinedSchema,
  CommonTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { CertificateFiles } from '../../model/certificate-files.ts'
import { clusterType } from './cluster.ts'
import type { Dialect } from './dialect.ts'
import { FieldError } from './field.ts'

const certificate = { chain: '/cert', key: '/key' }
const providers = new Map<string, CertificateFiles>([
  ['default', { certificate, roots: { kind: 'ca', path: '/ca' }, refreshMs: 1 }],
  ['roots', { certificate: null, roots: { kind: 'ca', path: '/other-ca' }, refreshMs: 1 }],
  ['map', { certificate: null, roots: { kind: 'spiffe', path: '/map' }, refreshMs: 1 }],
])
const dialect: Dialect = { providers, serverIdentity: 'default', serverRoots: 'default' }

type Common = Init<typeof CommonTlsContextSchema>
type Validation = Init<typeof CertificateValidationContextSchema>

const own = { tlsCertificateProviderInstance: { instanceName: 'default' } }
const by = (validation: Validation, more: Common = {}): Common => ({
  ...own,
  validationContextType: {
    case: 'validationContext',
    value: create(CertificateValidationContextSchema, validation),
  },
  ...more,
})
const roots = (instanceName = 'default') => ({ caCertificateProviderInstance: { instanceName } })

const tlsOf = (common: Common) => {
  const context = anyOf(UpstreamTlsContextSchema, {
    commonTlsContext: create(CommonTlsContextSchema, common),
    sni: 'sni',
  })
  const transportSocket = { name: 'tls', configType: { case: 'typedConfig', value: context } } as const
  return clusterType.decode(bytesOf(ClusterSchema, { ...clusterInit('c'), transportSocket }), dialect).value.spec.tls
}
const refusal = (common: Common): string => {
  try {
    return JSON.stringify(tlsOf(common))
  } catch (error) {
    if (error instanceof FieldError) return error.message
    throw error
  }
}

describe('TLS by certificate providers (A29)', () => {
  it('shows the certificate of one instance and believes the roots of another', () => {
    const matchSubjectAltNames = [
      { matchPattern: { case: 'exact' as const, value: 'spiffe://a/b' } },
      { matchPattern: { case: 'suffix' as const, value: '.example' }, ignoreCase: true },
    ]
    expect(tlsOf(by({ ...roots('roots'), matchSubjectAltNames }))).toEqual({
      mode: 'external',
      allowedIds: [],
      external: {
        sni: 'sni',
        ca: { kind: 'file', path: '/other-ca' },
        subjectAltNames: [
          { kind: 'exact', value: 'spiffe://a/b', ignoreCase: false },
          { kind: 'suffix', value: '.example', ignoreCase: true },
        ],
        anyName: false,
        insecureSkipVerify: false,
        client: { certificate: { kind: 'file', path: '/cert' }, key: { kind: 'file', path: '/key' } },
        alpn: [],
      },
    })
  })

  it('without names takes whoever the roots signed, but not with the roots of the system (A82)', () => {
    expect(tlsOf(by(roots())).external).toMatchObject({ anyName: true, ca: { path: '/ca' } })
    expect(tlsOf(by({ systemRootCerts: {} })).external).toMatchObject({ anyName: false, ca: null })
  })

  it('shows nothing when no instance is named', () => {
    const { validationContextType } = by(roots())
    expect(tlsOf({ validationContextType } as Common).external?.client).toBeNull()
  })

  it('understands both generations of the fields, as istiod sends them', () => {
    const combined = create(CombinedSchema, {
      defaultValidationContext: {
        caCertificateProviderInstance: { instanceName: 'default', certificateName: 'ROOTCA' },
        matchSubjectAltNames: [{ matchPattern: { case: 'exact', value: 'spiffe://cluster.local/ns/demo/sa/echo' } }],
      },
      validationContextCertificateProviderInstance: { instanceName: 'default', certificateName: 'ROOTCA' },
    })
    const both: Common = {
      ...own,
      tlsCertificateCertificateProviderInstance: { instanceName: 'default', certificateName: 'default' },
      validationContextType: { case: 'combinedValidationContext', value: combined },
    }
    expect(tlsOf(both).external).toMatchObject({
      ca: { path: '/ca' },
      subjectAltNames: [{ value: 'spiffe://cluster.local/ns/demo/sa/echo' }],
      client: { certificate: { path: '/cert' } },
    })
    const old: Common = {
      tlsCertificateCertificateProviderInstance: { instanceName: 'default' },
      validationContextType: {
        case: 'validationContextCertificateProviderInstance',
        value: { instanceName: 'roots' } as never,
      },
    }
    expect(tlsOf(old).external).toMatchObject({ ca: { path: '/other-ca' }, client: { key: { path: '/key' } } })
  })

  it('by a map of SPIFFE bundles goes by the identity of the process (A87)', () => {
    const matchSubjectAltNames = [{ matchPattern: { case: 'exact' as const, value: 'spiffe://a/b' } }]
    expect(tlsOf(by({ ...roots('map'), matchSubjectAltNames }))).toEqual({ mode: 'mtls', allowedIds: ['spiffe://a/b'] })
  })

  it.each<[string, Common, string]>([
    ['no roots', own, 'names no roots'],
    [
      'an unknown instance for roots',
      by(roots('nowhere')),
      '"nowhere" is not in certificate_providers of the bootstrap',
    ],
    [
      'an unknown instance for the certificate',
      by(roots(), { tlsCertificateProviderInstance: { instanceName: 'nowhere' } } as Common),
      'tls_certificate_provider_instance.instance_name: "nowhere"',
    ],
    [
      'an instance without certificate',
      by(roots(), { tlsCertificateProviderInstance: { instanceName: 'roots' } } as Common),
      '"roots" has no certificate_file',
    ],
    [
      'inline roots',
      by({ ...roots(), trustedCa: { specifier: { case: 'inlineString', value: 'x' } } }),
      'trusted_ca: not supported',
    ],
    ['pinned keys', by({ ...roots(), verifyCertificateSpki: ['x'] }), 'verify_certificate_spki: not supported'],
    ['pinned certificates', by({ ...roots(), verifyCertificateHash: ['x'] }), 'verify_certificate_hash: not supported'],
    [
      'revocation lists',
      by({ ...roots(), crl: { specifier: { case: 'inlineString', value: 'x' } } }),
      'crl: not supported',
    ],
    [
      'typed names',
      by({ ...roots(), matchTypedSubjectAltNames: [{ sanType: SanType.DNS }] }),
      'match_typed_subject_alt_names: not supported',
    ],
    ['inline certificates', by(roots(), { tlsCertificates: [{}] } as Common), 'tls_certificates: not supported'],
    [
      'certificates by SDS',
      by(roots(), { tlsCertificateSdsSecretConfigs: [{ name: 'x' }] } as Common),
      'tls_certificate_sds_secret_configs: not supported',
    ],
    ['parameters of TLS', by(roots(), { tlsParams: {} } as Common), 'tls_params: not supported'],
    ['a handshaker', by(roots(), { customHandshaker: { name: 'x' } } as Common), 'custom_handshaker: not supported'],
    [
      'roots by SDS',
      {
        ...own,
        validationContextType: { case: 'validationContextSdsSecretConfig', value: { name: 'ROOTCA' } as never },
      },
      'validation_context_sds_secret_config: not supported',
    ],
  ])('refuses %s', (_what, common, reason) => {
    expect(refusal(common)).toContain(reason)
  })
})
