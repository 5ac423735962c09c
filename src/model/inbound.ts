import type { Cidr, HeaderMatch, StringMatch } from './match.ts'

/** What a server must enforce on one address; from the LDS resource `inmesh/inbound/IP:PORT`. */
export interface InboundSpec {
  readonly name: string
  readonly tlsMode: 'STRICT' | 'PERMISSIVE' | 'DISABLE'
  /** RBAC filters in the order of the filter chain; all must let a request pass. */
  readonly rbac: readonly RbacSpec[]
}

/** envoy.extensions.filters.http.rbac.v3.RBAC with `rules` set; LOG and absent rules never come this far. */
export interface RbacSpec {
  readonly filterName: string
  readonly action: 'ALLOW' | 'DENY'
  /** In name order. Matches when any policy matches. */
  readonly policies: readonly RbacPolicy[]
}

/** Matches when any permission and any principal match. */
export interface RbacPolicy {
  /** Like "ns[default]-policy[payments]-rule[0]". */
  readonly name: string
  readonly permissions: readonly Permission[]
  readonly principals: readonly Principal[]
}

export type Permission =
  | { readonly kind: 'any' }
  | { readonly kind: 'and' | 'or'; readonly rules: readonly Permission[] }
  | { readonly kind: 'not'; readonly rule: Permission }
  | { readonly kind: 'header'; readonly match: HeaderMatch }
  /** Path without query and fragment. */
  | { readonly kind: 'path'; readonly match: StringMatch }
  | { readonly kind: 'destinationPort'; readonly port: number }
  | { readonly kind: 'destinationIp'; readonly cidr: Cidr }

export type Principal =
  | { readonly kind: 'any' }
  | { readonly kind: 'and' | 'or'; readonly rules: readonly Principal[] }
  | { readonly kind: 'not'; readonly rule: Principal }
  /** The verified SPIFFE id, with `spiffe://`; null = any verified peer. Never matches without mTLS. */
  | { readonly kind: 'authenticated'; readonly match: StringMatch | null }
  /** The socket's peer. */
  | { readonly kind: 'directRemoteIp'; readonly cidr: Cidr }
  | { readonly kind: 'remoteIp'; readonly cidr: Cidr }
  | { readonly kind: 'header'; readonly match: HeaderMatch }
  | { readonly kind: 'path'; readonly match: StringMatch }
