import type { RouteAction_HashPolicy as Wire } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import type { HashSpec } from '../../model/route.ts'
import { durationMs } from './duration.ts'
import type { Field } from './field.ts'
import { substitution } from './route-rewrite.ts'

/**
 * envoy.config.route.v3.RouteAction.HashPolicy (gRFC A42). What cannot be computed here gives no hash, so it is left out
 * with a warning: the others still count.
 */
export function hashPolicies(field: Field, policies: readonly Wire[]): HashSpec[] {
  return field.map(policies, (policy, at) => hashPolicy(at, policy)).filter((policy) => policy !== null)
}

/** gRFC A42: what stands for a client's channel. */
const CHANNEL_ID = 'io.grpc.channel_id'

function hashPolicy(field: Field, { policySpecifier: wanted, terminal }: Wire): HashSpec | null {
  switch (wanted.case) {
    case 'header': {
      const name = wanted.value.headerName.toLowerCase()
      if (name === '') field.at('header.header_name').fail('is missing')
      if (wanted.value.regexRewrite === undefined) return { kind: 'header', name, terminal }
      const { pattern, substitution: by } = substitution(field.at('header.regex_rewrite'), wanted.value.regexRewrite)
      return { kind: 'header', name, terminal, rewrite: { pattern, substitution: by } }
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
    case 'filterState':
      if (wanted.value.key === CHANNEL_ID) return { kind: 'process', terminal }
      field.at('filter_state.key').warn(`"${wanted.value.key}" is not known, has no effect`)
      return null
    case undefined:
      return field.fail('needs a policy')
  }
}
