import type {
  CorsSpec,
  HeaderEdit,
  HeaderEdits,
  PathRewrite,
  RedirectSpec,
  RewriteSpec,
} from '../../src/model/route.ts'
import type { HeaderModifier } from '../resources/gateway-api.ts'
import type { GatewayFilter, PathModifier, RequestRedirect } from '../resources/gateway-filter.ts'
import type { HttpRouteMatch } from '../resources/http-route.ts'
import { quoteRegex } from '../resources/patterns.ts'
import { withoutTrailingSlash } from './gateway-match.ts'

/** Filters of the Gateway API as the data plane's model has them. */

export function editsOf(filters: readonly GatewayFilter[]): HeaderEdits {
  return {
    request: filters.flatMap((filter) => modifierEdits(filter.requestHeaderModifier)),
    response: filters.flatMap((filter) => modifierEdits(filter.responseHeaderModifier)),
  }
}

function modifierEdits(modifier: HeaderModifier | undefined): HeaderEdit[] {
  if (modifier === undefined) return []
  const edit =
    (kind: 'set' | 'append') =>
    ({ name, value }: { name: string; value: string }): HeaderEdit => ({
      ...{ kind, name, keepEmpty: false },
      // Values are taken as they are; in the model a percent sign begins an operator.
      value: value.replaceAll('%', '%%'),
    })
  return [
    ...modifier.remove.map((name): HeaderEdit => ({ kind: 'remove', name })),
    ...modifier.set.map(edit('set')),
    ...modifier.add.map(edit('append')),
  ]
}

/** null = nothing is rewritten. */
export function rewriteOf(filters: readonly GatewayFilter[], match: HttpRouteMatch | undefined): RewriteSpec | null {
  const filter = filters.find(({ urlRewrite }) => urlRewrite !== undefined)?.urlRewrite
  const path = filter?.path === undefined ? null : modifiedPath(filter.path, match)
  const authority = filter?.hostname ?? null
  return path === null && authority === null ? null : { path, authority }
}

/** @param port that was dialled */
export function redirectOf(redirect: RequestRedirect, match: HttpRouteMatch | undefined, port: number): RedirectSpec {
  const { scheme = null, hostname = null } = redirect
  const implied = scheme === null ? port : scheme === 'https' ? 443 : 80
  return {
    // The schema takes no other.
    status: redirect.statusCode as RedirectSpec['status'],
    scheme,
    host: hostname,
    port: redirect.port ?? implied,
    path: redirect.path === undefined ? null : modifiedPath(redirect.path, match),
    stripQuery: false,
  }
}

/**
 * The table of HTTPPathModifier: prefixes are whole segments, a slash at their end counts in neither the prefix nor its
 * replacement, and the result never has a doubled slash nor none at all. null = the path stays.
 */
function modifiedPath(modifier: PathModifier, match: HttpRouteMatch | undefined): PathRewrite | null {
  if (modifier.type === 'ReplaceFullPath') {
    const full = modifier.replaceFullPath ?? ''
    return { kind: 'full', value: full.startsWith('/') ? full : `/${full}` }
  }
  const prefix = withoutTrailingSlash(match?.path.value ?? '/')
  const bare = withoutTrailingSlash(modifier.replacePrefixMatch ?? '')
  const replacement = bare === '' || bare.startsWith('/') ? bare : `/${bare}`
  if (replacement === '')
    // The slash after the prefix stays, or there is one. A rewrite to nothing cannot be said otherwise.
    return prefix === '' ? null : { kind: 'regex', pattern: `^${quoteRegex(prefix)}/*`, substitution: '/' }
  // The prefix "/" is matched with its slash, others without one.
  return { kind: 'prefix', value: prefix === '' ? `${replacement}/` : replacement }
}

export function corsOf(filters: readonly GatewayFilter[]): CorsSpec | null {
  const cors = filters.find((filter) => filter.cors !== undefined)?.cors
  if (cors === undefined) return null
  return {
    allowOrigins: cors.allowOrigins.map(origin),
    allowMethods: cors.allowMethods.join(','),
    allowHeaders: cors.allowHeaders.join(','),
    exposeHeaders: cors.exposeHeaders.join(','),
    maxAge: String(cors.maxAge),
    allowCredentials: cors.allowCredentials ?? false,
    // The filter answers preflights, whoever asks.
    forwardUnmatchedPreflights: false,
  }
}

function origin(text: string): CorsSpec['allowOrigins'][number] {
  if (text === '*') return { kind: 'regex', value: '.*' }
  if (!text.includes('*')) return { kind: 'exact', value: text, ignoreCase: false }
  return { kind: 'regex', value: text.split('*').map(quoteRegex).join('[^/]*') }
}
