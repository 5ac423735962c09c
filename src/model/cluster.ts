/** A set of endpoints and how they are used; from CDS and EDS. */
export interface ClusterSpec {
  readonly name: string
  /** 'passthrough' = dial what the caller named, with no policy (Envoy ORIGINAL_DST, Istio PassthroughCluster). */
  readonly kind: 'eds' | 'passthrough'
  readonly lb: LbSpec
  /** ms. */
  readonly connectTimeoutMs: number
  /** ms without a byte on a response, or on an idle connection; Infinity = none. */
  readonly idleTimeoutMs: number
  readonly limits: LimitsSpec
  readonly outlier: OutlierSpec | null
  readonly breaker: BreakerSpec | null
  /** null = the engine's default. */
  readonly retryBudget: RetryBudgetSpec | null
  readonly tls: ClusterTls
  /** Under this share of usable hosts all hosts are used, percent; 0 = never (Envoy healthy_panic_threshold). */
  readonly panicThresholdPercent: number
  /** In EDS order; empty = known to have none. */
  readonly endpoints: readonly EndpointSpec[]
}

export type LbSpec =
  | { readonly policy: 'ROUND_ROBIN' | 'RANDOM' }
  /** Power of `choiceCount` choices by active requests. */
  | { readonly policy: 'LEAST_REQUEST'; readonly choiceCount: number }

/** Envoy circuit_breakers.thresholds[DEFAULT]; per client process and cluster. Infinity = no limit. */
export interface LimitsSpec {
  readonly maxConnections: number
  readonly maxPendingRequests: number
  readonly maxRequests: number
  readonly maxRetries: number
  readonly maxRequestsPerConnection: number
}

/** Envoy outlier_detection, as far as it is about consecutive errors. ms and percent. */
export interface OutlierSpec {
  /** 0 = off. */
  readonly consecutive5xx: number
  /** 0 = off. */
  readonly consecutiveGatewayErrors: number
  readonly intervalMs: number
  readonly baseEjectionTimeMs: number
  readonly maxEjectionTimeMs: number
  /** At least one host may always be ejected. */
  readonly maxEjectionPercent: number
}

/** inmesh.v1.ErrorRateBreaker. */
export interface BreakerSpec {
  readonly thresholdPercent: number
  readonly windowMs: number
  readonly minimumRequests: number
  readonly recoveryMs: number
  readonly maxRecoveryMs: number
  readonly halfOpenProbes: number
}

export type RetryBudgetSpec =
  /** inmesh.v1.RetryBudget: share of the calls of a sliding window, plus a floor. */
  | { readonly kind: 'window'; readonly percent: number; readonly windowMs: number; readonly floorPerSecond: number }
  /** Envoy retry_budget: share of the calls that are active right now, at least `minConcurrency`. */
  | { readonly kind: 'concurrency'; readonly percent: number; readonly minConcurrency: number }

export interface ClusterTls {
  /**
   * 'mtls' = every endpoint; 'plaintext' = none; 'auto' = those whose `tlsMode` says so (Istio's auto mTLS).
   * An endpoint that should speak mTLS is never tried in plaintext.
   */
  readonly mode: 'mtls' | 'plaintext' | 'auto'
  /** SPIFFE ids of which the peer must show one; empty = any id of a known trust domain. An endpoint's own id comes first. */
  readonly allowedIds: readonly string[]
}

export type HealthStatus = 'HEALTHY' | 'UNHEALTHY' | 'DRAINING'

export interface EndpointSpec {
  /** IP address as text. */
  readonly address: string
  readonly port: number
  /** >= 1 */
  readonly weight: number
  readonly priority: number
  readonly locality: string
  readonly health: HealthStatus
  readonly tlsMode: 'mtls' | 'plaintext'
  /** The one SPIFFE id that may answer at this address; null = the cluster's `allowedIds` decide. */
  readonly spiffeId: string | null
  readonly labels: Readonly<Record<string, string>>
}
