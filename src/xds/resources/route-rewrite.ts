import {
  type RedirectAction,
  RedirectActionSchema,
  RedirectAction_RedirectResponseCode as RedirectCode,
  type RouteAction,
} from '../../gen/envoy/config/route/v3/route_components_pb.js'
import type { RegexMatchAndSubstitute } from '../../gen/envoy/type/matcher/v3/regex_pb.js'
import { compileReplace } from '../../match/regex.ts'
import type { PathRewrite, RedirectSpec, RewriteSpec } from '../../model/route.ts'
import { snake } from './config-source.ts'
import { type Field, names } from './field.ts'
import { regex } from './matchers.ts'

/** prefix_rewrite, regex_rewrite and host_rewrite_literal of a RouteAction; null = nothing is rewritten. */
export function rewrite(field: Field, action: RouteAction): RewriteSpec | null {
  const path = pathRewrite(field, action)
  const host = action.hostRewriteSpecifier
  if (host.case === 'autoHostRewrite') {
    // Endpoints of the mesh have addresses and no names: with `false` nothing is asked for.
    if (host.value.value) beyondUs(field.at('auto_host_rewrite'))
  } else if (host.case !== undefined && host.case !== 'hostRewriteLiteral') beyondUs(field.at(snake(host.case)))
  const authority = host.case === 'hostRewriteLiteral' ? host.value : null
  if (authority === '') field.at('host_rewrite_literal').fail('must not be empty')
  return path === null && authority === null ? null : { path, authority }
}

/** gRPC's clients pass over rewrites of the host, so that foreign control planes may send some (A81 is for those that trust them). */
function beyondUs(field: Field): void {
  if (field.dialect.providers === null) field.fail('not supported')
  field.warn('not supported, has no effect')
}

function pathRewrite(
  field: Field,
  { prefixRewrite, regexRewrite, pathRewritePolicy }: RouteAction,
): PathRewrite | null {
  if (pathRewritePolicy !== undefined) field.at('path_rewrite_policy').fail('not supported')
  if (prefixRewrite !== '' && regexRewrite !== undefined)
    field.at('regex_rewrite').fail('cannot be set together with prefix_rewrite')
  if (prefixRewrite !== '') return { kind: 'prefix', value: pathText(field.at('prefix_rewrite'), prefixRewrite) }
  return regexRewrite === undefined ? null : substitution(field.at('regex_rewrite'), regexRewrite)
}

/** RegexMatchAndSubstitute; tried here so that nothing fails when requests come. */
export function substitution(field: Field, message: RegexMatchAndSubstitute): Extract<PathRewrite, { kind: 'regex' }> {
  if (message.pattern === undefined) return field.at('pattern').fail('is missing')
  const pattern = regex(field.at('pattern'), message.pattern)
  try {
    compileReplace(pattern, message.substitution)
  } catch (error) {
    field.at('substitution').fail(error instanceof Error ? error.message : String(error))
  }
  return { kind: 'regex', pattern, substitution: message.substitution }
}

function pathText(field: Field, text: string): string {
  if (/[\s#]/.test(text)) field.fail(`${JSON.stringify(text)} is not a path`)
  return text
}

const codes = {
  [RedirectCode.MOVED_PERMANENTLY]: 301,
  [RedirectCode.FOUND]: 302,
  [RedirectCode.SEE_OTHER]: 303,
  [RedirectCode.TEMPORARY_REDIRECT]: 307,
  [RedirectCode.PERMANENT_REDIRECT]: 308,
} as const

const redirectFields = names(`https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite
  regex_rewrite response_code strip_query`)

/** envoy.config.route.v3.RedirectAction. */
export function redirect(field: Field, action: RedirectAction): RedirectSpec {
  field.onlyReads(RedirectActionSchema, action, redirectFields)
  const status = codes[action.responseCode]
  if (status === undefined) return field.at('response_code').fail(`${action.responseCode} is not a known value`)
  if (action.portRedirect > 65_535) field.at('port_redirect').fail(`must be at most 65535, is ${action.portRedirect}`)
  return {
    status,
    scheme: scheme(field, action),
    host: action.hostRedirect === '' ? null : action.hostRedirect,
    port: action.portRedirect === 0 ? null : action.portRedirect,
    path: redirectPath(field, action),
    stripQuery: action.stripQuery,
  }
}

function scheme(field: Field, { schemeRewriteSpecifier: wanted }: RedirectAction): 'http' | 'https' | null {
  if (wanted.case === 'httpsRedirect') return wanted.value ? 'https' : null
  if (wanted.case === undefined || wanted.value === '') return null
  const name = wanted.value.toLowerCase()
  if (name === 'http' || name === 'https') return name
  return field.at('scheme_redirect').fail(`must be http or https, is ${JSON.stringify(wanted.value)}`)
}

function redirectPath(field: Field, { pathRewriteSpecifier: wanted }: RedirectAction): PathRewrite | null {
  switch (wanted.case) {
    case 'pathRedirect':
      return wanted.value === '' ? null : { kind: 'full', value: pathText(field.at('path_redirect'), wanted.value) }
    case 'prefixRewrite':
      return { kind: 'prefix', value: pathText(field.at('prefix_rewrite'), wanted.value) }
    case 'regexRewrite':
      return substitution(field.at('regex_rewrite'), wanted.value)
    default:
      return null
  }
}
