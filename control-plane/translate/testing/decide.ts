import { BlockList, isIPv4 } from 'node:net'
import { RE2JS } from 're2js'
import { compilePath } from '../../../src/match/path.ts'
import type { InboundSpec, Permission, Principal } from '../../../src/model/inbound.ts'
import type { Cidr, HeaderMatch, StringMatch } from '../../../src/model/match.ts'
import type { RouteSpec, RouteTable } from '../../../src/model/route.ts'

/** The rules of the model, read in the plainest way: what a translation decides for a request. */

export interface TestRequest {
  method?: string
  path?: string
  host?: string
  headers?: readonly (readonly [string, string])[]
  /** null = plaintext. */
  principal?: string | null
  sourceIp?: string
  destinationIp?: string
  destinationPort?: number
}

export function routeOf(table: RouteTable | undefined, request: TestRequest): RouteSpec | undefined {
  const [path = '/', query = ''] = (request.path ?? '/').split('?')
  return table?.virtualHosts[0]?.routes.find(({ match }) => {
    if (!pathMatches(match.path, path)) return false
    if (!match.headers.every((header) => headerMatches(header, request))) return false
    const params = query.split('&').map((pair) => pair.split('='))
    return match.query.every((wanted) => {
      const found = params.find(([name]) => name === wanted.name)
      if (wanted.kind === 'present') return (found !== undefined) === wanted.present
      return found !== undefined && textMatches(wanted.match, found[1] ?? '')
    })
  })
}

/** "v1:90 v2:10", by subset; "-" = the whole service, "404" = no route. */
export function splitOf(table: RouteTable | undefined, request: TestRequest = {}): string {
  const action = routeOf(table, request)?.action
  if (action === undefined) return '404'
  if (action.kind === 'direct') return String(action.status)
  if (action.kind === 'redirect') return String(action.redirect.status)
  const one = action.clusters.length === 1
  const part = (name: string) => name.split('|')[2] || '-'
  return action.clusters.map(({ name, weight }) => (one ? part(name) : `${part(name)}:${weight}`)).join(' ')
}

/** Whether a server lets a request through, and by which policy it was denied. */
export function verdict(inbound: InboundSpec, request: TestRequest): 'allow' | 'deny' | 'reset' {
  const secure = request.principal !== null
  if (inbound.tlsMode === 'STRICT' && !secure) return 'reset'
  if (inbound.tlsMode === 'DISABLE' && secure) return 'reset'
  for (const { action, policies } of inbound.rbac) {
    // Of a repeated header every value must be allowed, and one is enough to deny.
    const quantifier = action === 'DENY' ? 'some' : 'every'
    const matched = policies.some(
      (policy) =>
        policy.permissions.some((p) => permits(p, request, quantifier)) &&
        policy.principals.some((p) => identifies(p, request, quantifier)),
    )
    if (matched === (action === 'DENY')) return 'deny'
  }
  return 'allow'
}

function pathMatches(match: RouteSpec['match']['path'], path: string): boolean {
  return compilePath(match)(path)
}

export function textMatches(match: StringMatch, text: string): boolean {
  if (match.kind === 'regex') return RE2JS.compile(match.value).testExact(text)
  const [value, given] = match.ignoreCase ? [match.value.toLowerCase(), text.toLowerCase()] : [match.value, text]
  switch (match.kind) {
    case 'exact':
      return given === value
    case 'prefix':
      return given.startsWith(value)
    case 'suffix':
      return given.endsWith(value)
    case 'contains':
      return given.includes(value)
  }
}

function headerMatches(match: HeaderMatch, request: TestRequest, quantifier: 'every' | 'some' = 'every'): boolean {
  const values = (request.headers ?? []).filter(([name]) => name.toLowerCase() === match.name).map(([, v]) => v)
  if (match.name === ':method') values.push(request.method ?? 'GET')
  if (match.name === ':authority') values.push(request.host ?? 'payments')
  if (match.kind === 'present') return (values.length > 0 === match.present) !== match.invert
  if (values.length === 0 && !match.missingAsEmpty) return false
  const text = values.length === 0 ? [''] : values
  if (match.kind === 'range') throw new Error('ranges are not made here')
  return text[quantifier]((value) => textMatches(match.match, value)) !== match.invert
}

function permits(rule: Permission, request: TestRequest, quantifier: 'every' | 'some'): boolean {
  switch (rule.kind) {
    case 'any':
      return true
    case 'and':
      return rule.rules.every((r) => permits(r, request, quantifier))
    case 'or':
      return rule.rules.some((r) => permits(r, request, quantifier))
    case 'not':
      return !permits(rule.rule, request, quantifier)
    case 'header':
      return headerMatches(rule.match, request, quantifier)
    case 'path':
      return textMatches(rule.match, (request.path ?? '/').split('?')[0]!)
    case 'destinationPort':
      return rule.port === (request.destinationPort ?? 8080)
    case 'destinationIp':
      return inside(rule.cidr, request.destinationIp ?? '10.2.3.4')
  }
}

function identifies(rule: Principal, request: TestRequest, quantifier: 'every' | 'some'): boolean {
  const principal = request.principal === undefined ? 'spiffe://cluster.local/ns/web/sa/frontend' : request.principal
  switch (rule.kind) {
    case 'any':
      return true
    case 'and':
      return rule.rules.every((r) => identifies(r, request, quantifier))
    case 'or':
      return rule.rules.some((r) => identifies(r, request, quantifier))
    case 'not':
      return !identifies(rule.rule, request, quantifier)
    case 'authenticated':
      return principal !== null && (rule.match === null || textMatches(rule.match, principal))
    case 'directRemoteIp':
    case 'remoteIp':
      return inside(rule.cidr, request.sourceIp ?? '10.1.0.5')
    case 'header':
      return headerMatches(rule.match, request, quantifier)
    case 'path':
      return textMatches(rule.match, (request.path ?? '/').split('?')[0]!)
  }
}

function inside(cidr: Cidr, address: string): boolean {
  const list = new BlockList()
  list.addSubnet(cidr.address, cidr.prefixLength, isIPv4(cidr.address) ? 'ipv4' : 'ipv6')
  return list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}
