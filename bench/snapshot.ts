import { type ClusterSpec, clusterDefaults, type EndpointSpec, outlierDefaults } from '../src/model/cluster.ts'
import { type RouteSpec, retryDefaults, routeDefaults } from '../src/model/route.ts'
import { emptySnapshot, type ListenerSpec, type Snapshot } from '../src/model/snapshot.ts'
import { addresses } from './protocol.ts'

const CLUSTER = 'outbound|80||payments.default.svc.cluster.local'

/**
 * What a control plane would send with everything switched on: six routes of which the last one matches, three endpoints,
 * retries, budget, timeouts, outlier detection, breakers, request limit, header edits, rewrite, CORS, fault, mirror, hedging. No control plane takes part in the benchmark.
 */
export function benchSnapshot(port: number, serverId: string | null): Snapshot {
  return snapshot(clusterSpec(port, serverId), routes())
}

/** The same endpoints with nothing else: one route, no limits. */
export function plainSnapshot(port: number): Snapshot {
  const unlimited = Number.POSITIVE_INFINITY
  const cluster: ClusterSpec = {
    ...clusterSpec(port, null),
    lb: { policy: 'RANDOM' },
    limits: {
      maxConnections: 1_024,
      maxPendingRequests: unlimited,
      maxRequests: unlimited,
      maxRetries: unlimited,
      maxRequestsPerConnection: unlimited,
    },
    outlier: null,
    breaker: null,
    retryBudget: null,
  }
  const [route] = routes().slice(-1)
  return snapshot(cluster, [{ ...route!, ...routeDefaults, retry: null, timeoutMs: unlimited }])
}

export const serviceNames = Array.from({ length: 1_000 }, (_, i) => `service-${i}`)

/** A thousand services with routes of their own, all of which lead to the same endpoints. */
export function manyRoutes(port: number): Snapshot {
  const one = benchSnapshot(port, null)
  const listeners = new Map<string, ListenerSpec>()
  for (const name of serviceNames) {
    const virtualHosts = [{ name, domains: [name, `${name}:80`], routes: routes() }]
    listeners.set(name, { name, routes: { name, virtualHosts } })
  }
  return { ...one, listeners }
}

function snapshot(cluster: ClusterSpec, all: readonly RouteSpec[]): Snapshot {
  return {
    ...emptySnapshot,
    sequence: 1,
    clusters: new Map([[cluster.name, cluster]]),
    listeners: new Map([
      [
        'payments',
        {
          name: 'payments',
          routes: {
            name: CLUSTER,
            virtualHosts: [{ name: 'payments', domains: ['payments', 'payments:80'], routes: all }],
          },
        },
      ],
    ]),
  }
}

/** What else a route can ask for; mirror, fault and hedge are there and (as good as) never happen. */
const everything: Partial<RouteSpec> = {
  idleTimeoutMs: 60_000,
  hedge: { delayMs: 2_000, percentile: null, maxHedges: 1, onTryTimeout: false },
  headers: {
    request: [
      { kind: 'remove', name: 'x-internal' },
      { kind: 'set', name: 'x-tenant', value: 'shop-18', keepEmpty: false },
    ],
    response: [],
  },
  rewrite: { path: { kind: 'prefix', value: '/' }, authority: null },
  cors: {
    allowOrigins: [{ kind: 'exact', value: 'https://shop.example', ignoreCase: false }],
    allowMethods: 'GET,POST',
    allowHeaders: '',
    exposeHeaders: '',
    maxAge: '',
    allowCredentials: false,
    forwardUnmatchedPreflights: true,
  },
  fault: {
    delay: { ms: 100, perMillion: 1 },
    abort: { how: { kind: 'http', status: 500 }, perMillion: 1 },
    headers: [],
    maxActive: Number.POSITIVE_INFINITY,
  },
  mirrors: [{ cluster: CLUSTER, perMillion: 1, shadowSuffix: true, compare: false, maxBodyBytes: 65_536 }],
  breaker: {
    thresholdPercent: 50,
    windowMs: 30_000,
    minimumRequests: 20,
    recoveryMs: 5_000,
    maxRecoveryMs: 30_000,
    halfOpenProbes: 1,
  },
  priority: 'DEFAULT',
}

function routes(): RouteSpec[] {
  const route = (name: string, match: Partial<RouteSpec['match']>): RouteSpec => ({
    name,
    match: {
      path: { kind: 'prefix', value: '/', ignoreCase: false },
      headers: [],
      query: [],
      fractionPerMillion: null,
      ...match,
    },
    action: { kind: 'forward', clusters: [{ name: CLUSTER, weight: 1 }] },
    timeoutMs: 5_000,
    timeoutUntilHeaders: true,
    retry: {
      retryOn: ['connect-failure', 'retriable-4xx', 'retriable-status-codes'],
      statusCodes: [503],
      numRetries: 3,
      perTryTimeoutMs: 1_000,
      baseIntervalMs: 25,
      maxIntervalMs: 250,
      ...retryDefaults,
      retryNonIdempotent: false,
    },
    decidedBy: {},
    ...routeDefaults,
    ...everything,
  })
  const header = (name: string, value: string): RouteSpec['match']['headers'] => [
    {
      name,
      invert: false,
      missingAsEmpty: false,
      kind: 'string',
      match: { kind: 'exact', value, ignoreCase: false },
    },
  ]
  return [
    route('admin', { path: { kind: 'prefix', value: '/admin/', ignoreCase: false } }),
    route('health', { path: { kind: 'exact', value: '/healthz', ignoreCase: false } }),
    route('versioned', { path: { kind: 'regex', value: '/v[0-9]+/legacy/.*' } }),
    route('canary', { headers: header('x-canary', 'true') }),
    route('beta', { path: { kind: 'prefix', value: '/beta/', ignoreCase: false }, headers: header('x-beta', '1') }),
    route('default', {}),
  ]
}

function clusterSpec(port: number, serverId: string | null): ClusterSpec {
  const endpoint = (address: string): EndpointSpec => ({
    address,
    port,
    weight: 1,
    priority: 0,
    locality: '',
    health: 'HEALTHY',
    tlsMode: serverId === null ? 'plaintext' : 'mtls',
    spiffeId: serverId,
    labels: { app: 'payments', version: 'v1' },
  })
  return {
    name: CLUSTER,
    kind: 'eds',
    ...clusterDefaults,
    lb: { policy: 'LEAST_REQUEST', choiceCount: 2 },
    connectTimeoutMs: 1_000,
    idleTimeoutMs: 300_000,
    limits: {
      maxConnections: 1_024,
      maxPendingRequests: 1_024,
      maxRequests: 1_024,
      maxRetries: 1_024,
      maxRequestsPerConnection: Number.POSITIVE_INFINITY,
    },
    outlier: {
      consecutive5xx: 5,
      consecutiveGatewayErrors: 5,
      intervalMs: 10_000,
      baseEjectionTimeMs: 30_000,
      maxEjectionTimeMs: 300_000,
      maxEjectionPercent: 50,
      ...outlierDefaults,
    },
    breaker: {
      thresholdPercent: 50,
      windowMs: 30_000,
      minimumRequests: 20,
      recoveryMs: 5_000,
      maxRecoveryMs: 30_000,
      halfOpenProbes: 1,
    },
    retryBudget: { kind: 'window', percent: 20, windowMs: 10_000, floorPerSecond: 1 },
    tls: { mode: 'auto', allowedIds: [] },
    panicThresholdPercent: 0,
    endpoints: addresses.map(endpoint),
  }
}
