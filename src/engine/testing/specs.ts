import {
  type BreakerSpec,
  type ClusterSpec,
  clusterDefaults,
  type EndpointSpec,
  type OutlierSpec,
  outlierDefaults,
} from '../../model/cluster.ts'
import { type RetrySpec, type RouteMatch, type RouteSpec, retryDefaults, routeDefaults } from '../../model/route.ts'
import { emptySnapshot, type ListenerSpec, type Snapshot } from '../../model/snapshot.ts'

// Plain descriptions for tests: everything off, to be switched on by `over`.

export function endpoint(n: number, over: Partial<EndpointSpec> = {}): EndpointSpec {
  return {
    address: `10.0.0.${n}`,
    port: 80,
    weight: 1,
    priority: 0,
    locality: '',
    health: 'HEALTHY',
    tlsMode: 'plaintext',
    spiffeId: null,
    labels: {},
    ...over,
  }
}

export function endpoints(count: number): EndpointSpec[] {
  return Array.from({ length: count }, (_, i) => endpoint(i))
}

const Unlimited = Number.POSITIVE_INFINITY

export const noLimits = {
  maxConnections: Unlimited,
  maxPendingRequests: Unlimited,
  maxRequests: Unlimited,
  maxRetries: Unlimited,
  maxRequestsPerConnection: Unlimited,
}

export function clusterSpec(name: string, over: Partial<ClusterSpec> = {}): ClusterSpec {
  return {
    name,
    kind: 'eds',
    ...clusterDefaults,
    lb: { policy: 'ROUND_ROBIN' },
    connectTimeoutMs: 1_000,
    idleTimeoutMs: 60_000,
    limits: noLimits,
    outlier: null,
    breaker: null,
    retryBudget: null,
    tls: { mode: 'plaintext', allowedIds: [] },
    panicThresholdPercent: 0,
    endpoints: endpoints(2),
    ...over,
  }
}

export function breakerSpec(over: Partial<BreakerSpec> = {}): BreakerSpec {
  return {
    thresholdPercent: 50,
    windowMs: 10_000,
    minimumRequests: 4,
    recoveryMs: 1_000,
    maxRecoveryMs: 4_000,
    halfOpenProbes: 1,
    ...over,
  }
}

export function outlierSpec(over: Partial<OutlierSpec> = {}): OutlierSpec {
  return {
    consecutive5xx: 3,
    consecutiveGatewayErrors: 0,
    intervalMs: 1_000,
    baseEjectionTimeMs: 2_000,
    maxEjectionTimeMs: 10_000,
    maxEjectionPercent: 50,
    ...outlierDefaults,
    ...over,
  }
}

export function retrySpec(over: Partial<RetrySpec> = {}): RetrySpec {
  return {
    retryOn: ['connect-failure', 'refused-stream', 'reset'],
    statusCodes: [503],
    numRetries: 3,
    perTryTimeoutMs: Unlimited,
    baseIntervalMs: 25,
    maxIntervalMs: 250,
    ...retryDefaults,
    retryNonIdempotent: false,
    ...over,
  }
}

export const everyPath: RouteMatch = {
  path: { kind: 'prefix', value: '/', ignoreCase: false },
  headers: [],
  query: [],
  fractionPerMillion: null,
}

export function routeSpec(cluster: string, over: Partial<RouteSpec> = {}): RouteSpec {
  return {
    name: 'default',
    match: everyPath,
    action: { kind: 'forward', clusters: [{ name: cluster, weight: 1 }] },
    timeoutMs: Unlimited,
    timeoutUntilHeaders: false,
    retry: null,
    decidedBy: {},
    ...routeDefaults,
    ...over,
  }
}

export function listenerSpec(name: string, routes: readonly RouteSpec[]): ListenerSpec {
  return { name, routes: { name, virtualHosts: [{ name, domains: ['*'], routes }] } }
}

export function snapshotOf(listeners: readonly ListenerSpec[], clusters: readonly ClusterSpec[]): Snapshot {
  return {
    ...emptySnapshot,
    listeners: new Map(listeners.map((l) => [l.name, l])),
    clusters: new Map(clusters.map((c) => [c.name, c])),
  }
}
