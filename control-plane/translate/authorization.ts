import type { MessageInitShape } from '@bufbuild/protobuf'
import type { PermissionSchema, PolicySchema, PrincipalSchema } from '../../src/gen/envoy/config/rbac/v3/rbac_pb.js'
import type { StringMatch } from '../../src/model/match.ts'
import {
  type Attribute,
  type AuthorizationRule,
  attributeOfCondition,
  describeField,
  parseConditionKey,
} from '../resources/authorization-policy.ts'
import { parseCidr } from '../resources/cidr.ts'
import { isPathTemplate, pathTemplateRegex, quoteRegex } from '../resources/patterns.ts'
import { headerMatcher, stringMatcher } from './matchers.ts'

type Permission = MessageInitShape<typeof PermissionSchema>
type Principal = MessageInitShape<typeof PrincipalSchema>
type Policy = MessageInitShape<typeof PolicySchema>

interface Context {
  /** Of the policy: where a bare service account lives. */
  readonly namespace: string
  /** The mesh's own first, then its aliases: a principal of one of them counts for all (Istio). */
  readonly trustDomains: readonly string[]
}

/**
 * A rule of an AuthorizationPolicy as an RBAC policy. `from` entries are alternatives, so are `to` entries; inside one,
 * and with every `when`, all must hold; a list of values holds if one does, a negative list if none does.
 */
export function rbacPolicy(rule: AuthorizationRule, context: Context): Policy {
  const principals: Principal[] = []
  const permissions: Permission[] = []
  for (const condition of rule.when ?? []) {
    const parsed = parseConditionKey(condition.key)
    // Refused at admission; if it is here all the same, the rule must not grow wider by leaving it out.
    if (typeof parsed === 'string') throw new TypeError(`when key "${condition.key}" ${parsed}`)
    const attribute = attributeOfCondition(parsed.key)
    const isPermission = parsed.key === 'destination.ip' || parsed.key === 'destination.port'
    for (const [values, negative] of [
      [condition.values, false],
      [condition.notValues, true],
    ] as const) {
      if (values === undefined || values.length === 0) continue
      if (isPermission) permissions.push(permissionOf(attribute, values, negative))
      else principals.push(principalOf(attribute, values, negative, context, parsed.header))
    }
  }
  const from = (rule.from ?? []).map(({ source }) =>
    allPrincipals([
      ...fields(source).map(([a, values, not]) => principalOf(a, values, not, context, '')),
      ...principals,
    ]),
  )
  const to = (rule.to ?? []).map(({ operation }) =>
    allPermissions([...fields(operation).map(([a, values, not]) => permissionOf(a, values, not)), ...permissions]),
  )
  return {
    principals: from.length > 0 ? from : [allPrincipals(principals)],
    permissions: to.length > 0 ? to : [allPermissions(permissions)],
  }
}

function fields(source: Readonly<Record<string, string[] | undefined>>): [Attribute, string[], boolean][] {
  return Object.entries(source).flatMap(([field, values]) => {
    if (values === undefined) return []
    const { attribute, negative } = describeField(field)
    return [[attribute, values, negative] as [Attribute, string[], boolean]]
  })
}

function principalOf(
  attribute: Attribute,
  values: readonly string[],
  negative: boolean,
  context: Context,
  header: string,
): Principal {
  const all = new Set(values.flatMap((value) => withTrustDomains(attribute, value, context.trustDomains)))
  const ids = [...all].map((value) => onePrincipal(attribute, value, context, header))
  const any: Principal = ids.length === 1 ? ids[0]! : { identifier: { case: 'orIds', value: { ids } } }
  return negative ? { identifier: { case: 'notId', value: any } } : any
}

function onePrincipal(attribute: Attribute, value: string, context: Context, header: string): Principal {
  switch (attribute) {
    case 'principal':
      return authenticated(principalMatch(value))
    case 'namespace':
      return authenticated({ kind: 'regex', value: `spiffe://[^/]+/ns/${starRegex(value)}/.*` })
    case 'trustDomain':
      return authenticated({ kind: 'regex', value: `spiffe://${starRegex(value)}/.*` })
    case 'serviceAccount': {
      const [namespace, account] = value.includes('/') ? value.split('/') : [context.namespace, value]
      const path = `/ns/${quoteRegex(namespace!)}/sa/${quoteRegex(account!)}`
      return authenticated({ kind: 'regex', value: `spiffe://[^/]+${path}` })
    }
    case 'ip':
      return { identifier: { case: 'directRemoteIp', value: cidrRange(value) } }
    case 'header':
      return {
        identifier: {
          case: 'header',
          value: headerMatcher(
            value === '*'
              ? { name: header, kind: 'present' }
              : { name: header, kind: 'matches', match: edgeMatch(value, false) },
          ),
        },
      }
    default:
      throw new TypeError(`${attribute} says nothing about who calls`)
  }
}

function permissionOf(attribute: Attribute, values: readonly string[], negative: boolean): Permission {
  const rules = values.map((value) => onePermission(attribute, value))
  const any: Permission = rules.length === 1 ? rules[0]! : { rule: { case: 'orRules', value: { rules } } }
  return negative ? { rule: { case: 'notRule', value: any } } : any
}

function onePermission(attribute: Attribute, value: string): Permission {
  switch (attribute) {
    case 'host':
      return headerPermission(':authority', value, true)
    case 'method':
      return headerPermission(':method', value, false)
    case 'path': {
      const match: StringMatch = isPathTemplate(value)
        ? { kind: 'regex', value: pathTemplateRegex(value) }
        : edgeMatch(value, false)
      return { rule: { case: 'urlPath', value: { rule: { case: 'path', value: stringMatcher(match) } } } }
    }
    case 'port':
      return { rule: { case: 'destinationPort', value: Number(value) } }
    case 'ip':
      return { rule: { case: 'destinationIp', value: cidrRange(value) } }
    default:
      throw new TypeError(`${attribute} says nothing about what is called`)
  }
}

function headerPermission(name: string, value: string, ignoreCase: boolean): Permission {
  const condition =
    value === '*'
      ? ({ name, kind: 'present' } as const)
      : ({ name, kind: 'matches', match: edgeMatch(value, ignoreCase) } as const)
  return { rule: { case: 'header', value: headerMatcher(condition) } }
}

/** "x", "x*", "*x" or "*" (anything but nothing); a star elsewhere is a character like any other. */
function edgeMatch(value: string, ignoreCase: boolean): StringMatch {
  if (value === '*') return { kind: 'regex', value: '.+' }
  if (value.startsWith('*')) return { kind: 'suffix', value: value.slice(1), ignoreCase }
  if (value.endsWith('*')) return { kind: 'prefix', value: value.slice(0, -1), ignoreCase }
  return { kind: 'exact', value, ignoreCase }
}

/** null = any verified identity. */
export function principalMatch(value: string): StringMatch | null {
  if (value === '*') return null
  if (value.startsWith('*')) return { kind: 'suffix', value: value.slice(1), ignoreCase: false }
  if (value.endsWith('*')) return { kind: 'prefix', value: `spiffe://${value.slice(0, -1)}`, ignoreCase: false }
  return { kind: 'exact', value: `spiffe://${value}`, ignoreCase: false }
}

/**
 * What a value means in a mesh whose trust domain has aliases: the same identity in each of them. Principals count when
 * they have five parts; "cluster.local" in one points to whatever the mesh's own trust domain is (Istio).
 */
export function withTrustDomains(
  attribute: Attribute,
  value: string,
  trustDomains: readonly string[],
): readonly string[] {
  if (attribute === 'trustDomain') return trustDomains.includes(value) ? trustDomains : [value]
  const [named = '', ...rest] = value.split('/')
  if (attribute !== 'principal' || rest.length !== 4) return [value]
  if (named !== 'cluster.local' && !trustDomains.some((domain) => covers(named, domain))) return [value]
  // "*.td" already speaks of the domains that it covers.
  return trustDomains.map((domain) =>
    named.startsWith('*') && covers(named, domain) ? value : [domain, ...rest].join('/'),
  )
}

/** A trust domain as policies write it, with one star at an edge. */
function covers(pattern: string, domain: string): boolean {
  if (pattern.startsWith('*')) return domain.endsWith(pattern.slice(1))
  return pattern.endsWith('*') ? domain.startsWith(pattern.slice(0, -1)) : pattern === domain
}

/** Every star is any text within the segment, everything else stands for itself. */
function starRegex(value: string): string {
  return value.split('*').map(quoteRegex).join('[^/]*')
}

function authenticated(match: StringMatch | null): Principal {
  return {
    identifier: { case: 'authenticated', value: match === null ? {} : { principalName: stringMatcher(match) } },
  }
}

function cidrRange(text: string): { addressPrefix: string; prefixLen: number } {
  const cidr = parseCidr(text)
  if (cidr === undefined) throw new TypeError(`"${text}" is not an address block`)
  return { addressPrefix: cidr.address, prefixLen: cidr.prefixLength }
}

function allPrincipals(ids: Principal[]): Principal {
  if (ids.length === 0) return { identifier: { case: 'any', value: true } }
  return ids.length === 1 ? ids[0]! : { identifier: { case: 'andIds', value: { ids } } }
}

function allPermissions(rules: Permission[]): Permission {
  if (rules.length === 0) return { rule: { case: 'any', value: true } }
  return rules.length === 1 ? rules[0]! : { rule: { case: 'andRules', value: { rules } } }
}
