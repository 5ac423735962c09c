import type { StringMatch } from './match.ts'

/** A set of endpoints and how they are used; from CDS and EDS. */
export interface ClusterSpec {
  readonly name: string
  /**
   * 'passthrough' = dial what the caller named, with no policy (Envoy ORIGINAL_DST, Istio PassthroughCluster). 'static': the
   * endpoints came with the cluster. 'strict-dns': every address of every name is an endpoint; 'logical-dns': one host, dialled
   * at the first address of its name for each new connection. The names of DNS clusters are resolved before the engine sees them.
   */
  readonly kind: 'eds' | 'static' | 'strict-dns' | 'logical-dns' | 'passthrough'
  /** Names to resolve; null unless `kind` is a DNS one. */
  readonly dns: DnsSpec | null
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
  readonly priorities: PrioritySpec
  readonly healthChecks: readonly HealthCheckSpec[]
  /** This client goes to some of the hosts only, always the same; null = to all. */
  readonly subset: SubsetSpec | null
  /** Hosts in these states are taken where a session names them (Envoy override_host_status). */
  readonly sessionHosts: readonly HealthStatus[]
  /** What becomes of calls is counted and reported to the control plane (LRS); null = nobody wants to know. */
  readonly loadReporting: LoadReportingSpec | null
  /** What is spoken on connections; h2 costs about 1.6 times as much CPU. */
  readonly protocol: 'http1' | 'h2'
  /** Which object decided each part, for explain. */
  readonly decidedBy: Readonly<Record<string, string>>
  /** In EDS order; empty = known to have none. */
  readonly endpoints: readonly EndpointSpec[]
}

/**
 * Balancing policies of inmesh's own: DestinationRule `loadBalancer.simple` and ServicePolicy `loadBalancer` name them besides
 * Istio's, `ClusterPolicy.balancer` on the wire.
 */
export const ownBalancers = ['PEAK_EWMA'] as const
export type OwnBalancer = (typeof ownBalancers)[number]

export type LbSpec =
  | { readonly policy: 'ROUND_ROBIN'; readonly slowStart?: SlowStartSpec }
  | { readonly policy: 'RANDOM' }
  /** One host for all, until it is out (gRFC A62); the first of the endpoints, or of a shuffled list of them. */
  | { readonly policy: 'PICK_FIRST'; readonly shuffle: boolean }
  /**
   * Equal weights: power of `choiceCount` choices by active requests. Unequal ones: weight / (active + 1)^bias (Envoy
   * LeastRequestLbConfig).
   */
  | {
      readonly policy: 'LEAST_REQUEST'
      readonly choiceCount: number
      /** Default 1. */
      readonly activeRequestBias?: number
      readonly slowStart?: SlowStartSpec
    }
  /** Power of two choices by moving average of latency times active requests (Finagle, Linkerd). */
  | { readonly policy: 'PEAK_EWMA'; readonly decayMs: number; readonly slowStart?: SlowStartSpec }
  | WeightedRoundRobinSpec
  /** `balanceFactorPercent`: no host gets more than this share of the average (consistent hashing with bounded loads); 0 = off. */
  | {
      readonly policy: 'RING_HASH'
      readonly minimumRingSize: number
      readonly maximumRingSize: number
      readonly hashFunction: 'XX_HASH' | 'MURMUR_HASH_2'
      readonly balanceFactorPercent: number
      /** Hash the endpoint's hostname instead of its address (use_hostname_for_hashing). */
      readonly useHostname: boolean
    }
  | {
      readonly policy: 'MAGLEV'
      readonly tableSize: number
      readonly balanceFactorPercent: number
      readonly useHostname: boolean
    }

/** In turn, by what hosts report about their load (gRFC A58, envoy ClientSideWeightedRoundRobin). ms. */
export interface WeightedRoundRobinSpec {
  readonly policy: 'WEIGHTED_ROUND_ROBIN'
  /** How often hosts are asked to report, apart from calls (gRFC A51); null = their answers bring reports. */
  readonly oobReportingMs: number | null
  /** So long a host must have reported before it is believed. */
  readonly blackoutMs: number
  /** What a host said counts for so long. */
  readonly expirationMs: number
  /** How often weights are worked out; at least 100. */
  readonly updateMs: number
  /** Errors per request count as so much utilization. */
  readonly errorPenalty: number
}

/** Of gRFC A58. */
export const weightedRoundRobinDefaults: WeightedRoundRobinSpec = {
  policy: 'WEIGHTED_ROUND_ROBIN',
  oobReportingMs: null,
  blackoutMs: 10_000,
  expirationMs: 180_000,
  updateMs: 1_000,
  errorPenalty: 1,
}

/** New hosts begin with a small share: weight * max(minWeightPercent, (time / window)^(1 / aggression)) (Envoy SlowStartConfig). */
export interface SlowStartSpec {
  readonly windowMs: number
  readonly aggression: number
  readonly minWeightPercent: number
}

/** Whose turn it is among priorities and localities. */
export interface PrioritySpec {
  /** Percent; 140: a level spills over when less than 72 % of it is healthy (ClusterLoadAssignment.Policy). */
  readonly overprovisioningPercent: number
  /** 'none': localities do not count; 'weighted': by their weights and health; 'zone-aware': the own locality first. */
  readonly locality: 'none' | 'weighted' | 'zone-aware'
  /** Zone-aware routing needs so many hosts. */
  readonly minClusterSize: number
  /** Zone-aware routing is tried for this share of calls. */
  readonly routingEnabledPercent: number
}

/** Envoy core.v3.HealthCheck; ms. */
export interface HealthCheckSpec {
  readonly timeoutMs: number
  readonly intervalMs: number
  readonly intervalJitterPercent: number
  /** Interval while no call goes to the cluster. */
  readonly noTrafficIntervalMs: number
  readonly unhealthyThreshold: number
  readonly healthyThreshold: number
  readonly how:
    | {
        readonly kind: 'http'
        readonly path: string
        readonly method: string
        /** '' = the cluster's name. */
        readonly host: string
        /** [start, end) */
        readonly expectedStatuses: readonly { readonly start: number; readonly end: number }[]
      }
    | { readonly kind: 'grpc'; readonly serviceName: string }
    | { readonly kind: 'tcp' }
}

/** Random subsetting (gRFC A68): so many hosts of each priority, or of each locality of it. */
export interface SubsetSpec {
  readonly size: number
  readonly per: 'priority' | 'locality'
}

/** Envoy `lrs_server: self` and `lrs_report_endpoint_metrics` (gRFC A27, A64, A85). */
export interface LoadReportingSpec {
  /** Name of the EDS resource; '' = that of the cluster. */
  readonly serviceName: string
  /** Which parts of hosts' load reports are summed up: "cpu_utilization", "named_metrics.queue", "named_metrics.*"... */
  readonly metrics: readonly string[]
}

export interface DnsSpec {
  readonly refreshMs: number
  /** Addresses of which family are taken; 'any' = IPv4 first. */
  readonly family: 'any' | 'v4' | 'v6'
  /** Templates; `address` is the name to resolve. */
  readonly names: readonly EndpointSpec[]
}

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
  /** Connect failures, resets and timeouts are counted apart from answers (split_external_local_origin_errors). */
  readonly splitLocalOrigin: boolean
  /** 0 = off; counts only when split. */
  readonly consecutiveLocalOrigin: number
  /** null = off. */
  readonly successRate: OutlierRateSpec | null
  /** null = off; ejects hosts of which `thresholdPercent` or more failed in an interval. */
  readonly failurePercentage: OutlierRateSpec | null
  /** Which statuses are errors (Istio outlierDetectionHttpErrorCodes); null = 500 to 599. */
  readonly errorStatuses: readonly { readonly start: number; readonly end: number }[] | null
}

/** Statistics over one interval. */
export interface OutlierRateSpec {
  readonly minimumHosts: number
  readonly requestVolume: number
  /** Success rate: ejected below mean - stdev * factor (Envoy's stdev_factor / 1000). Unused for failure percentage. */
  readonly stdevFactor: number
  /** Failure percentage only. */
  readonly thresholdPercent: number
  /** Share of detections that are enforced. */
  readonly enforcingPercent: number
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
  readonly mode: 'mtls' | 'plaintext' | 'auto' | 'external'
  /** SPIFFE ids of which the peer must show one; empty = any id of a known trust domain. An endpoint's own id comes first. */
  readonly allowedIds: readonly string[]
  /** How TLS is spoken to a service outside the mesh; there when `mode` is 'external'. */
  readonly external?: ExternalTlsSpec
}

/** TLS origination: Istio's SIMPLE and MUTUAL. */
export interface ExternalTlsSpec {
  /** '' = the name of the endpoint. */
  readonly sni: string
  /** Trusted roots; null = those that Node trusts (its own, NODE_EXTRA_CA_CERTS, with --use-system-ca the system's). */
  readonly ca: PemSource | null
  /** The peer's certificate must name one of them; empty = the SNI. */
  readonly subjectAltNames: readonly StringMatch[]
  /** The chain is enough, whomever the certificate names (gRFC A29 without names to match). Default false. */
  readonly anyName?: boolean
  readonly insecureSkipVerify: boolean
  /** Chain and key for MUTUAL. */
  readonly client: { readonly certificate: PemSource; readonly key: PemSource } | null
  /** Offered protocols; empty = none. */
  readonly alpn: readonly string[]
}

/** PEM in the configuration itself, or in a file of this machine, read when connections are made. */
export type PemSource =
  | { readonly kind: 'inline'; readonly pem: string }
  | { readonly kind: 'file'; readonly path: string }

export type HealthStatus = 'HEALTHY' | 'UNHEALTHY' | 'DRAINING'

export interface EndpointSpec {
  /** IP address as text; the name to dial in 'logical-dns' clusters. */
  readonly address: string
  /** Name of the endpoint, for hashing, SNI and health checks; '' = none. */
  readonly hostname?: string
  readonly port: number
  /** >= 1 */
  readonly weight: number
  readonly priority: number
  /** "region/zone/subzone" */
  readonly locality: string
  /** Weight of the locality among those of its priority; 0 = gets nothing where localities are weighted. Default 1. */
  readonly localityWeight?: number
  readonly health: HealthStatus
  readonly tlsMode: 'mtls' | 'plaintext'
  /** The one SPIFFE id that may answer at this address; null = the cluster's `allowedIds` decide. */
  readonly spiffeId: string | null
  readonly labels: Readonly<Record<string, string>>
}

/** What a cluster has besides name, kind and endpoints when nobody says anything. */
export const clusterDefaults = {
  dns: null,
  priorities: {
    overprovisioningPercent: 140,
    locality: 'none',
    minClusterSize: 6,
    routingEnabledPercent: 100,
  },
  subset: null,
  sessionHosts: ['HEALTHY'],
  loadReporting: null,
  healthChecks: [],
  protocol: 'http1',
  decidedBy: {},
} as const satisfies Partial<ClusterSpec>

/** Outlier detection besides consecutive errors: off. */
export const outlierDefaults = {
  splitLocalOrigin: false,
  consecutiveLocalOrigin: 5,
  successRate: null,
  failurePercentage: null,
  errorStatuses: null,
} as const satisfies Partial<OutlierSpec>
