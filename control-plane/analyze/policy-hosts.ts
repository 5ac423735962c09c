import { parseAuthority } from '../translate/hosts.ts'
import type { Analyzer } from './analyzer.ts'

const CODE = 'KIA0104'

export const policyHosts: Analyzer = {
  codes: { [CODE]: 'a policy names a host that is not in the registry' },
  checks: {
    AuthorizationPolicy({ spec, namespace, report }, world) {
      if (!world.registryKnown) return
      spec.rules.forEach((rule, r) => {
        rule.to?.forEach(({ operation }, t) => {
          for (const field of ['hosts', 'notHosts'] as const)
            operation[field]?.forEach((value, i) => {
              const authority = value.includes('*') ? undefined : parseAuthority(value)
              if (authority === undefined) return
              if (world.dialled(authority.host, namespace).some((host) => world.isKnown(host))) return
              const message = `no workload has registered as ${authority.host} yet`
              report('warning', CODE, ['rules', r, 'to', t, 'operation', field, i], message)
            })
        })
      })
    },
  },
}
