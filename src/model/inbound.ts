import type { Cidr, HeaderMatch, StringMatch } from './match.ts'
import type { FaultSpec, PathMatch, RouteTable } from './route.ts'

/** What a server must enforce on one address; from the LDS resource `inmesh/inbound/IP:PORT`. */
export interface InboundSpec {
  readonly name: string
  readonly tlsMode: 'STRICT' | 'PERMISSIVE' | 'DISABLE'
  /** RBAC filters in the order of the filter chain; all must let a request pass. */
  readonly rbac: readonly RbacSpec[]
  /**
   * Rules that differ by connection; absent = one set for all, this one. Then only what is counted for the whole port
   * (`maxConnections`, `shed`) is taken from here, and a connection that no chain takes is closed.
   */
  readonly chains?: readonly InboundChain[]
  /** Which requests are the application's, and rules of their own; absent = all of them, by `rbac`. */
  readonly routes?: InboundRoutes
  /** How paths are made comparable before policy looks (MeshConfig.pathNormalization). */
  readonly pathNormalization: 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES'
  /** All that match must let a request pass. */
  readonly rateLimits: readonly RateLimitSpec[]
  /** null = the default: see `shedDefaults`. */
  readonly shed: ShedSpec | null
  /** Faults for callers of this server, first match decides; see FaultSpec. */
  readonly faults: readonly InboundFaultSpec[]
  /** Requests under way at one time; Infinity = no limit (Sidecar.inboundConnectionPool, DestinationRule of the own host). */
  readonly maxRequests: number
  /** Connections at one time; Infinity = no limit. */
  readonly maxConnections: number
}

/** What is enforced on some connections of a server (gRFC A36). */
export interface InboundChain {
  /** null = those that no other chain takes. */
  readonly match: ChainMatch | null
  /** STRICT or DISABLE. */
  readonly spec: InboundSpec
}

/** By where a connection goes and where it comes from; null = anywhere. */
export interface ChainMatch {
  readonly destination: Cidr | null
  readonly sourceType: 'ANY' | 'SAME_IP_OR_LOOPBACK' | 'EXTERNAL'
  readonly source: Cidr | null
}

/** Routes of a server (gRFC A36): the virtual host, then the first route that matches, must be `served`. */
export interface InboundRoutes {
  readonly table: RouteTable
  /** RBAC filters of the chain in order, those without rules of their own too: routes may have some for them. */
  readonly filters: readonly { readonly name: string; readonly rules: RbacSpec | null }[]
}

/** Which requests a rule is about; everything given must match. */
export interface InboundMatch {
  readonly path: PathMatch | null
  readonly methods: readonly string[]
  readonly headers: readonly HeaderMatch[]
  /** SPIFFE ids or patterns of callers; empty = all. */
  readonly principals: readonly StringMatch[]
}

/** A token bucket, or one for each value of its key. inmesh.v1.RateLimit. */
export interface RateLimitSpec {
  readonly name: string
  /** Any of them; empty = all requests. */
  readonly match: readonly InboundMatch[]
  /** Whose bucket: one for all, one per verified caller, or one per value of a header (missing = all such requests share one). */
  readonly key:
    | { readonly kind: 'all' }
    | { readonly kind: 'identity' }
    | { readonly kind: 'header'; readonly name: string }
  readonly bucket: BucketSpec
  /** Other buckets for single values of the key (SPIFFE id, header value). */
  readonly overrides: readonly { readonly value: string; readonly bucket: BucketSpec }[]
  /** 400-599, default 429. */
  readonly status: number
  /** Status for callers of gRPC: 8 = RESOURCE_EXHAUSTED, inmesh's own; 14 = UNAVAILABLE, Envoy's default. */
  readonly grpcStatus: number
  /** Flat name, value of headers that refusals carry besides. */
  readonly answerHeaders: readonly string[]
  /** x-ratelimit-limit, -remaining and -reset (draft 03) on every answer. */
  readonly headers: boolean
  /** The bucket is the whole service's: the control plane gives each instance its share. */
  readonly global: boolean
}

export interface BucketSpec {
  readonly maxTokens: number
  readonly tokensPerFill: number
  readonly fillIntervalMs: number
}

/** Adaptive limit of requests under way, by event-loop lag: additive increase, multiplicative decrease. */
export interface ShedSpec {
  readonly enabled: boolean
  /** Infinity = no limit until the event loop is late. */
  readonly initialLimit: number
  readonly minLimit: number
  readonly maxLimit: number
  /** Loop lag in ms above which the limit shrinks. */
  readonly lagMs: number
  /** Emergency: everything but CRITICAL is refused above this lag, ms. */
  readonly emergencyLagMs: number
}

/** When nobody says anything. */
export const shedDefaults = {
  enabled: true,
  initialLimit: Number.POSITIVE_INFINITY,
  minLimit: 2,
  maxLimit: Number.POSITIVE_INFINITY,
  lagMs: 50,
  emergencyLagMs: 500,
} as const satisfies ShedSpec

export interface InboundFaultSpec {
  readonly match: readonly InboundMatch[]
  readonly fault: FaultSpec
}

export const inboundDefaults = {
  pathNormalization: 'BASE',
  rateLimits: [],
  shed: null,
  faults: [],
  maxRequests: Number.POSITIVE_INFINITY,
  maxConnections: Number.POSITIVE_INFINITY,
} as const satisfies Partial<InboundSpec>

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
