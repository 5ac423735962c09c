import type { RouteAction_HashPolicy as Wire } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import type { HashSpec } from '../../model/route.ts'
import { snake } from './config-source.ts'
import { durationMs } from './duration.ts'
import type { Field } from './field.ts'

/**
 * envoy.config.route.v3.RouteAction.HashPolicy (gRFC A42). What cannot be computed here gives no hash, so it is left out
 * with a warning: the others still count.
 */
export function hashPolicies(field: Field, policies: readonly Wire[]): HashSpec[] {
  return field.map(policies, (policy, at) => hashPolicy(at, policy)).filter((policy) => policy !== null)
}

function hashPolicy(field: Field, { policySpecifier: wanted, terminal }: Wire): HashSpec | null {
  switch (wanted.case) {
    case 'header': {
      const name = wanted.value.headerName.toLowerCase()
      if (name === '') field.at('header.header_name').fail('is missing')
      if (wanted.value.regexRewrite !== undefined) field.at('header.regex_rewrite').fail('not supported')
      return { kind: 'header', name, terminal }
    }
    case 'cookie': {
      const { name, path, ttl } = wanted.value
      if (name === '') field.at('cookie.name').fail('is missing')
      if (wanted.value.attributes.length > 0) field.at('cookie.attributes').warn('not supported, has no effect')
      const ttlMs = ttl === undefined ? null : durationMs(field.at('cookie.ttl'), ttl, 0)
      return { kind: 'cookie', name, path, ttlMs, terminal }
    }
    case 'connectionProperties':
      if (wanted.value.sourceIp) return { kind: 'source-ip', terminal }
      field.at('connection_properties').warn('asks for nothing, has no effect')
      return null
    case 'queryParameter':
      if (wanted.value.name === '') field.at('query_parameter.name').fail('is missing')
      return { kind: 'query', name: wanted.value.name, terminal }
    case undefined:
      return field.fail('needs a policy')
    default:
      field.at(snake(wanted.case)).warn('not supported, has no effect')
      return null
  }
}
