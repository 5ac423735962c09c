import type { Random } from '../model/clock.ts'
import type { InboundRoutes } from '../model/inbound.ts'
import { type Authorize, compileRbac } from './authorize.ts'
import { compileMatch, endOfPath, type MatchTest } from './compile-match.ts'
import { judgeBoth } from './inbound-path.ts'
import type { InboundRequest, InboundStep } from './inbound-step.ts'
import { rejections } from './rejection.ts'
import { DomainIndex } from './virtual-host.ts'

interface Rule {
  readonly matches: MatchTest
  readonly served: boolean
  readonly filters: readonly Authorize[]
}

/**
 * Authorization where rules differ by route (gRFC A36, A41): the first route of the request's virtual host that matches must be one
 * for servers, and its rules come before those of the filters that they name. As with authorization at all, both readings of a path must
 * lead to the same answer.
 */
export function routedStep({ table, filters }: InboundRoutes, random: Random): InboundStep {
  const hosts = new DomainIndex<readonly Rule[]>()
  for (const { domains, routes } of table.virtualHosts) {
    const rules = routes.map(({ match, served, rbac }): Rule => {
      const specs = filters.map(({ name, rules }) => (rbac !== undefined && name in rbac ? rbac[name]! : rules))
      return {
        matches: compileMatch(match).matches,
        served: served === true,
        filters: specs.filter((spec) => spec !== null).map(compileRbac),
      }
    })
    for (const domain of domains) hosts.add(domain, rules)
  }
  const find = (request: InboundRequest, path: string): Rule | undefined =>
    hosts.find(request.authority)?.find((rule) => rule.matches(request, path, random))
  return {
    name: 'authorize',
    admit(request) {
      const shown = request.path.slice(0, endOfPath(request.path))
      const rule = find(request, request.policyPath)
      if (shown !== request.policyPath && find(request, shown) !== rule) return rejections.ambiguousPath
      if (rule === undefined || !rule.served) return rejections.notServed
      return judgeBoth(rule.filters, request, request.policyPath, shown)
    },
  }
}
