import * as z from 'zod'
import { checkExportTo, exportTo } from './export-to.ts'
import {
  duration,
  headerName,
  host,
  labels,
  namespaceName,
  nonEmptyMatch,
  port,
  stringMatch,
  stringMatchOrPresent,
  uint32,
} from './fields.ts'
import {
  corsPolicy,
  delegate,
  destination,
  directResponse,
  fault,
  headers,
  mirrorPercent,
  mirrors,
  percentage,
  redirect,
  rewrite,
} from './http-actions.ts'
import { checkHttpRetry, httpRetry } from './http-retry.ts'
import { type Kind, type Report, unsupported } from './kind.ts'
import { checkReach } from './reachability.ts'
import { checkAction } from './virtual-service-action.ts'

const headerMatches = z.record(headerName, stringMatchOrPresent)

const httpMatch = z.strictObject({
  name: z.string().optional(),
  scheme: nonEmptyMatch.optional().describe('Calls of the mesh are http.'),
  uri: stringMatch.optional(),
  ignoreUriCase: z.boolean().default(false),
  method: nonEmptyMatch.optional(),
  authority: nonEmptyMatch.optional(),
  headers: headerMatches.default({}),
  withoutHeaders: headerMatches.default({}),
  queryParams: z.record(z.string().min(1), stringMatchOrPresent).default({}),
  /** As dialled. */
  port: port.optional(),
  sourceLabels: labels.default({}),
  sourceNamespace: namespaceName.optional(),
  gateways: z.array(z.string()).optional(),
})

const httpRoute = z.strictObject({
  name: z.string().optional(),
  match: z.array(httpMatch).default([]),
  route: z
    .array(z.strictObject({ destination, weight: uint32.optional(), headers: headers.optional() }))
    .default([])
    .describe('Where calls go, by weight.'),
  redirect: redirect.optional(),
  directResponse: directResponse.optional(),
  delegate: delegate.optional().describe('The rules of another VirtualService, which has no hosts of its own.'),
  rewrite: rewrite.optional(),
  headers: headers.optional(),
  corsPolicy: corsPolicy.optional(),
  fault: fault.optional(),
  mirror: destination.optional(),
  mirrors: mirrors.default([]),
  mirrorPercentage: percentage.optional(),
  mirrorPercent: mirrorPercent.optional(),
  mirror_percent: mirrorPercent.optional().describe('Older spelling of mirrorPercent.'),
  timeout: duration(0)
    .optional()
    .describe('Limit of the whole call with its retries; 0s = none. Absent: ServicePolicy or the default decides.'),
  retries: httpRetry.optional(),
})

const schema = z.strictObject({
  hosts: z.array(host).default([]).describe('Hosts whose calls these rules decide; none: others delegate to them.'),
  gateways: z.array(z.string()).optional(),
  exportTo,
  http: z.array(httpRoute).default([]),
})

export type VirtualServiceSpec = z.output<typeof schema>
export type HttpRoute = VirtualServiceSpec['http'][number]
export type HttpMatch = HttpRoute['match'][number]

export const virtualService: Kind<'VirtualService', typeof schema> = {
  kind: 'VirtualService',
  names: ['virtualservice', 'virtualservices', 'vs'],
  apiVersions: ['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'],
  schema,
  unsupported: [
    ...unsupported('warning', '', 'tcp tls'),
    ...unsupported('error', 'http[].redirect', 'prefixRewrite uriRegexRewrite'),
    ...unsupported('error', 'http[].fault.delay', 'exponentialDelay', 'is not supported, nor in Istio: use fixedDelay'),
    ...unsupported(
      'error',
      'http[].fault.abort',
      'http2Error',
      'is not supported, nor in Istio: use httpStatus or grpcStatus',
    ),
    ...unsupported('warning', 'http[].match[]', 'statPrefix'),
  ],
  check(spec, report, { namespace }) {
    checkHosts(spec, report)
    checkExportTo(spec.exportTo, namespace, report)
    if (spec.hosts.length === 0 && spec.http.length === 0) report('error', ['hosts'], 'must name at least one host')
    else if (spec.hosts.length === 0)
      report('warning', ['hosts'], 'has no hosts: its rules count only where another VirtualService delegates to it')
    if (spec.hosts.length === 0 && spec.gateways !== undefined)
      report('error', ['gateways'], 'must not be set without hosts: who delegates says where the rules hold')
    spec.http.forEach((route, index) => {
      checkAction(route, spec.hosts.length === 0, ['http', index], report)
      checkWeights(route, index, report)
      checkMatches(route, index, report)
      if (route.retries !== undefined)
        checkHttpRetry(route.retries, route.timeout ?? 0, ['http', index, 'retries'], report)
    })
    checkReach(spec.http, report)
    if (spec.hosts.length > 0 && spec.http.length === 0)
      report('warning', ['http'], 'has no rules for HTTP: it has no effect')
    if (spec.gateways !== undefined && !spec.gateways.includes('mesh'))
      report('warning', ['gateways'], 'has no effect on calls inside the mesh: gateways does not contain "mesh"')
  },
  docs: 'How calls to a host are routed: rules in order, each with conditions (path, headers, method, query, caller) and an action: weighted destinations with rewrites, header edits, faults, mirrors, CORS, a timeout and retries; a redirect; an answer; or the rules of another VirtualService. The first rule that matches decides.',
  columns: [
    { title: 'HOSTS', value: (spec) => spec.hosts.join(',') },
    { title: 'ROUTES', value: (spec) => spec.http.map(describeRoute).join('; ') },
  ],
}

function checkHosts(spec: VirtualServiceSpec, report: Report): void {
  const seen = new Set<string>()
  spec.hosts.forEach((name, index) => {
    if (seen.has(name)) report('error', ['hosts', index], `"${name}" is listed twice`)
    const wildcard = spec.hosts.find(
      (other) => other.startsWith('*.') && other !== name && name.endsWith(other.slice(1)),
    )
    if (wildcard !== undefined) report('error', ['hosts', index], `overlaps "${wildcard}" of the same object`)
    seen.add(name)
  })
}

function checkWeights(route: HttpRoute, index: number, report: Report): void {
  if (route.route.length < 2) return
  const path = ['http', index, 'route']
  const total = route.route.reduce((sum, destination) => sum + (destination.weight ?? 0), 0)
  if (total === 0) report('error', path, 'the weights sum to 0: no destination would get a call')
  route.route.forEach(({ weight }, d) => {
    if (weight === undefined && total > 0)
      report('warning', [...path, d], 'has no weight, which means 0 beside others: it gets no calls')
  })
  if (total > 4_294_967_295) report('error', path, 'the weights sum to more than 4294967295')
}

function checkMatches(route: HttpRoute, index: number, report: Report): void {
  route.match.forEach((match, m) => {
    const path = ['http', index, 'match', m]
    if (match.method?.kind === 'exact' && match.method.value !== match.method.value.toUpperCase())
      report('warning', [...path, 'method', 'exact'], 'never matches: methods are upper case')
    if (match.uri?.kind === 'regex' && match.ignoreUriCase)
      report('warning', [...path, 'ignoreUriCase'], 'has no effect on a regex')
    for (const field of ['headers', 'withoutHeaders'] as const)
      for (const name of ['uri', 'scheme', 'method', 'authority'])
        if (match[field][name] !== undefined)
          report('error', [...path, field, name], `is not matched by Istio under this name: use match.${name}`)
    if (match.gateways !== undefined && Object.keys(match.sourceLabels).length > 0)
      report('warning', [...path, 'sourceLabels'], 'is ignored because gateways is set')
  })
}

function describeRoute(route: HttpRoute): string {
  if (route.redirect !== undefined) return `redirect ${route.redirect.redirectCode}`
  if (route.directResponse !== undefined) return `answer ${route.directResponse.status}`
  if (route.delegate !== undefined) return `delegate ${route.delegate.name}`
  const one = route.route.length === 1
  return route.route
    .map(({ destination, weight }) => {
      const subset = destination.subset === undefined ? '' : `/${destination.subset}`
      return `${destination.host}${subset}${one ? '' : `:${weight ?? 0}`}`
    })
    .join(' ')
}
