import * as z from 'zod'
import {
  backendFields,
  checkBackend,
  checkRegex,
  checkRepeated,
  gatewayDuration,
  headerMatches,
  type Path,
  queryMatches,
  weight,
} from './gateway-api.ts'
import { checkFilters, gatewayFilters } from './gateway-filter.ts'
import { checkGatewayRoute, gatewayRouteFields, unsupportedInGatewayRoutes } from './gateway-route.ts'
import type { Kind, Report } from './kind.ts'

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'] as const

const pathMatch = z
  .strictObject({
    type: z.enum(['Exact', 'PathPrefix', 'RegularExpression']).default('PathPrefix'),
    value: z.string().max(1024).default('/'),
  })
  .check(checkRegex)
  .check(({ value: { type, value }, issues }) => {
    const message = type === 'RegularExpression' ? undefined : pathProblem(value)
    if (message !== undefined) issues.push({ code: 'custom', message, path: ['value'], input: value })
  })
  .prefault({})

/** The Gateway API's: an absolute path that is normal already. */
function pathProblem(path: string): string | undefined {
  if (!path.startsWith('/')) return 'must begin with "/"'
  if (!/^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$/.test(path)) return 'has a character that no path has'
  const bad = ['//', '/./', '/../', '%2f', '%2F'].find((part) => path.includes(part))
  if (bad !== undefined) return `must not contain "${bad}"`
  return /\/\.{1,2}$/.test(path) ? 'must not end with "/." or "/.."' : undefined
}

const httpMatch = z.strictObject({
  path: pathMatch,
  headers: headerMatches,
  queryParams: queryMatches,
  method: z.enum(methods).optional(),
})
export type HttpRouteMatch = z.output<typeof httpMatch>

const httpRule = z.strictObject({
  name: z.string().max(253).optional(),
  matches: z.array(httpMatch).max(64).prefault([{}]).describe('Any of them. Default: every path.'),
  filters: gatewayFilters,
  backendRefs: z
    .array(z.strictObject({ ...backendFields, weight, filters: gatewayFilters }))
    .max(16)
    .default([])
    .describe('Where calls go, by weight. None that can be called: 500.'),
  timeouts: z
    .strictObject({
      request: gatewayDuration.optional().describe('Limit of the whole call with its retries; 0s = none.'),
      backendRequest: gatewayDuration.optional().describe('Limit of one try; 0s = none.'),
    })
    .prefault({}),
  retry: z
    .strictObject({
      codes: z.array(z.int().min(400).max(599)).default([]).describe('Statuses that are retried.'),
      attempts: z.int().min(0).optional().describe('Retries, so at most 1 + this many tries. Default 2.'),
      backoff: gatewayDuration.optional().describe('First interval of the back-off. Default 25ms.'),
    })
    .optional(),
})
export type HttpRouteRule = z.output<typeof httpRule>

const schema = z.strictObject({
  ...gatewayRouteFields,
  rules: z.array(httpRule).max(16).prefault([{}]),
})
export type HttpRouteSpec = z.output<typeof schema>

export const httpRoute: Kind<'HTTPRoute', typeof schema> = {
  kind: 'HTTPRoute',
  names: ['httproute', 'httproutes'],
  apiVersions: ['gateway.networking.k8s.io/v1', 'gateway.networking.k8s.io/v1beta1'],
  schema,
  unsupported: unsupportedInGatewayRoutes,
  check(spec, report, { namespace }) {
    checkGatewayRoute(spec, namespace, report)
    const matches = spec.rules.reduce((sum, rule) => sum + rule.matches.length, 0)
    if (matches > 128) report('error', ['rules'], `has ${matches} matches, more than 128`)
    spec.rules.forEach((rule, index) => {
      checkRule(rule, ['rules', index], report)
    })
    checkReach(spec, report)
  },
  docs: 'How calls to a Service are routed (Gateway API, with the Service as parent): rules with conditions, filters and weighted backends. Attached routes replace all other routing of the Service; the most specific match decides, whatever the order; no match is 404. A route in the namespace of the Service is for all callers, one in the namespace of a caller for those of that namespace.',
  columns: [
    { title: 'PARENTS', value: (spec) => spec.parentRefs.map(describeParent).join(',') || '-' },
    { title: 'RULES', value: (spec) => spec.rules.map(describeRule).join('; ') },
  ],
}

function checkRule(rule: HttpRouteRule, path: Path, report: Report): void {
  rule.matches.forEach((match, m) => {
    checkRepeated(match.headers, [...path, 'matches', m, 'headers'], report)
    checkRepeated(match.queryParams, [...path, 'matches', m, 'queryParams'], report)
  })
  checkFilters(rule.filters, 'rule of an HTTPRoute', [...path, 'filters'], report)
  const onePrefix = rule.matches.length === 1 && rule.matches[0]!.path.type === 'PathPrefix'
  rule.filters.forEach(({ requestRedirect, urlRewrite }, f) => {
    for (const [field, filter] of Object.entries({ requestRedirect, urlRewrite }))
      if (filter?.path?.type === 'ReplacePrefixMatch' && !onePrefix)
        report(
          'error',
          [...path, 'filters', f, field, 'path', 'type'],
          'ReplacePrefixMatch needs exactly one match, with a PathPrefix',
        )
  })
  const redirects = rule.filters.some((filter) => filter.type === 'RequestRedirect')
  if (redirects && rule.backendRefs.length > 0)
    report('error', [...path, 'backendRefs'], 'cannot stand beside a RequestRedirect')
  checkBackends(rule.backendRefs, 'HTTPRoute', redirects, path, report)
  const { request = 0, backendRequest = 0 } = rule.timeouts
  if (request > 0 && backendRequest > request)
    report('error', [...path, 'timeouts', 'backendRequest'], 'must not be longer than request')
}

/** Backends of a rule, of either kind of route. */
export function checkBackends(
  backends: HttpRouteRule['backendRefs'],
  kind: 'HTTPRoute' | 'GRPCRoute',
  redirects: boolean,
  path: Path,
  report: Report,
): void {
  const failure = kind === 'HTTPRoute' ? '500' : 'UNAVAILABLE'
  backends.forEach((backend, b) => {
    const at = [...path, 'backendRefs', b]
    checkBackend(backend, at, `its share of the calls is answered with ${failure}`, report)
    const place = kind === 'HTTPRoute' ? 'backend of an HTTPRoute' : 'backend of a GRPCRoute'
    checkFilters(backend.filters, place, [...at, 'filters'], report)
  })
  if (!redirects && backends.every((backend) => backend.weight === 0))
    report(
      'warning',
      [...path, ...(backends.length === 0 ? [] : ['backendRefs'])],
      `has no backend that gets calls: they are answered with ${failure}`,
    )
}

/** A prefix comes before every regex, so "/" without conditions leaves nothing for them. */
function checkReach(spec: HttpRouteSpec, report: Report): void {
  const all = spec.rules.some((rule) =>
    rule.matches.some(
      ({ path, headers, queryParams, method }) =>
        path.type === 'PathPrefix' &&
        path.value === '/' &&
        method === undefined &&
        headers.length + queryParams.length === 0,
    ),
  )
  if (!all) return
  spec.rules.forEach((rule, r) => {
    rule.matches.forEach((match, m) => {
      if (match.path.type === 'RegularExpression')
        report(
          'warning',
          ['rules', r, 'matches', m, 'path'],
          'is never reached: prefixes come before regular expressions, and another match has the prefix "/"',
        )
    })
  })
}

function describeParent({ kind, namespace, name, port }: HttpRouteSpec['parentRefs'][number]): string {
  const where = `${namespace === undefined ? '' : `${namespace}/`}${name}${port === undefined ? '' : `:${port}`}`
  return kind === 'Service' ? where : `${kind}/${where}`
}

function describeRule(rule: HttpRouteRule): string {
  const redirect = rule.filters.find((filter) => filter.requestRedirect !== undefined)?.requestRedirect
  if (redirect !== undefined) return `redirect ${redirect.statusCode}`
  const one = rule.backendRefs.length === 1
  return rule.backendRefs.map(({ name, weight }) => (one ? name : `${name}:${weight}`)).join(' ') || '500'
}
