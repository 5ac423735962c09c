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
  /** null = never retried. */
  readonly retry: RetrySpec | null
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
  /** RE2, whole path without query. */
  | { readonly kind: 'regex'; readonly value: string }

export type QueryMatch = { readonly name: string } & (
  | { readonly kind: 'string'; readonly match: StringMatch }
  | { readonly kind: 'present'; readonly present: boolean }
)

export type RouteAction =
  /** At least one; weights are relative, none is 0. */
  | { readonly kind: 'forward'; readonly clusters: readonly WeightedCluster[] }
  | { readonly kind: 'direct'; readonly status: number; readonly body: string }

export interface WeightedCluster {
  readonly name: string
  readonly weight: number
}

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
