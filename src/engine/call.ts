import type { Hash64 } from '../match/hash64.ts'
import type { Clock, Random } from '../model/clock.ts'
import type { Attempt } from './attempt.ts'
import type { Budget } from './budget.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { CallEvents } from './events.ts'
import type { Exchange } from './exchange.ts'
import { Kind, kindFacts } from './outcome.ts'
import { HOLD } from './policy.ts'
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

/** Asking: a gate holds it. Held: it waits for `holdMs`, or for the end of a back-off. */
export const Phase = { New: 0, Trying: 1, Backoff: 2, Delivering: 3, Done: 4, Asking: 5, Held: 6 } as const
export type Phase = (typeof Phase)[keyof typeof Phase]

/** One request through the mesh: the state machine that every transport drives. It is the timer of its own deadline and back-off. */
export class Call extends TimerNode {
  readonly env: CallEnv
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
  /** Of the request, for consistent hashing; null = none. */
  hash: Hash64 | null = null
  /** Set-Cookie lines that the caller gets (hash policy); null = none. */
  cookies: string[] | null = null
  /** ms to wait before the first attempt; gates may raise it (an injected delay). */
  holdMs = 0
  /** Flag DI besides what else is to be said. */
  delayInjected = false
  /** What the caller got: a peer's status or our own; 0 = nothing. Final at callEnd, as flag and details. */
  status = 0
  flag = '-'
  details = 'via_upstream'
  rejection: Rejection | null = null
  /** For CallEvents. */
  trace: unknown = null
  /** @internal What the retry that was decided draws on; null = it is for free. */
  paid: Budget | null = null
  private entered = 0
  /** A retry of it waits or is in flight. */
  private retrying = false
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
    const { route, env } = this
    const now = env.clock.now()
    this.startedAt = now
    this.deadline = Math.min(this.exchange.callerDeadline, now + route.timeoutMs)
    env.events?.callStart(this)
    if (now >= this.deadline) {
      this.finish(rejections.timeout, null, now)
      return
    }
    this.ask(now)
  }

  /** A gate that said HOLD has its answer. */
  resume(refusal: Rejection | undefined): void {
    if (this.phase !== Phase.Asking) return
    const now = this.env.clock.now()
    if (refusal !== undefined) {
      this.finish(refusal, null, now)
      return
    }
    this.entered++
    this.ask(now)
  }

  /** The gates that were not asked yet, then the first attempt. */
  private ask(now: number): void {
    const { route, cluster } = this
    const { policies } = route
    for (; this.entered < policies.length; this.entered++) {
      const refusal = policies[this.entered]!.enter?.(this, now)
      if (refusal === undefined) continue
      if (refusal === HOLD) {
        this.phase = Phase.Asking
        this.env.wheel.arm(this, this.deadline)
      } else this.finish(refusal, null, now)
      return
    }
    if (route.hash !== null) this.hash = route.hash.hash(this)
    cluster.budget.deposit(now)
    route.mirror?.start(this, now)
    if (this.holdMs > 0) {
      this.phase = Phase.Held
      this.env.wheel.arm(this, Math.min(now + this.holdMs, this.deadline))
    } else this.begin(now)
  }

  /** The caller lost interest. */
  cancel(cause: unknown): void {
    if (this.phase !== Phase.Done) this.finish(rejections.cancelled, cause, this.env.clock.now(), false)
  }

  private begin(now: number): void {
    const { env, route, cluster } = this
    const host = cluster.pick(this, this.latest, now)
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
    this.endRetry()
    const delay = retryAfter(this, attempt, now, this.env.random)
    if (delay >= 0) {
      this.settle(attempt, now)
      this.again(delay, now)
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
    if (!attempt.delivered) {
      this.failed(attempt, kind, cause, now)
      return
    }
    attempt.kind = kind
    if (kind !== Kind.Response) this.learn(attempt, now)
    this.settle(attempt, now)
    this.finish(kind === Kind.Response ? null : (attempt.rejection ?? kindFacts[kind]!.rejection), cause, now)
  }

  /** @internal */
  onTryTimeout(attempt: Attempt, now: number): void {
    if (this.settled || attempt !== this.latest) return
    attempt.stalled = this.env.wheel.late
    this.failed(attempt, Kind.TryTimeout, null, now, true)
  }

  /** @internal The deadline, or the end of a back-off. */
  override fire(now: number): void {
    if (this.phase === Phase.Backoff || this.phase === Phase.Held) {
      // Our loop may have stood still since the retry was decided.
      if (now >= this.deadline) this.finish(this.spent(rejections.timeout), null, now)
      // Asked again: the caller's body may have been read since.
      else if (this.exchange.replayable) this.begin(now)
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

  /** @param live its transport does not know yet that it is over */
  private failed(attempt: Attempt, kind: Kind, cause: unknown, now: number, live = false): void {
    attempt.kind = kind
    attempt.elapsedMs = now - attempt.startedAt
    this.learn(attempt, now)
    this.endRetry()
    const delay = retryAfter(this, attempt, now, this.env.random)
    this.settle(attempt, now)
    if (live) attempt.abort()
    if (delay >= 0) this.again(delay, now)
    else this.finish(this.spent(attempt.rejection ?? kindFacts[kind]!.rejection), cause, now)
  }

  /** Another try, after `delay` ms. It counts as a retry from here on. */
  private again(delay: number, now: number): void {
    this.retrying = true
    this.cluster.retrying++
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
    if (attempt.elapsedMs === 0) attempt.elapsedMs = now - attempt.startedAt
    this.cluster.released(attempt, now)
    this.env.events?.attemptEnd(attempt)
  }

  /** What a retry draws on is given back when it is answered, as Envoy does, or over. */
  private endRetry(): void {
    if (!this.retrying) return
    this.retrying = false
    this.cluster.retrying--
    this.paid?.release()
    this.paid = null
  }

  /** Closes first, then tells the exchange: it may start a new call from inside. */
  private finish(rejection: Rejection | null, cause: unknown, now: number, tell = true): void {
    if (this.phase === Phase.Done) return
    this.phase = Phase.Done
    this.env.wheel.disarm(this)
    const attempt = this.latest
    if (attempt !== null && !this.settled) {
      if (rejection === rejections.cancelled) attempt.kind = Kind.Cancelled
      this.settle(attempt, now)
      attempt.abort()
    }
    this.endRetry()
    const { policies } = this.route
    while (this.entered > 0) policies[--this.entered]!.leave?.(this, now)
    if (this.delayInjected) {
      if (rejection !== null) rejection = withFlag(rejection, 'DI')
      else this.flag = this.flag === '-' ? 'DI' : `DI,${this.flag}`
    }
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
