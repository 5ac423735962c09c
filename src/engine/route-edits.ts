import type { CorsSpec, HeaderEdit, PathMatch, RouteSpec, WeightedCluster } from '../model/route.ts'
import type { Call } from './call.ts'
import { compileCors, joinResponseEdits } from './cors.ts'
import { compileEdits, editList, editRecord } from './edits.ts'
import type { RequestView } from './exchange.ts'
import type { FormatView, ResponseHeaders } from './format.ts'
import { compileCookies } from './hash-policy.ts'
import { compilePathRewrite } from './path-rewrite.ts'
import type { ResponseEdits, RouteEdits } from './route.ts'
import { compileSessionCookie } from './session.ts'
import { shared } from './shared.ts'

/** For edits whose values are all fixed: nobody looks. */
const nothing = Object.freeze({}) as FormatView

/** What a route and one of its destinations change; null = nothing. */
export function compileRouteEdits(
  { name, match, rewrite, headers, hash, session }: RouteSpec,
  cluster: WeightedCluster | null,
  cors: CorsSpec | null,
): RouteEdits | null {
  if (rewrite === null && headers === null && hash.length === 0 && !session && cors === null)
    if (cluster?.authority === undefined && cluster?.headers === undefined) return null
  const own = { path: match.path, rewrite, headers, hash, session, cors }
  const destination = { authority: cluster?.authority, headers: cluster?.headers }
  // Only formats can say the name: without any, routes of other names may share what is compiled.
  const formats = JSON.stringify([headers, destination.headers]).includes('%')
  return compileShared({ ...own, name: formats ? name : '', cluster: destination })
}

/** All of a route that its edits go by. */
type EditSpec = Pick<RouteSpec, 'name' | 'rewrite' | 'headers' | 'hash' | 'session' | 'cors'> & {
  readonly path: PathMatch
  readonly cluster: Partial<Pick<WeightedCluster, 'authority' | 'headers'>>
}

const compileShared = shared((spec: EditSpec): RouteEdits | null => {
  const { rewrite, cluster } = spec
  const path = rewrite === null || rewrite.path === null ? same : compilePathRewrite(rewrite.path, spec.path)
  const authority = cluster.authority ?? rewrite?.authority ?? null
  const cors = spec.cors === null ? null : compileCors(spec.cors)
  const requested = both(cluster.headers?.request, spec.headers?.request)
  // CORS has the last word: what the peer said of origins is not what the route says.
  const cookies = joinResponseEdits(compileCookies(spec.hash), compileSessionCookie(spec.session))
  const own = joinResponseEdits(compileResponseEdits(spec, cluster), cookies)
  const response = joinResponseEdits(own, cors?.response ?? null)
  if (path === same && authority === null && requested.length === 0 && response === null) return null
  const edits = compileEdits(requested)
  const fixed = edits.every(({ value }) => typeof value !== 'function')
  return {
    path,
    authority: authority === null ? same : () => authority,
    request(headers: string[], request: RequestView, call: Call | null) {
      if (edits.length === 0) return
      editList(edits, headers, fixed ? nothing : { request, call, response: null, routeName: spec.name })
    },
    response,
    local: cors?.response ?? null,
  }
})

/** null = none. */
export function compileResponseEdits(
  spec: Pick<RouteSpec, 'headers'>,
  cluster: Pick<WeightedCluster, 'headers'> | null,
): ResponseEdits | null {
  const edits = compileEdits(both(cluster?.headers?.response, spec.headers?.response))
  if (edits.length === 0) return null
  return {
    names: [...new Set(edits.map(({ name }) => name))],
    apply(headers: ResponseHeaders, view: FormatView) {
      editRecord(edits, headers, view)
      return true
    },
  }
}

/** Those of the destination act first, so that the route has the last word (Envoy most_specific_header_mutations_wins = false). */
function both(cluster: readonly HeaderEdit[] = [], route: readonly HeaderEdit[] = []): readonly HeaderEdit[] {
  return cluster.length === 0 ? route : [...cluster, ...route]
}

function same(text: string): string {
  return text
}
