import type { Clock, Random } from '../model/clock.ts'
import type { Attempt } from './attempt.ts'
import type { Breaker } from './breaker.ts'
import type { Budget } from './budget.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { CallEvents } from './events.ts'
import type { Exchange } from './exchange.ts'
import { Kind, kindFacts } from './outcome.ts'
import { type Rejection, rejections, withFlag } from './rejection.ts'
import { retryAfter } from './retry.ts'
import type { Route } from './route.ts'
import { TimerNode, type TimerWheel } from './time.ts'

/** What a call needs of its surroundings. */
export interface CallEnv {
  readonly clock: Clock
  readonly random: Random
  readonly wheel: TimerWheel
  readonly events: CallEvents | null
}

export const Phase = { New: 0, Trying: 1, Backoff: 2, Delivering: 3, Done: 4 } as const
export type Phase = (typeof Phase)[keyof typeof Phase]

/** One request through the mesh: the state machine that every transport drives. It is the timer of its own deadline and back-off. */
export class Call extends TimerNode {
  readonly exchange: Exchange
  readonly route: Route
  readonly cluster: ClusterRuntime
  phase: Phase = Phase.New
  /** Monotonic ms. */
  startedAt = 0
  /** Monotonic ms; Infinity = none. */
  deadline = 0
  attempts = 0
  latest: Attempt | null = null
  hash = 0
  /** What the caller got: a peer's status or our own; 0 = nothing. Final at callEnd, as flag and details. */
  status = 0
  flag = '-'
  details = 'via_upstream'
  rejection: Rejection | null = null
  /** For CallEvents. */
  trace: unknown = null
  /** @internal The breaker whose probe this call is. */
  probe: Breaker | null = null
  /** @internal The next try was paid for by the budget. */
  onBudget = false
  private readonly env: CallEnv
  private entered = 0
  private paid: Budget | null = null
  private settled = true

  constructor(env: CallEnv, exchange: Exchange, route: Route) {
    super()
    this.env = env
    this.exchange = exchange
    this.route = route
    this.cluster = route.cluster
  }

  /** The outbound order, in full. */
  run(): void {
    const { route, env, cluster } = this
    const now = env.clock.now()
    this.startedAt = now
    this.deadline = Math.min(this.exchange.callerDeadline, now + route.timeoutMs)
    env.events?.callStart(this)
    const { policies } = route
    for (; this.entered < policies.length; this.entered++) {
      const refusal = policies[this.entered]!.enter?.(this, now)
      if (refusal !== undefined) {
        this.finish(refusal, null, now)
        return
      }
    }
    cluster.budget.deposit(now)
    this.begin(now)
  }

  /** The caller lost interest. */
  cancel(cause: unknown): void {
    if (this.phase !== Phase.Done) this.finish(rejections.cancelled, cause, this.env.clock.now(), false)
  }

  private begin(now: number): void {
    const { env, route, cluster } = this
    const host = cluster.pick(this.latest, this.hash)
    if (host === null) {
      this.finish(this.spent(rejections.noHealthyHost), null, now)
      return
    }
    const attempt = this.exchange.open(this, host)
    attempt.previous = this.latest
    attempt.number = ++this.attempts
    attempt.startedAt = now
    this.latest = attempt
    this.settled = false
    host.active++
    cluster.active++
    if (this.onBudget) {
      this.onBudget = false
      this.paid = cluster.budget
      cluster.retrying++
    }
    this.phase = Phase.Trying
    env.wheel.arm(this, this.deadline)
    env.wheel.arm(attempt, now + route.tryTimeoutMs)
    env.events?.attemptStart(attempt)
    attempt.start()
  }

  // Reports of the attempt in flight.

  /** @internal */
  onSent(attempt: Attempt): void {
    attempt.wasSent = true
  }

  /** @internal */
  onHead(attempt: Attempt, status: number, grpcStatus: number): boolean {
    if (this.settled || attempt !== this.latest || this.phase !== Phase.Trying) return false
    const now = this.env.clock.now()
    attempt.kind = Kind.Response
    attempt.status = status
    attempt.grpcStatus = grpcStatus
    attempt.elapsedMs = now - attempt.startedAt
    this.learn(attempt, now)
    const delay = retryAfter(this, attempt, now, this.env.random)
    if (delay >= 0) {
      this.settle(attempt, now)
      this.wait(delay, now)
      return false
    }
    attempt.delivered = true
    this.status = status
    if (status >= 500 && this.attempts > 1) this.flag = 'URX'
    this.phase = Phase.Delivering
    this.env.wheel.disarm(attempt)
    if (this.route.timeoutUntilHeaders) this.env.wheel.arm(this, this.exchange.callerDeadline)
    return true
  }

  /** @internal */
  onEnd(attempt: Attempt, kind: Kind, cause: unknown): void {
    if (this.settled || attempt !== this.latest) return
    const now = this.env.clock.now()
    if (attempt.delivered) {
      if (kind === Kind.Response) {
        this.finish(null, null, now)
        return
      }
      attempt.kind = kind
      this.learn(attempt, now)
      this.finish(attempt.rejection ?? kindFacts[kind]!.rejection, cause, now)
      return
    }
    this.failed(attempt, kind, cause, now)
  }

  /** @internal */
  onTryTimeout(attempt: Attempt, now: number): void {
    if (this.settled || attempt !== this.latest) return
    attempt.stalled = this.env.wheel.late
    this.failed(attempt, Kind.TryTimeout, null, now)
  }

  /** @internal The deadline, or the end of a back-off. */
  override fire(now: number): void {
    if (this.phase === Phase.Backoff) {
      // Asked again: the caller's body may have been read since.
      if (this.exchange.replayable) this.begin(now)
      else this.finish(rejections.retryLost, null, now)
      return
    }
    const attempt = this.latest
    if (attempt !== null && !this.settled) {
      attempt.stalled = this.env.wheel.late
      attempt.kind = Kind.TryTimeout
      attempt.elapsedMs = now - attempt.startedAt
      this.learn(attempt, now)
    }
    this.finish(this.spent(rejections.timeout), null, now)
  }

  private failed(attempt: Attempt, kind: Kind, cause: unknown, now: number): void {
    const ours = kind === Kind.TryTimeout
    attempt.kind = kind
    attempt.elapsedMs = now - attempt.startedAt
    this.learn(attempt, now)
    const delay = retryAfter(this, attempt, now, this.env.random)
    this.settle(attempt, now)
    if (ours) attempt.abort()
    if (delay >= 0) this.wait(delay, now)
    else this.finish(this.spent(attempt.rejection ?? kindFacts[kind]!.rejection), cause, now)
  }

  private wait(delay: number, now: number): void {
    if (delay === 0) {
      this.begin(now)
      return
    }
    this.phase = Phase.Backoff
    this.env.wheel.arm(this, now + delay)
  }

  /** Envoy sets URX beside the cause when retries were made and did not help. */
  private spent(rejection: Rejection): Rejection {
    return this.attempts > 1 ? withFlag(rejection, 'URX') : rejection
  }

  private learn(attempt: Attempt, now: number): void {
    for (const policy of this.route.onOutcome) policy.outcome!(this, attempt, now)
  }

  /** The one place where an attempt ends. */
  private settle(attempt: Attempt, now: number): void {
    this.settled = true
    this.env.wheel.disarm(attempt)
    if (this.paid !== null) {
      this.paid.release()
      this.paid = null
      this.cluster.retrying--
    }
    this.cluster.released(attempt.host)
    if (attempt.elapsedMs === 0) attempt.elapsedMs = now - attempt.startedAt
    this.env.events?.attemptEnd(attempt)
  }

  /** Closes first, then tells the exchange: it may start a new call from inside. */
  private finish(rejection: Rejection | null, cause: unknown, now: number, tell = true): void {
    if (this.phase === Phase.Done) return
    this.phase = Phase.Done
    this.env.wheel.disarm(this)
    const attempt = this.latest
    if (attempt !== null && !this.settled) {
      const live =
        rejection === rejections.cancelled || attempt.kind === Kind.Pending || attempt.kind === Kind.TryTimeout
      if (rejection === rejections.cancelled) attempt.kind = Kind.Cancelled
      this.settle(attempt, now)
      if (live && rejection !== null) attempt.abort()
    }
    const { policies } = this.route
    while (this.entered > 0) policies[--this.entered]!.leave?.(this, now)
    if (rejection !== null) {
      this.rejection = rejection
      if (this.status === 0) this.status = rejection.status
      this.flag = rejection.flag
      this.details = rejection.details
    }
    this.env.events?.callEnd(this, now)
    if (rejection !== null && tell) this.exchange.reject(rejection, cause)
  }
}
