import {
  RBAC_Action as Action,
  type Policy,
  PolicySchema,
  RBACSchema as RulesSchema,
  type Permission as WirePermission,
  type Principal as WirePrincipal,
} from '../../gen/envoy/config/rbac/v3/rbac_pb.js'
import type { HeaderMatcher } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { type RBAC, RBACSchema } from '../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import type { PathMatcher } from '../../gen/envoy/type/matcher/v3/path_pb.js'
import { compileString } from '../../match/string.ts'
import type { Permission, Principal, RbacPolicy, RbacSpec } from '../../model/inbound.ts'
import type { HeaderMatch, StringMatch } from '../../model/match.ts'
import { cidr } from './address.ts'
import { snake } from './config-source.ts'
import { type Field, names } from './field.ts'
import { headerMatch, stringMatch } from './matchers.ts'

/**
 * envoy.extensions.filters.http.rbac.v3.RBAC after gRFC A41. null = enforces nothing: no `rules`, or action LOG.
 * What would make a rule broader or narrower than written refuses the resource: authorization is never guessed.
 */
export function rbacSpec(field: Field, filterName: string, filter: RBAC): RbacSpec | null {
  if (filter.matcher !== undefined) field.at('matcher').fail('not supported')
  field.onlyReads(
    RBACSchema,
    filter,
    names('rules matcher shadow_rules shadow_matcher shadow_rules_stat_prefix rules_stat_prefix track_per_rule_stats'),
  )
  const { rules } = filter
  if (rules === undefined) return null
  const at = field.at('rules')
  at.onlyReads(RulesSchema, rules, names('action policies'))
  if (rules.action === Action.LOG) return null
  if (rules.action !== Action.ALLOW && rules.action !== Action.DENY)
    return at.at('action').fail(`${rules.action} is not a known value`)
  const policies = Object.keys(rules.policies).sort()
  return {
    filterName,
    action: rules.action === Action.ALLOW ? 'ALLOW' : 'DENY',
    policies: policies.map((name) => policy(at.at('policies').index(name), name, rules.policies[name]!)),
  }
}

function policy(field: Field, name: string, message: Policy): RbacPolicy {
  if (message.condition !== undefined) field.at('condition').fail('not supported')
  if (message.checkedCondition !== undefined) field.at('checked_condition').fail('not supported')
  field.onlyReads(PolicySchema, message, names('permissions principals'))
  if (message.permissions.length === 0) field.at('permissions').fail('must not be empty')
  if (message.principals.length === 0) field.at('principals').fail('must not be empty')
  return {
    name,
    permissions: field.at('permissions').map(message.permissions, (p, at) => permission(at, p)),
    principals: field.at('principals').map(message.principals, (p, at) => principal(at, p)),
  }
}

/** No dynamic metadata exists here, so such a matcher never matches, or always when it is inverted (A41). */
const never = { kind: 'not', rule: { kind: 'any' } } as const
const always = { kind: 'any' } as const

function permission(field: Field, message: WirePermission): Permission {
  const { rule } = message
  const at = rule.case === undefined ? field : field.at(snake(rule.case))
  switch (rule.case) {
    case 'any':
      return any(at, rule.value)
    case 'andRules':
    case 'orRules':
      return {
        kind: rule.case === 'andRules' ? 'and' : 'or',
        rules: nonEmpty(at.at('rules'), rule.value.rules).map((r, i) => permission(at.at('rules').index(i), r)),
      }
    case 'notRule':
      return { kind: 'not', rule: permission(at, rule.value) }
    case 'header':
      return { kind: 'header', match: requestHeader(at, rule.value) }
    case 'urlPath':
      return { kind: 'path', match: path(at, rule.value) }
    case 'destinationIp':
      return { kind: 'destinationIp', cidr: cidr(at, rule.value) }
    case 'destinationPort':
      if (rule.value < 1 || rule.value > 65_535) at.fail(`${rule.value} is not a port`)
      return { kind: 'destinationPort', port: rule.value }
    case 'metadata':
      return rule.value.invert ? always : never
    case 'requestedServerName':
      // Server names play no part here: it is always empty (A41).
      return compileString(stringMatch(at, rule.value))('') ? always : never
    case undefined:
      return field.fail('needs a rule')
    default:
      return at.fail('not supported')
  }
}

function principal(field: Field, message: WirePrincipal): Principal {
  const { identifier } = message
  const at = identifier.case === undefined ? field : field.at(snake(identifier.case))
  switch (identifier.case) {
    case 'any':
      return any(at, identifier.value)
    case 'andIds':
    case 'orIds':
      return {
        kind: identifier.case === 'andIds' ? 'and' : 'or',
        rules: nonEmpty(at.at('ids'), identifier.value.ids).map((id, i) => principal(at.at('ids').index(i), id)),
      }
    case 'notId':
      return { kind: 'not', rule: principal(at, identifier.value) }
    case 'authenticated': {
      const name = identifier.value.principalName
      return { kind: 'authenticated', match: name === undefined ? null : stringMatch(at.at('principal_name'), name) }
    }
    case 'sourceIp':
    case 'directRemoteIp':
      return { kind: 'directRemoteIp', cidr: cidr(at, identifier.value) }
    case 'remoteIp':
      return { kind: 'remoteIp', cidr: cidr(at, identifier.value) }
    case 'header':
      return { kind: 'header', match: requestHeader(at, identifier.value) }
    case 'urlPath':
      return { kind: 'path', match: path(at, identifier.value) }
    case 'metadata':
      return identifier.value.invert ? always : never
    case undefined:
      return field.fail('needs an identifier')
    default:
      return at.fail('not supported')
  }
}

/** Headers of gRPC's own protocol are no business of its rules (A41). */
function requestHeader(field: Field, matcher: HeaderMatcher): HeaderMatch {
  const match = headerMatch(field, matcher)
  if (field.dialect.providers !== null && match.name.startsWith('grpc-'))
    field.at('name').fail(`"${match.name}" cannot be matched`)
  return match
}

function any(field: Field, value: boolean): { readonly kind: 'any' } {
  if (!value) field.fail('must be true')
  return always
}

function path(field: Field, matcher: PathMatcher): StringMatch {
  return stringMatch(field.at('path'), matcher.rule.case === 'path' ? matcher.rule.value : undefined)
}

function nonEmpty<T>(field: Field, items: readonly T[]): readonly T[] {
  if (items.length === 0) field.fail('must not be empty')
  return items
}
