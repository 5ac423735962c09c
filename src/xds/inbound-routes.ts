import type { ChainMatch, InboundRoutes, InboundSpec } from '../model/inbound.ts'
import type { RouteSpec, RouteTable } from '../model/route.ts'

const made = new WeakMap<InboundSpec, WeakMap<RouteTable, InboundSpec>>()

/** What a server enforces, together with its routes. One object for each pair; as it is where the routes let everything pass. */
export function withRoutes(spec: InboundSpec, table: RouteTable, filters: InboundRoutes['filters']): InboundSpec {
  if (servesAll(table)) return spec
  const known = made.get(spec) ?? new WeakMap<RouteTable, InboundSpec>()
  made.set(spec, known)
  const joined = known.get(table) ?? { ...spec, routes: { table, filters } }
  known.set(table, joined)
  return joined
}

const chained = new WeakMap<InboundSpec, InboundSpec>()

/** A server whose rules differ by connection. The same object as long as its chains are. */
export function withChains(
  spec: InboundSpec,
  matches: readonly (ChainMatch | null)[],
  complete: readonly InboundSpec[],
): InboundSpec {
  const last = chained.get(spec)
  if (last?.chains?.every((chain, i) => chain.spec === complete[i]) === true) return last
  const joined = { ...spec, chains: complete.map((made, i) => ({ match: matches[i]!, spec: made })) }
  chained.set(spec, joined)
  return joined
}

/** One host for all names whose first route takes all requests, without rules of its own. */
function servesAll({ virtualHosts }: RouteTable): boolean {
  const [host] = virtualHosts
  const [route] = host?.routes ?? []
  if (virtualHosts.length !== 1 || route === undefined || !host!.domains.includes('*')) return false
  return route.served === true && route.rbac === undefined && takesAll(route.match)
}

function takesAll({ path, headers, query, fractionPerMillion }: RouteSpec['match']): boolean {
  const anyPath = path.kind === 'prefix' && (path.value === '' || path.value === '/')
  return anyPath && headers.length === 0 && query.length === 0 && fractionPerMillion === null
}
