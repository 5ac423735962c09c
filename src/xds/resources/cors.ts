import {
  type CorsPolicy as RouteCors,
  CorsPolicySchema as RouteCorsSchema,
} from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { type CorsPolicy, CorsPolicySchema } from '../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import type { CorsSpec } from '../../model/route.ts'
import { type Field, names } from './field.ts'
import { stringMatch } from './matchers.ts'
import { perMillion } from './percent.ts'

const fields = names(`allow_origin_string_match allow_methods allow_headers expose_headers max_age allow_credentials
  forward_not_matching_preflights filter_enabled`)

/** envoy.extensions.filters.http.cors.v3.CorsPolicy; null = switched off. */
export function corsSpec(field: Field, policy: CorsPolicy): CorsSpec | null {
  field.onlyReads(CorsPolicySchema, policy, fields)
  return spec(field, policy, policy.filterEnabled)
}

/** The same in its older place, RouteAction.cors. */
export function routeCorsSpec(field: Field, policy: RouteCors): CorsSpec | null {
  field.onlyReads(RouteCorsSchema, policy, fields)
  return spec(field, policy, policy.enabledSpecifier.value)
}

function spec(field: Field, policy: CorsPolicy | RouteCors, enabled: CorsPolicy['filterEnabled']): CorsSpec | null {
  const fraction = enabled?.defaultValue
  if (fraction !== undefined) {
    const share = perMillion(field.at('filter_enabled.default_value'), fraction)
    if (share === 0) return null
    if (share < 1_000_000) field.at('filter_enabled').fail('a share of the requests is not supported: all or none')
  }
  if (!/^\d*$/.test(policy.maxAge))
    field.at('max_age').fail(`must be whole seconds, is ${JSON.stringify(policy.maxAge)}`)
  return {
    allowOrigins: field
      .at('allow_origin_string_match')
      .map(policy.allowOriginStringMatch, (m, at) => stringMatch(at, m)),
    allowMethods: policy.allowMethods,
    allowHeaders: policy.allowHeaders,
    exposeHeaders: policy.exposeHeaders,
    maxAge: policy.maxAge,
    allowCredentials: policy.allowCredentials ?? false,
    // Envoy's default, and Istio's FORWARD.
    forwardUnmatchedPreflights: policy.forwardNotMatchingPreflights ?? true,
  }
}
