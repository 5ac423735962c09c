import type { AuthorizationPolicySpec } from '../resources/authorization-policy.ts'
import type { FieldPath } from '../resources/document.ts'
import type { Analyzer } from './analyzer.ts'

const CODE = 'KIA0105'

const identity = /^(?:not)?(?:principals|namespaces|serviceAccounts|trustDomains)$/i
const identityKey = /^source\.(?:principal|namespace|serviceAccount|trustDomain)$/

/** Callers have an identity by mutual TLS only. */
export const identityWithoutMtls: Analyzer = {
  codes: { [CODE]: 'a policy asks for the identity of callers where servers take plaintext only' },
  checks: {
    AuthorizationPolicy({ spec, namespace, report }, world) {
      const labels = spec.selector?.matchLabels ?? {}
      const modes = world.tlsModes(world.selected(namespace, labels), namespace, labels)
      if (modes.size !== 1 || !modes.has('DISABLE')) return
      for (const path of identityFields(spec))
        report('warning', CODE, path, 'callers have no identity: PeerAuthentication makes these servers take plaintext')
    },
  },
}

function identityFields({ rules }: AuthorizationPolicySpec): FieldPath[] {
  return rules.flatMap((rule, r) => [
    ...(rule.from ?? []).flatMap(({ source }, f) =>
      Object.entries(source)
        .filter(([field, values]) => values !== undefined && identity.test(field))
        .map(([field]) => ['rules', r, 'from', f, 'source', field]),
    ),
    ...(rule.when ?? []).flatMap(({ key }, w) => (identityKey.test(key) ? [['rules', r, 'when', w, 'key']] : [])),
  ])
}
