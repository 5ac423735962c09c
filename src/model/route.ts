import type { BreakerSpec } from './cluster.ts'
import type { RbacSpec } from './inbound.ts'
import type { HeaderMatch, StringMatch } from './match.ts'

/** What a client does with calls to the authorities of one listener; from RDS. Order decides: first match wins. */
export interface RouteTable {
  readonly name: string
  readonly virtualHosts: readonly VirtualHost[]
}

export interface VirtualHost {
  readonly name: string
  /** exact > longest "*suffix" > longest "prefix*" > "*" (Envoy VirtualHost.domains). Lower case. */
  readonly domains: readonly string[]
  readonly routes: readonly RouteSpec[]
}

export interface RouteSpec {
  /** Route name of the rule; "default" when nobody named it. */
  readonly name: string
  readonly match: RouteMatch
  readonly action: RouteAction
  /** Overall limit in ms; Infinity = none. Covers retries and back-off. */
  readonly timeoutMs: number
  /** The limit ends at the response headers; streams then live by the idle timeout of their cluster. */
  readonly timeoutUntilHeaders: boolean
  /** ms without a byte in either direction once the call is under way (Envoy RouteAction.idle_timeout); null = the cluster's. */
  readonly idleTimeoutMs: number | null
  /** null = never retried. */
  readonly retry: RetrySpec | null
  /** null = never hedged. */
  readonly hedge: HedgeSpec | null
  /** Null, or at least one of its lists is not empty. Applied after those of the weighted cluster. */
  readonly headers: HeaderEdits | null
  /** null = path and authority go out as they came. */
  readonly rewrite: RewriteSpec | null
  readonly cors: CorsSpec | null
  readonly fault: FaultSpec | null
  readonly mirrors: readonly MirrorSpec[]
  /** What the cluster's ring or table is asked for; in order, combined as Envoy does. */
  readonly hash: readonly HashSpec[]
  /** For servers: requests that match are the application's (gRFC A36). To clients it is a dead end. */
  readonly served?: true
  /** For servers: rules in the place of those of the RBAC filter of this name; null = none (A41, RBACPerRoute). */
  readonly rbac?: Readonly<Record<string, RbacSpec | null>>
  /** The route says nothing about time, so that its listener may (gRFC A31). */
  readonly timeUnsaid?: true
  /** Sessions stay with the host that answered first; null = they do not; absent = as the listener says. */
  readonly session?: SessionSpec | null | undefined
  /** Error-rate breaker of this route alone, besides the cluster's. */
  readonly breaker: BreakerSpec | null
  /** Identical GETs that are under way at the same time share one answer. null = off, the default. */
  readonly coalesce: CoalesceSpec | null
  /** Class that calls of this route get when neither the caller's request nor the call itself says one; null = DEFAULT. */
  readonly priority: Priority | null
  /** Which object decided each part, for explain. */
  readonly decidedBy: Readonly<Record<string, string>>
}

export interface RouteMatch {
  readonly path: PathMatch
  /** All must match. */
  readonly headers: readonly HeaderMatch[]
  /** All must match; only the first value of a parameter counts, not URL-decoded. */
  readonly query: readonly QueryMatch[]
  /** Share of requests that may match, in millionths; null = all. */
  readonly fractionPerMillion: number | null
}

export type PathMatch =
  /** Raw string prefix: "/foo" matches "/foobar". */
  | { readonly kind: 'prefix'; readonly value: string; readonly ignoreCase: boolean }
  | { readonly kind: 'exact'; readonly value: string; readonly ignoreCase: boolean }
  /** Whole segments: "/foo" matches "/foo" and "/foo/bar", not "/foobar" (path_separated_prefix, Gateway API PathPrefix). */
  | { readonly kind: 'segments'; readonly value: string; readonly ignoreCase: boolean }
  /** RE2, whole path without query. */
  | { readonly kind: 'regex'; readonly value: string }

export type QueryMatch = { readonly name: string } & (
  | { readonly kind: 'string'; readonly match: StringMatch }
  | { readonly kind: 'present'; readonly present: boolean }
)

export type RouteAction =
  /** At least one; weights are relative, none is 0. */
  | {
      readonly kind: 'forward'
      readonly clusters: readonly WeightedCluster[]
      /** Answer while a cluster of it does not exist; 503 by default, 500 for routes of the Gateway API. */
      readonly clusterNotFoundStatus?: number
    }
  | { readonly kind: 'direct'; readonly status: number; readonly body: string }
  | { readonly kind: 'redirect'; readonly redirect: RedirectSpec }

export interface WeightedCluster {
  readonly name: string
  readonly weight: number
  readonly headers?: HeaderEdits
  /** Instead of the route's; null = none. */
  readonly fault?: FaultSpec | null
  /** Replaces the authority for this destination; absent = the route's rewrite decides. */
  readonly authority?: string
}

/** Edits in the order in which they act (Envoy: within one level remove, then what is set or added). */
export interface HeaderEdits {
  readonly request: readonly HeaderEdit[]
  readonly response: readonly HeaderEdit[]
}

/** `name` in lower case, never a pseudo header nor `host`. Values are Envoy formats: `%REQ(x)%`, `%%` = one percent sign. */
export type HeaderEdit =
  | { readonly kind: 'remove'; readonly name: string }
  | {
      /** Envoy's append_action: OVERWRITE_IF_EXISTS_OR_ADD, APPEND_IF_EXISTS_OR_ADD, ADD_IF_ABSENT, OVERWRITE_IF_EXISTS. */
      readonly kind: 'set' | 'append' | 'add-if-absent' | 'overwrite-if-exists'
      readonly name: string
      readonly value: string
      /** Also when the value is empty once formatted. */
      readonly keepEmpty: boolean
    }

export interface RewriteSpec {
  readonly path: PathRewrite | null
  /** New authority as the peer sees it; null = unchanged. The host is not chosen by it. */
  readonly authority: string | null
}

/** The query stays. The old path is kept in `x-envoy-original-path`. */
export type PathRewrite =
  /** What the route's own prefix, exact or path-separated match matched is replaced; with an exact or regex match: the whole path. */
  | { readonly kind: 'prefix'; readonly value: string }
  | { readonly kind: 'full'; readonly value: string }
  /** RE2; `\1` in the substitution is a group, `\0` the match. Every match in the path is replaced. */
  | { readonly kind: 'regex'; readonly pattern: string; readonly substitution: string }

/** Statuses that a redirect may have. */
export const redirectCodes = [301, 302, 303, 307, 308] as const

/** Envoy RedirectAction. Absent parts are the request's own; ports 80 of http and 443 of https are not written out. */
export interface RedirectSpec {
  readonly status: (typeof redirectCodes)[number]
  readonly scheme: 'http' | 'https' | null
  readonly host: string | null
  readonly port: number | null
  readonly path: PathRewrite | null
  readonly stripQuery: boolean
}

export interface CorsSpec {
  readonly allowOrigins: readonly StringMatch[]
  readonly allowMethods: string
  readonly allowHeaders: string
  readonly exposeHeaders: string
  /** Seconds as text; '' = not said. */
  readonly maxAge: string
  readonly allowCredentials: boolean
  /** Preflights whose origin matches nothing go to the peer (Istio's FORWARD), or are answered here without CORS headers. */
  readonly forwardUnmatchedPreflights: boolean
}

/** Envoy HTTPFault. Delay and abort are drawn independently, the delay comes first; an injected abort is never retried. */
export interface FaultSpec {
  readonly delay: FaultDelay | null
  readonly abort: FaultAbort | null
  /** All must match. */
  readonly headers: readonly HeaderMatch[]
  /** Faults at one time in this process; Infinity = no limit. */
  readonly maxActive: number
}

/** `ms` null = `x-envoy-fault-delay-request` of the request says it (and its -percentage header lowers the share). */
export interface FaultDelay {
  readonly ms: number | null
  readonly perMillion: number
}

export interface FaultAbort {
  readonly perMillion: number
  readonly how:
    | { readonly kind: 'http'; readonly status: number }
    | { readonly kind: 'grpc'; readonly code: number }
    /** `x-envoy-fault-abort-request` or `x-envoy-fault-abort-grpc-request` says it. */
    | { readonly kind: 'header' }
}

export interface MirrorSpec {
  readonly cluster: string
  readonly perMillion: number
  /** The shadow's authority gets "-shadow" (before the port). */
  readonly shadowSuffix: boolean
  /** Compare status, header names and a hash of the body with the real answer and report what differs. */
  readonly compare: boolean
  /** Requests with larger bodies are not mirrored. Bytes. */
  readonly maxBodyBytes: number
}

/** Envoy RouteAction.hash_policy. `terminal`: when it gives a value, those after it do not count. */
export type HashSpec = { readonly terminal: boolean } & (
  | {
      readonly kind: 'header'
      readonly name: string
      /** What is hashed is the value after all matches were replaced (Envoy regex_rewrite). */
      readonly rewrite?: { readonly pattern: string; readonly substitution: string }
    }
  /** Of all calls of this process alike (gRFC A42, io.grpc.channel_id). */
  | { readonly kind: 'process' }
  /** `ttlMs` null = never made here; 0 = a session cookie is made when the request has none. */
  | { readonly kind: 'cookie'; readonly name: string; readonly ttlMs: number | null; readonly path: string }
  | { readonly kind: 'source-ip' }
  | { readonly kind: 'query'; readonly name: string }
)

/**
 * A further try beside the first one when that has not answered in time; the first good answer wins and the others are
 * cancelled. Only what may be repeated (reliability rules of retries) is hedged, and each hedge draws on the retry budget.
 */
export interface HedgeSpec {
  /** ms until the next try is added; null = `percentile` decides. */
  readonly delayMs: number | null
  /** Of the cluster's recent latencies, e.g. 95; null = `delayMs` decides. */
  readonly percentile: number | null
  /** Tries besides the first. */
  readonly maxHedges: number
  /** A per-try timeout starts the next try and lets the late one go on (Envoy hedge_on_per_try_timeout). */
  readonly onTryTimeout: boolean
}

/** Envoy stateful_session with a cookie that names the host (gRFC A55). */
export interface SessionSpec {
  readonly cookie: string
  /** 0 = until the client forgets it. */
  readonly ttlMs: number
  /** Requests for other paths have nothing to do with it; '' = all of them. */
  readonly path: string
}

export interface CoalesceSpec {
  /** Headers whose values must be equal besides method, authority and path; lower case. */
  readonly varyHeaders: readonly string[]
  /** Answers larger than this are not shared. Bytes. */
  readonly maxBodyBytes: number
}

/** Classes of work, in the order in which they are shed; travel in `x-inmesh-priority`. */
export const priorities = ['SHEDDABLE', 'DEFAULT', 'CRITICAL'] as const
export type Priority = (typeof priorities)[number]

export interface RetrySpec {
  /** Envoy's retry_on words, known ones only. */
  readonly retryOn: readonly RetryOn[]
  /** Response statuses that are retried besides (retriable_status_codes and numbers in Istio's retryOn). */
  readonly statusCodes: readonly number[]
  /** Retries, so at most 1 + this many tries. */
  readonly numRetries: number
  /** ms; Infinity = none. */
  readonly perTryTimeoutMs: number
  /** Back-off N is uniform in [0, (2^N - 1) * base), capped at max (Envoy RetryBackOff). ms. */
  readonly baseIntervalMs: number
  readonly maxIntervalMs: number
  /** Answers with one of these headers are retried where `retriable-headers` is asked for. */
  readonly retriableHeaders: readonly HeaderMatch[]
  /** Only requests with one of these headers are retried; empty = all. */
  readonly retriableRequestHeaders: readonly HeaderMatch[]
  /** Where an answer says when to come back (Envoy rate_limited_retry_back_off); `Retry-After` of 429 and 503 always counts. */
  readonly resetHeaders: readonly { readonly name: string; readonly format: 'SECONDS' | 'UNIX_TIMESTAMP' }[]
  /** Longest wait that an answer may ask for, ms. */
  readonly maxResetIntervalMs: number
  /** Hosts that were tried are avoided (retry_host_predicate previous_hosts). Default true; false with consistent hashing. */
  readonly avoidPreviousHosts: boolean
  /** Avoid localities or priorities that were tried, after so many tries (retry_priority previous_priorities); null = no. */
  readonly previousPrioritiesFrequency: number | null
  /** Bodies up to this size are kept to be sent again. Bytes; default 65,536. */
  readonly maxBodyBytes: number
  /** Repeat also what is neither idempotent nor provably unprocessed. Default false: the method gate. */
  readonly retryNonIdempotent: boolean
}

export const retryOnWords = [
  '5xx',
  'gateway-error',
  'reset',
  'reset-before-request',
  'connect-failure',
  'envoy-ratelimited',
  'retriable-4xx',
  'refused-stream',
  'retriable-status-codes',
  'retriable-headers',
  'http3-post-connect-failure',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
] as const
export type RetryOn = (typeof retryOnWords)[number]

/** What a route has besides match and action when nobody says anything. */
export const routeDefaults = {
  idleTimeoutMs: null,
  hedge: null,
  headers: null,
  rewrite: null,
  cors: null,
  fault: null,
  mirrors: [],
  hash: [],
  breaker: null,
  coalesce: null,
  priority: null,
} as const satisfies Partial<RouteSpec>

/** What a retry policy has besides conditions, count and back-off when nobody says anything. */
export const retryDefaults = {
  retriableHeaders: [],
  retriableRequestHeaders: [],
  resetHeaders: [],
  maxResetIntervalMs: 300_000,
  avoidPreviousHosts: true,
  previousPrioritiesFrequency: null,
  maxBodyBytes: 65_536,
} as const satisfies Partial<RetrySpec>
