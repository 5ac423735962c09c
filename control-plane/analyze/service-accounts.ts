import type { Analyzer } from './analyzer.ts'

const CODE = 'KIA0106'

/** "<trust domain>/ns/<namespace>/sa/<service account>" */
const principal = /^[^/*]+\/ns\/([^/*]+)\/sa\/([^/*]+)$/

export const serviceAccounts: Analyzer = {
  codes: { [CODE]: 'a policy names a service account that no registered workload has' },
  checks: {
    AuthorizationPolicy({ spec, namespace, report }, world) {
      if (!world.registryKnown) return
      const known = new Set(world.endpoints.map(({ spiffeId }) => accountOf(spiffeId.replace(/^spiffe:\/\//, ''))))
      spec.rules.forEach((rule, r) => {
        rule.from?.forEach(({ source }, f) => {
          const path = ['rules', r, 'from', f, 'source']
          for (const field of ['principals', 'notPrincipals'] as const)
            source[field]?.forEach((value, i) => {
              const account = accountOf(value)
              if (account !== undefined && !known.has(account))
                report('warning', CODE, [...path, field, i], `no workload has the service account ${account} now`)
            })
          for (const field of ['serviceAccounts', 'notServiceAccounts'] as const)
            source[field]?.forEach((value, i) => {
              const account = value.includes('/') ? value : `${namespace}/${value}`
              if (!known.has(account))
                report('warning', CODE, [...path, field, i], `no workload has the service account ${account} now`)
            })
        })
      })
    },
  },
}

/** "namespace/account"; undefined for patterns. */
function accountOf(name: string): string | undefined {
  const [, namespace, account] = principal.exec(name) ?? []
  return account === undefined ? undefined : `${namespace}/${account}`
}
