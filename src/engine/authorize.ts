import { compileCidr } from '../match/cidr.ts'
import { compileString, type Test } from '../match/string.ts'
import type { Permission, Principal, RbacPolicy, RbacSpec } from '../model/inbound.ts'
import type { HeaderMatch } from '../model/match.ts'
import type { Peer } from '../model/peer.ts'
import { Rejection } from './rejection.ts'

/** What authorization looks at. */
export interface AuthorizationView {
  readonly method: string
  readonly authority: string
  /** null = plaintext. */
  readonly peer: Peer | null
  readonly remoteAddress: string
  readonly localAddress: string
  readonly localPort: number
  /** Each line of the header by itself; lower-case name. */
  values(name: string): readonly string[]
}

/** undefined = let pass. `path`: normalised, without query. */
export type Authorize = (view: AuthorizationView, path: string) => Rejection | undefined

type Rule = (view: AuthorizationView, path: string) => boolean

const BODY = 'RBAC: access denied'

/** One RBAC filter. Envoy's answer: 403 with the policy that denied in the details. */
export function compileRbac(spec: RbacSpec): Authorize {
  const deny = spec.action === 'DENY'
  const policies = spec.policies.map((policy) => {
    const { permission, principal } = compilePolicy(policy, deny)
    return {
      matches: ((view, path) => permission(view, path) && principal(view, path)) satisfies Rule as Rule,
      denied: denied(policy.name),
    }
  })
  const none = denied('none')
  return (view, path) => {
    for (const policy of policies) if (policy.matches(view, path)) return deny ? policy.denied : undefined
    return deny ? undefined : none
  }
}

/** What a policy says of a request, by its two halves; it matches when both do. */
export interface PolicyVerdict {
  readonly policy: RbacPolicy
  readonly permission: boolean
  readonly principal: boolean
}

/** What each policy of a filter says, by the rules that `compileRbac` compiles; for explain. */
export function explainRbac(spec: RbacSpec, view: AuthorizationView, path: string): readonly PolicyVerdict[] {
  return spec.policies.map((policy) => {
    const { permission, principal } = compilePolicy(policy, spec.action === 'DENY')
    return { policy, permission: permission(view, path), principal: principal(view, path) }
  })
}

function compilePolicy(policy: RbacPolicy, deny: boolean): { permission: Rule; principal: Rule } {
  return {
    permission: any(policy.permissions.map((p) => compilePermission(p, deny))),
    principal: any(policy.principals.map((p) => compilePrincipal(p, deny))),
  }
}

function denied(policy: string): Rejection {
  return new Rejection({
    status: 403,
    grpcStatus: 7,
    flag: '-',
    details: `rbac_access_denied_matched_policy[${policy}]`,
    body: BODY,
  })
}

function any(rules: readonly Rule[]): Rule {
  return rules.length === 1 ? rules[0]! : (view, path) => rules.some((rule) => rule(view, path))
}

function all(rules: readonly Rule[]): Rule {
  return rules.length === 1 ? rules[0]! : (view, path) => rules.every((rule) => rule(view, path))
}

function compilePermission(p: Permission, deny: boolean): Rule {
  switch (p.kind) {
    case 'any':
      return () => true
    case 'and':
      return all(p.rules.map((r) => compilePermission(r, deny)))
    case 'or':
      return any(p.rules.map((r) => compilePermission(r, deny)))
    case 'not': {
      // What is inside counts as its opposite: several values of one header must not slip through a negation.
      const rule = compilePermission(p.rule, !deny)
      return (view, path) => !rule(view, path)
    }
    case 'header':
      return compileHeader(p.match, deny)
    case 'path':
      return pathRule(compileString(p.match))
    case 'destinationPort':
      return (view) => view.localPort === p.port
    case 'destinationIp': {
      const inRange = compileCidr(p.cidr)
      return (view) => inRange(view.localAddress)
    }
  }
}

function compilePrincipal(p: Principal, deny: boolean): Rule {
  switch (p.kind) {
    case 'any':
      return () => true
    case 'and':
      return all(p.rules.map((r) => compilePrincipal(r, deny)))
    case 'or':
      return any(p.rules.map((r) => compilePrincipal(r, deny)))
    case 'not': {
      const rule = compilePrincipal(p.rule, !deny)
      return (view, path) => !rule(view, path)
    }
    case 'authenticated': {
      if (p.match === null) return (view) => view.peer !== null
      const test = compileString(p.match)
      return (view) => view.peer !== null && test(view.peer.spiffeId)
    }
    case 'directRemoteIp':
    case 'remoteIp': {
      // No proxy is trusted to say who is behind it, so both are the socket's peer.
      const inRange = compileCidr(p.cidr)
      return (view) => inRange(view.remoteAddress)
    }
    case 'header':
      return compileHeader(p.match, deny)
    case 'path':
      return pathRule(compileString(p.match))
  }
}

function pathRule(test: Test): Rule {
  return (_view, path) => test(path)
}

/**
 * Each value of a header that was sent several times is judged alone: a DENY matches when one does, an ALLOW when all do
 * (stricter than Envoy, which compares the joined text).
 */
function compileHeader(match: HeaderMatch, deny: boolean): Rule {
  const { name, invert, missingAsEmpty } = match
  if (match.kind === 'present') {
    const wanted = match.present !== invert
    return (view, path) => valuesOf(view, path, name).length > 0 === wanted
  }
  const test: Test =
    match.kind === 'string'
      ? compileString(match.match)
      : (text) => /^-?[0-9]{1,15}$/.test(text) && Number(text) >= match.start && Number(text) < match.end
  return (view, path) => {
    const values = valuesOf(view, path, name)
    if (values.length === 0) return missingAsEmpty && test('') !== invert
    return deny ? values.some((v) => test(v) !== invert) : values.every((v) => test(v) !== invert)
  }
}

function valuesOf(view: AuthorizationView, path: string, name: string): readonly string[] {
  switch (name) {
    case ':method':
      return [view.method]
    case ':authority':
    case 'host':
      return [view.authority]
    case ':path':
      return [path]
    case ':scheme':
      return ['http']
    default:
      return view.values(name)
  }
}
