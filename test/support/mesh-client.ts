/** A mesh client without control plane: snapshots made by hand, real engine, real dispatcher. */
import { type Dispatcher, errors } from 'undici'
import { Engine } from '../../src/engine/engine.ts'
import type { CallEvents } from '../../src/engine/events.ts'
import { systemRandom } from '../../src/engine/random.ts'
import { MeshDispatcher, type MeshDispatcherOptions } from '../../src/http/dispatcher.ts'
import type { IdentityState } from '../../src/identity/identity-state.ts'
import { systemClock } from '../../src/model/clock.ts'
import { type ClusterSpec, clusterDefaults, type EndpointSpec, type LimitsSpec } from '../../src/model/cluster.ts'
import { type RetrySpec, type RouteSpec, retryDefaults, routeDefaults } from '../../src/model/route.ts'
import { emptySnapshot, type ListenerSpec, type Snapshot } from '../../src/model/snapshot.ts'

const unlimited: LimitsSpec = {
  maxConnections: Number.POSITIVE_INFINITY,
  maxPendingRequests: Number.POSITIVE_INFINITY,
  maxRequests: Number.POSITIVE_INFINITY,
  maxRetries: Number.POSITIVE_INFINITY,
  maxRequestsPerConnection: Number.POSITIVE_INFINITY,
}

export const noRetry: RetrySpec = {
  retryOn: [],
  statusCodes: [],
  numRetries: 0,
  perTryTimeoutMs: Number.POSITIVE_INFINITY,
  baseIntervalMs: 1,
  maxIntervalMs: 1,
  ...retryDefaults,
  retryNonIdempotent: false,
}

/** Everything that Envoy can retry, three times, at once. */
export const retryAll: RetrySpec = {
  ...noRetry,
  retryOn: ['5xx', 'reset', 'connect-failure', 'refused-stream'],
  numRetries: 3,
}

export interface ServiceSpec {
  /** Ports of 127.0.0.1, or whole endpoints. */
  endpoints: readonly (number | (Partial<EndpointSpec> & { port: number }))[]
  retry?: Partial<RetrySpec>
  route?: Partial<RouteSpec>
  cluster?: Partial<Omit<ClusterSpec, 'limits' | 'endpoints'>>
  limits?: Partial<LimitsSpec>
}

/** A listener and a cluster per service, by authority. */
export function snapshotOf(services: Readonly<Record<string, ServiceSpec>>, more: Partial<Snapshot> = {}): Snapshot {
  const listeners = new Map<string, ListenerSpec>()
  const clusters = new Map<string, ClusterSpec>()
  for (const [authority, service] of Object.entries(services)) {
    const name = `outbound|80||${authority}.default.svc.cluster.local`
    clusters.set(name, {
      name,
      kind: 'eds',
      ...clusterDefaults,
      lb: { policy: 'ROUND_ROBIN' },
      // Far from what a busy machine takes for its handshakes: what tests of timeouts need they say.
      connectTimeoutMs: 10_000,
      idleTimeoutMs: 300_000,
      outlier: null,
      breaker: null,
      retryBudget: { kind: 'window', percent: 100, windowMs: 10_000, floorPerSecond: 1_000 },
      tls: { mode: 'auto', allowedIds: [] },
      panicThresholdPercent: 0,
      ...service.cluster,
      limits: { ...unlimited, ...service.limits },
      endpoints: service.endpoints.map(endpointOf),
    })
    const route: RouteSpec = {
      name: 'default',
      match: {
        path: { kind: 'prefix', value: '/', ignoreCase: false },
        headers: [],
        query: [],
        fractionPerMillion: null,
      },
      action: { kind: 'forward', clusters: [{ name, weight: 1 }] },
      timeoutMs: 15_000,
      timeoutUntilHeaders: true,
      retry: service.retry === undefined ? null : { ...retryAll, ...service.retry },
      decidedBy: {},
      ...routeDefaults,
      ...service.route,
    }
    const virtualHosts = [{ name: authority, domains: ['*'], routes: [route] }]
    listeners.set(authority, { name: authority, routes: { name, virtualHosts } })
  }
  return { ...emptySnapshot, sequence: 1, listeners, clusters, ...more }
}

function endpointOf(given: ServiceSpec['endpoints'][number]): EndpointSpec {
  const endpoint = typeof given === 'number' ? { port: given } : given
  return {
    address: '127.0.0.1',
    weight: 1,
    priority: 0,
    locality: '',
    health: 'HEALTHY',
    tlsMode: 'plaintext',
    spiffeId: null,
    labels: {},
    ...endpoint,
  }
}

export interface TestClient {
  readonly engine: Engine
  readonly dispatcher: MeshDispatcher
  /** What the dispatcher asked configuration for. */
  readonly wanted: string[]
  apply(services: Readonly<Record<string, ServiceSpec>>, more?: Partial<Snapshot>): void
  close(): Promise<void>
}

export function meshClient(
  services: Readonly<Record<string, ServiceSpec>>,
  options: Partial<MeshDispatcherOptions> & { events?: CallEvents; identity?: IdentityState } = {},
): TestClient {
  const engine = new Engine({ clock: systemClock, random: systemRandom, events: options.events ?? null })
  const wanted: string[] = []
  const dispatcher = new MeshDispatcher({
    engine,
    clock: systemClock,
    identity: null,
    want: (authority) => wanted.push(authority),
    passthrough: null,
    ...options,
  })
  engine.apply(snapshotOf(services))
  return {
    engine,
    dispatcher,
    wanted,
    apply: (next, more) => engine.apply(snapshotOf(next, more)),
    async close() {
      await dispatcher.destroy(new errors.ClientDestroyedError())
      engine.close()
    },
  }
}

export interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

/** One call by undici's request(). */
export async function call(
  dispatcher: Dispatcher,
  url: string,
  options: Partial<Dispatcher.RequestOptions> = {},
): Promise<Answer> {
  const { origin, pathname, search } = new URL(url)
  const response = await dispatcher.request({ origin, path: pathname + search, method: 'GET', ...options })
  return { status: response.statusCode, headers: response.headers, text: await response.body.text() }
}
