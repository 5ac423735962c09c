import type { Random } from '../../model/clock.ts'
import type { ClusterSpec } from '../../model/cluster.ts'
import type { RouteSpec } from '../../model/route.ts'
import { Attempt } from '../attempt.ts'
import { Call } from '../call.ts'
import type { ClusterRuntime } from '../cluster.ts'
import { Engine } from '../engine.ts'
import type { CallEvents } from '../events.ts'
import type { Exchange } from '../exchange.ts'
import type { HostRuntime } from '../host.ts'
import type { Shadow } from '../mirror.ts'
import { Kind } from '../outcome.ts'
import type { Rejection } from '../rejection.ts'
import type { RetryTree } from '../retry-tree.ts'
import { TICK_MS } from '../time.ts'
import { Dice } from './dice.ts'
import { clusterSpec, listenerSpec, routeSpec, snapshotOf } from './specs.ts'

/** 1970 is so long before the lab's zero. */
export const WALL_OFFSET_MS = 1_700_000_000_000

/** An attempt whose transport is the test. */
export class LabAttempt extends Attempt {
  aborted = false
  override start(): void {}
  override abort(): void {
    this.aborted = true
  }
  headers: Readonly<Record<string, string>> = {}
  /** The whole of an answer. */
  answer(status: number, headers: Readonly<Record<string, string>> = {}, grpcStatus = -1): void {
    this.headers = headers
    this.sent()
    if (this.head(status, grpcStatus)) this.end(Kind.Response, null)
  }
  override responseHeader(name: string): string | undefined {
    return this.headers[name]
  }
}

export class LabExchange implements Exchange {
  readonly method: string
  readonly authority: string
  readonly path = '/'
  readonly idempotent: boolean
  replayable = true
  hedgeable = true
  overriding = false
  tree: RetryTree | null = null
  callerDeadline = Number.POSITIVE_INFINITY
  readonly attempts: LabAttempt[] = []
  rejection: Rejection | null = null
  shadow?: (shadow: Shadow) => void
  call!: Call

  private readonly headers: Readonly<Record<string, string>>

  constructor(authority: string, idempotent: boolean, headers: Readonly<Record<string, string>> = {}) {
    this.authority = authority
    this.headers = headers
    this.idempotent = idempotent
    this.method = idempotent ? 'GET' : 'POST'
  }
  header(name: string): string | undefined {
    return this.headers[name]
  }
  open(call: Call, host: HostRuntime): LabAttempt {
    const attempt = new LabAttempt(call, host)
    this.attempts.push(attempt)
    return attempt
  }
  reject(rejection: Rejection): void {
    this.rejection = rejection
  }
  get latest(): LabAttempt {
    return this.attempts.at(-1)!
  }
}

/** One engine with one service "svc", a clock that stands still, and peers played by the test. */
export class Lab {
  time = 1_000
  readonly engine: Engine
  readonly random: Random

  constructor(events: CallEvents | null = null) {
    this.random = new Dice(1, 1).random
    this.engine = new Engine({
      clock: { now: () => this.time, wall: () => this.time + WALL_OFFSET_MS },
      random: this.random,
      events,
    })
    this.engine.wheel.host = { wake: () => this.engine.wheel.skipTo(this.time), hold: () => undefined }
  }

  static of(cluster: Partial<ClusterSpec>, route: Partial<RouteSpec> = {}, events: CallEvents | null = null): Lab {
    const lab = new Lab(events)
    lab.apply([clusterSpec('c', cluster)], [routeSpec('c', route)])
    return lab
  }

  apply(clusters: readonly ClusterSpec[], routes: readonly RouteSpec[]): void {
    this.engine.apply(snapshotOf([listenerSpec('svc', routes)], clusters))
  }

  get cluster(): ClusterRuntime {
    return this.engine.clusters.get('c')!
  }

  call(
    idempotent = true,
    headers: Readonly<Record<string, string>> = {},
    callerDeadline = Number.POSITIVE_INFINITY,
  ): LabExchange {
    const exchange = this.exchange(idempotent, headers)
    exchange.callerDeadline = callerDeadline
    return this.run(exchange)
  }

  /** A request that is not under way yet. */
  exchange(idempotent = true, headers: Readonly<Record<string, string>> = {}): LabExchange {
    return new LabExchange('svc', idempotent, headers)
  }

  run(exchange: LabExchange): LabExchange {
    const target = this.engine.outbound('svc')!.match(exchange, this.random)
    if (target.kind !== 'route') throw new Error(`no route, but ${target.kind}`)
    exchange.call = new Call(this.engine, exchange, target)
    exchange.call.run()
    return exchange
  }

  /** Time passes without a stall. */
  advance(ms: number): void {
    const end = this.time + ms
    while (this.time < end) {
      this.time = Math.min(this.time + TICK_MS, end)
      this.engine.wheel.tick(this.time)
    }
  }

  /** Calls whose peers answer with `status`, one after the other. */
  answers(count: number, status: number): void {
    for (let i = 0; i < count; i++) this.call().latest.answer(status)
  }
}
