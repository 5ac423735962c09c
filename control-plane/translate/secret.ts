import { SecretSchema } from '../../src/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { SPIFFECertValidatorConfigSchema } from '../../src/gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.js'
import { TRUST_BUNDLE_SECRET, TypeUrl } from '../../src/xds/proto.ts'
import { type Built, encode, pack } from './encode.ts'
import type { MeshIndex } from './mesh-index.ts'
import { compareText } from './rule.ts'

/** SDS `ROOTCA`: the roots of each trust domain apart, so that no authority vouches for another's names. */
export function trustBundleSecret(index: MeshIndex): Built {
  const domains = [...index.trustBundles].sort(([a], [b]) => compareText(a, b))
  const config = pack(SPIFFECertValidatorConfigSchema, {
    trustDomains: domains.map(([name, roots]) => ({
      name,
      trustBundle: {
        specifier: { case: 'inlineString' as const, value: roots.map((pem) => `${pem.trim()}\n`).join('') },
      },
    })),
  })
  const resource = encode(TypeUrl.secret, TRUST_BUNDLE_SECRET, SecretSchema, {
    name: TRUST_BUNDLE_SECRET,
    type: {
      case: 'validationContext',
      value: { customValidatorConfig: { name: 'envoy.tls.cert_validator.spiffe', typedConfig: config } },
    },
  })
  return { resource, references: [] }
}
