import * as z from 'zod'
import {
  destinationHost,
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
import { checkHttpRetry, httpRetry } from './http-retry.ts'
import { type Kind, type Report, unsupported } from './kind.ts'

const headerMatches = z.record(headerName, stringMatchOrPresent)

const httpMatch = z.strictObject({
  name: z.string().optional(),
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
    .array(
      z.strictObject({
        destination: z.strictObject({
          host: destinationHost,
          subset: z
            .string()
            .regex(/^[A-Za-z0-9._-]{1,63}$/, 'is not a subset name')
            .optional(),
          port: z.strictObject({ number: port }).optional(),
        }),
        weight: uint32.optional(),
      }),
    )
    .min(1, 'must name at least one destination'),
  /** ms; 0 = none. Absent: ServicePolicy or the default decides. */
  timeout: duration(0).optional(),
  retries: httpRetry.optional(),
})

const schema = z.strictObject({
  hosts: z.array(host).min(1, 'must name at least one host'),
  gateways: z.array(z.string()).optional(),
  exportTo: z.array(z.literal('*', 'only "*" (all namespaces) is supported yet')).max(1).optional(),
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
    ...unsupported('error', 'http[]', 'redirect directResponse delegate rewrite headers'),
    ...unsupported(
      'warning',
      'http[]',
      'fault mirror mirrors mirrorPercent mirror_percent mirrorPercentage corsPolicy',
    ),
    ...unsupported('error', 'http[].match[]', 'scheme'),
    ...unsupported('warning', 'http[].match[]', 'statPrefix'),
    ...unsupported('error', 'http[].route[]', 'headers'),
    ...unsupported('warning', 'http[].retries', 'retryRemoteLocalities retryIgnorePreviousHosts'),
  ],
  check(spec, report) {
    checkHosts(spec, report)
    spec.http.forEach((route, index) => {
      checkWeights(route, index, report)
      checkMatches(route, index, report)
      if (route.retries !== undefined)
        checkHttpRetry(route.retries, route.timeout ?? 0, ['http', index, 'retries'], report)
    })
    const last = spec.http.findIndex((route) => route.match.length === 0 || route.match.some(isCatchAll))
    if (last >= 0 && last < spec.http.length - 1)
      report('warning', ['http', last + 1], `is never reached: http[${last}] matches everything`)
    if (spec.gateways !== undefined && !spec.gateways.includes('mesh'))
      report('warning', ['gateways'], 'has no effect on calls inside the mesh: gateways does not contain "mesh"')
  },
  docs: 'How calls to a host are routed: rules in order, each with conditions (path, headers, method, query, caller), weighted destinations, a timeout and retries. The first rule that matches decides.',
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
  if (total > 4_294_967_295) report('error', path, 'the weights sum to more than 4294967295')
}

function checkMatches(route: HttpRoute, index: number, report: Report): void {
  route.match.forEach((match, m) => {
    const path = ['http', index, 'match', m]
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

/** Matches whatever comes (Istio: prefix "/" or regex ".*" and nothing else). */
export function isCatchAll(match: HttpMatch): boolean {
  const { uri } = match
  const anyPath =
    uri === undefined || (uri.kind === 'prefix' && uri.value === '/') || (uri.kind === 'regex' && uri.value === '.*')
  return (
    anyPath &&
    match.method === undefined &&
    match.authority === undefined &&
    match.port === undefined &&
    match.sourceNamespace === undefined &&
    match.gateways === undefined &&
    [match.headers, match.withoutHeaders, match.queryParams, match.sourceLabels].every(
      (conditions) => Object.keys(conditions).length === 0,
    )
  )
}

function describeRoute(route: HttpRoute): string {
  const one = route.route.length === 1
  return route.route
    .map(({ destination, weight }) => {
      const subset = destination.subset === undefined ? '' : `/${destination.subset}`
      return `${destination.host}${subset}${one ? '' : `:${weight ?? 0}`}`
    })
    .join(' ')
}
