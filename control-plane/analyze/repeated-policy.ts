import type { Analyzer } from './analyzer.ts'

const CODE = 'INM0102'

export const repeatedPolicy: Analyzer = {
  codes: { [CODE]: 'a service has two ServicePolicies' },
  onApply: 'refuses',
  checks: {
    ServicePolicy({ name, namespace, spec, report }, world) {
      const other = world.servicePoliciesOf(world.host(spec.service, namespace)).find((o) => o.name !== name)
      if (other !== undefined)
        report('error', CODE, ['service'], `"${spec.service}" has a policy already: ${other.name}`)
    },
  },
}
