import * as z from 'zod'
import { regexProblem } from './fields.ts'
import { backendFields, checkRepeated, headerMatches, weight } from './gateway-api.ts'
import { checkFilters, gatewayFilters } from './gateway-filter.ts'
import { checkGatewayRoute, gatewayRouteFields, unsupportedInGatewayRoutes } from './gateway-route.ts'
import { checkBackends } from './http-route.ts'
import type { Kind } from './kind.ts'

const methodMatch = z
  .strictObject({
    type: z.enum(['Exact', 'RegularExpression']).default('Exact'),
    service: z.string().min(1).max(1024).optional().describe('Like "pay.v1.Payments". Absent = any.'),
    method: z.string().min(1).max(1024).optional().describe('Like "Charge". Absent = any.'),
  })
  .check(({ value, issues }) => {
    if (value.service === undefined && value.method === undefined)
      issues.push({ code: 'custom', message: 'needs service or method', input: value })
    for (const field of ['service', 'method'] as const) {
      const text = value[field]
      if (text === undefined) continue
      const valid = field === 'service' ? /^(?:\.?[a-z_][a-z_0-9]*)+$/i : /^[a-z_][a-z_0-9]*$/i
      const exact = value.type === 'Exact'
      const message = exact ? (valid.test(text) ? undefined : `is not a name of a ${field}`) : regexProblem(text)
      if (message !== undefined) issues.push({ code: 'custom', message, path: [field], input: text })
    }
  })

const grpcMatch = z.strictObject({ method: methodMatch.optional(), headers: headerMatches })
export type GrpcRouteMatch = z.output<typeof grpcMatch>

const grpcRule = z.strictObject({
  name: z.string().max(253).optional(),
  matches: z.array(grpcMatch).max(64).default([]).describe('Any of them. None: every call.'),
  filters: gatewayFilters,
  backendRefs: z
    .array(z.strictObject({ ...backendFields, weight, filters: gatewayFilters }))
    .max(16)
    .default([])
    .describe('Where calls go, by weight. None that can be called: UNAVAILABLE.'),
})
export type GrpcRouteRule = z.output<typeof grpcRule>

const schema = z.strictObject({
  ...gatewayRouteFields,
  rules: z.array(grpcRule).max(16).prefault([{}]),
})
export type GrpcRouteSpec = z.output<typeof schema>

export const grpcRoute: Kind<'GRPCRoute', typeof schema> = {
  kind: 'GRPCRoute',
  names: ['grpcroute', 'grpcroutes'],
  apiVersions: ['gateway.networking.k8s.io/v1', 'gateway.networking.k8s.io/v1alpha2'],
  schema,
  unsupported: unsupportedInGatewayRoutes,
  check(spec, report, { namespace }) {
    checkGatewayRoute(spec, namespace, report)
    spec.rules.forEach((rule, index) => {
      const path = ['rules', index]
      rule.matches.forEach((match, m) => {
        checkRepeated(match.headers, [...path, 'matches', m, 'headers'], report)
      })
      checkFilters(rule.filters, 'rule of a GRPCRoute', [...path, 'filters'], report)
      checkBackends(rule.backendRefs, 'GRPCRoute', false, path, report)
    })
  },
  docs: 'How gRPC calls to a Service are routed (Gateway API, with the Service as parent): rules with gRPC services, methods and metadata, filters and weighted backends. On a Service with both, GRPCRoutes decide and HTTPRoutes are ignored.',
  columns: [
    { title: 'PARENTS', value: (spec) => spec.parentRefs.map(({ name }) => name).join(',') || '-' },
    { title: 'RULES', value: (spec) => String(spec.rules.length) },
  ],
}
