import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Attempt } from '../engine/attempt.ts'
import { Call } from '../engine/call.ts'
import { Engine } from '../engine/engine.ts'
import type { Exchange } from '../engine/exchange.ts'
import type { HostRuntime } from '../engine/host.ts'
import { Kind } from '../engine/outcome.ts'
import { type ClusterSpec, clusterDefaults } from '../model/cluster.ts'
import { type RouteSpec, retryDefaults, routeDefaults } from '../model/route.ts'
import { emptySnapshot, type Snapshot } from '../model/snapshot.ts'
import { createTelemetry, type Telemetry } from './telemetry.ts'

const workload = {
  service: 'orders',
  namespace: 'shop',
  serviceAccount: 'orders',
  trustDomain: 'cluster.local',
  labels: { app: 'orders' },
  locality: '',
  instanceId: 'orders-1',
}
const name = 'outbound|80||payments.shop.svc.cluster.local'
const cluster: ClusterSpec = {
  name,
  kind: 'eds',
  ...clusterDefaults,
  lb: { policy: 'ROUND_ROBIN' },
  connectTimeoutMs: 1_000,
  idleTimeoutMs: 1_000,
  limits: {
    maxConnections: 10,
    maxPendingRequests: 10,
    maxRequests: Number.POSITIVE_INFINITY,
    maxRetries: 10,
    maxRequestsPerConnection: Number.POSITIVE_INFINITY,
  },
  outlier: null,
  breaker: null,
  retryBudget: null,
  tls: { mode: 'plaintext', allowedIds: [] },
  panicThresholdPercent: 0,
  endpoints: ['v1', 'v2'].map((version, i) => ({
    address: `10.0.0.${i}`,
    port: 80,
    weight: 1,
    priority: 0,
    locality: '',
    health: 'HEALTHY',
    tlsMode: 'plaintext',
    spiffeId: null,
    labels: { app: 'payments', version },
  })),
}
const route: RouteSpec = {
  name: 'default',
  match: { path: { kind: 'prefix', value: '/', ignoreCase: false }, headers: [], query: [], fractionPerMillion: null },
  action: { kind: 'forward', clusters: [{ name, weight: 1 }] },
  timeoutMs: 5_000,
  timeoutUntilHeaders: true,
  retry: {
    retryOn: ['connect-failure'],
    statusCodes: [503],
    numRetries: 3,
    perTryTimeoutMs: Number.POSITIVE_INFINITY,
    baseIntervalMs: 0,
    maxIntervalMs: 0,
    ...retryDefaults,
    retryNonIdempotent: false,
  },
  decidedBy: {},
  ...routeDefaults,
}
const snapshot = (endpoints: ClusterSpec['endpoints']): Snapshot => ({
  ...emptySnapshot,
  listeners: new Map([
    [
      'payments',
      { name: 'payments', routes: { name: 'r', virtualHosts: [{ name: 'h', domains: ['*'], routes: [route] }] } },
    ],
  ]),
  clusters: new Map([[name, { ...cluster, endpoints }]]),
})

/** Ends as soon as it starts: a status, or 0 = the connection is refused. */
class ScriptedAttempt extends Attempt {
  readonly script: (host: string) => number
  constructor(call: Call, host: HostRuntime, script: (host: string) => number) {
    super(call, host)
    this.script = script
  }
  override start(): void {
    const status = this.script(this.host.spec.address)
    if (status === 0) this.end(Kind.ConnectFailure, null)
    else if (this.call.exchange.protocol === 'grpc') {
      if (!this.head(200, 0)) return
      // Its status comes after its messages.
      this.grpcStatus = status
      this.end(Kind.Response, null)
    } else if (this.head(status, -1)) this.end(Kind.Response, null)
  }
  override abort(): void {}
}

let now = 0
let telemetry: Telemetry
let engine: Engine
beforeEach(() => {
  const clock = { now: () => now++ }
  telemetry = createTelemetry({ workload, clock, sources: {} })
  engine = new Engine({ clock, random: { u32: () => 0 }, events: telemetry.events })
  engine.apply(snapshot(cluster.endpoints))
})
afterEach(() => {
  engine.close()
  telemetry.close()
})

function call(script: (host: string) => number, protocol?: 'grpc'): void {
  const exchange: Exchange = {
    ...(protocol === undefined ? {} : { protocol }),
    method: 'GET',
    authority: 'payments',
    path: '/',
    header: () => undefined,
    idempotent: true,
    replayable: true,
    callerDeadline: Number.POSITIVE_INFINITY,
    open: (of, host) => new ScriptedAttempt(of, host, script),
    reject: () => undefined,
  }
  const target = engine.outbound('payments')!.match(exchange, engine.random)
  if (target.kind !== 'route') throw new Error('no route')
  new Call(engine, exchange, target).run()
}

const rows = async (metric: string) =>
  (await telemetry.scrape()).body
    .split('\n')
    .filter((line) => line.startsWith(metric))
    .map((line) => ({
      version: /destination_version="(.*?)"/.exec(line)?.[1],
      code: /response_code="(.*?)"/.exec(line)?.[1],
      flags: /response_flags="(.*?)"/.exec(line)?.[1],
      count: Number(line.slice(line.lastIndexOf(' ') + 1)),
    }))

describe('the telemetry of calls', () => {
  it("counts calls of gRPC by the status they end with, the mesh's own too", async () => {
    call(() => 5, 'grpc')
    call(() => 0, 'grpc')
    const statuses = (await telemetry.scrape()).body
      .match(/istio_requests_total\{.*/g)
      ?.map((line) => [/grpc_response_status="(.*?)"/.exec(line)?.[1], /response_flags="(.*?)"/.exec(line)?.[1]])
    expect(statuses).toEqual([
      ['5', '-'],
      ['14', 'UF,URX'],
    ])
  })

  it('counts a call once, with the host that answered, however many were tried', async () => {
    call(() => 200)
    call(() => 200)
    call((host) => (host === '10.0.0.0' ? 0 : 200))
    expect(await rows('istio_requests_total')).toEqual([
      { version: 'v1', code: '200', flags: '-', count: 1 },
      { version: 'v2', code: '200', flags: '-', count: 2 },
    ])
    expect(await rows('inmesh_retries_total')).toMatchObject([{ count: 1 }])
    expect((await telemetry.scrape()).body).toContain(
      'inmesh_retries_total{destination_service="payments.shop.svc.cluster.local"} 1',
    )
  })

  it('counts what never got to a host under its flag', async () => {
    engine.apply(snapshot([]))
    call(() => 200)
    expect(await rows('istio_requests_total')).toEqual([{ version: 'unknown', code: '503', flags: 'UH', count: 1 }])
  })

  it('keeps counting where it was when a host leaves and comes back', async () => {
    for (let round = 0; round < 3; round++) {
      engine.apply(snapshot([]))
      engine.apply(snapshot(cluster.endpoints.slice(0, 1).map((endpoint) => ({ ...endpoint }))))
      call(() => 200)
    }
    expect(await rows('istio_requests_total')).toEqual([{ version: 'v1', code: '200', flags: '-', count: 3 }])
  })
})
