import type { Hash64 } from '../match/hash64.ts'
import type { Clock, Random } from '../model/clock.ts'
import type { Attempt } from './attempt.ts'
import type { Budget } from './budget.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { CallEvents } from './events.ts'
import type { Exchange } from './exchange.ts'
import { HedgeTimer } from './hedge.ts'
import type { HostRuntime } from './host.ts'
import { Kind, kindFacts } from './outcome.ts'
import { override } from './overrides.ts'
import { HOLD } from './policy.ts'
import { unit } from './random.ts'
import { type Rejection, rejections, withFlag } from './rejection.ts'
import { asksForRetry, hedgeable, mayHedge, NoRetry, retryAfter } from './retry.ts'
import type { RetryPolicy } from './retry-policy.ts'
import type { Route } from './route.ts'
import { TimerNode, type TimerWheel } from './time.ts'

/** What a call needs of its surroundings. */
export interface CallEnv {
  readonly clock: Clock
  readonly random: Random
  readonly wheel: TimerWheel
  readonly events: CallEvents | null
}

/** How long a patient call waits before it looks for a host again: at first, and at most; doubling in between. */
const PATIENCE_MS = 25
const MAX_PATIENCE_MS = 1_000

/** Asking: a gate holds it. Held: it waits for `holdMs`, or for the end of a back-off. */
export const Phase = { New: 0, Trying: 1, Backoff: 2, Delivering: 3, Done: 4, Asking: 5, Held: 6 } as const
export type Phase = (typeof Phase)[keyof typeof Phase]

/** How long a call may take, and how it is repeated. */
export type CallLimits = Pick<Route, 'timeoutMs' | 'tryTimeoutMs' | 'retry'>

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
  /** The route's unless the request says otherwise. */
  limits: CallLimits
  /** Tries that were started. */
  attempts = 0
  /** Those of them that were started beside another. */
  hedges = 0
  /** Those of them that repeat what a peer may have acted on. */
  repeats = 0
  /** The try that was started last; those before it by `previous`. */
  latest: Attempt | null = null
  /** The try whose head went to the caller. */
  winner: Attempt | null = null
  /** Tries in flight; more than one only with hedging. */
  live = 0
  /** Of the request, for consistent hashing; null = none. */
  hash: Hash64 | null = null
  /** The host that its session belongs to; null = none. */
  seat: HostRuntime | null = null
  /** Header edits of the app's hooks, null = remove; null map = none. */
  appHeaders: Map<string, string | null> | null = null
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
  /** @internal What the try that was decided draws on; null = it is for free. */
  paid: Budget | null = null
  private entered = 0
  /** ms by which its own time begins later than `startedAt`. */
  private postponedMs = 0
  /** Deadline of the caller when it was last asked for. */
  private callerLimit = 0
  /** A retry of it waits to be started. */
  private retrying = false
  private hedgeTimer: HedgeTimer | null = null
  /** Times that it found nobody and waited. */
  private waits = 0

  constructor(env: CallEnv, exchange: Exchange, route: Route) {
    super()
    this.env = env
    this.exchange = exchange
    this.route = route
    this.cluster = route.cluster
    this.limits = route
  }

  /** ms. */
  get timeoutMs(): number {
    const { limits, route } = this
    const none = limits === route && route.timeoutUntilHeaders && this.exchange.lateHead === true
    return none ? Number.POSITIVE_INFINITY : limits.timeoutMs
  }

  /** ms. */
  get tryTimeoutMs(): number {
    return this.limits.tryTimeoutMs
  }

  /** null = never retried. */
  get retry(): RetryPolicy | null {
    return this.limits.retry
  }

  /** `deadline` without that of the caller. */
  private get ownDeadline(): number {
    return this.startedAt + this.postponedMs + this.timeoutMs
  }

  /** Of the engine's clock. */
  get now(): number {
    return this.env.clock.now()
  }

  /** ms since 1970, for what peers say in dates. */
  wallNow(): number {
    return this.env.clock.wall?.() ?? Date.now()
  }

  /** Its own time begins so much later (an injected delay); that of its caller does not wait. */
  postpone(ms: number): void {
    this.postponedMs += ms
    this.deadline = Math.min(this.callerLimit, this.ownDeadline)
  }

  /** The caller has more time than it said: the answer for which this call is made is on its way, and may be a stream. */
  private lifted(): boolean {
    const { callerDeadline } = this.exchange
    if (callerDeadline <= this.callerLimit) return false
    this.callerLimit = callerDeadline
    const own = this.phase === Phase.Delivering && this.route.timeoutUntilHeaders
    this.deadline = own ? callerDeadline : Math.min(callerDeadline, this.ownDeadline)
    return true
  }

  /** The outbound order, in full. */
  run(): void {
    const { env, exchange } = this
    const now = env.clock.now()
    this.startedAt = now
    if (exchange.overriding === true) override(this)
    const { callerDeadline } = exchange
    this.callerLimit = callerDeadline
    this.deadline = Math.min(callerDeadline, this.ownDeadline)
    env.events?.callStart(this)
    if (now >= this.deadline) {
      this.finish(now >= callerDeadline ? rejections.expired : rejections.timeout, null, now)
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
    if (route.session !== null) this.seat = route.session.hostOf(this)
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
      if (this.live > 0) this.unreserve()
      else if (this.exchange.patient === true) this.wait(now)
      else this.finish(rejections.noHealthyHost, null, now)
      return
    }
    const attempt = this.exchange.open(this, host)
    attempt.previous = this.latest
    attempt.number = ++this.attempts
    attempt.startedAt = now
    attempt.retrying = this.retrying
    attempt.paid = this.paid
    this.retrying = false
    this.paid = null
    this.latest = attempt
    this.live++
    host.active++
    cluster.active++
    this.phase = Phase.Trying
    env.wheel.arm(this, this.deadline)
    env.wheel.arm(attempt, now + this.tryTimeoutMs)
    if (route.hedge !== null) this.planHedge(now)
    env.events?.attemptStart(attempt)
    attempt.start()
  }

  /** The next try beside those in flight, unless one of them answers before. */
  private planHedge(now: number): void {
    const { exchange, hedges } = this
    const hedge = this.route.hedge!
    if (!hedgeable(exchange) || hedges >= hedge.spec.maxHedges) return
    const delay = hedge.delay(now)
    if (delay === Number.POSITIVE_INFINITY) return
    this.hedgeTimer ??= new HedgeTimer(this)
    this.env.wheel.arm(this.hedgeTimer, now + delay)
  }

  /** @internal Nobody answered for as long as the route's hedge policy waits. */
  onHedge(now: number): void {
    if (this.phase !== Phase.Trying || this.live === 0) return
    // What our own loop slept through says nothing about the peer: it gets its time again.
    if (this.env.wheel.late) this.planHedge(now)
    else this.hedge(now)
  }

  /** @returns whether there is one try more */
  private hedge(now: number): boolean {
    if (!mayHedge(this, now)) return false
    this.hedges++
    this.repeats++
    this.retrying = true
    this.cluster.retrying++
    this.begin(now)
    return true
  }

  // Reports of the attempts in flight.

  /** @internal */
  onSent(attempt: Attempt): void {
    if (!attempt.wasSent) {
      attempt.wasSent = true
      return
    }
    // The library sent it again on its own: nobody asked the budget, so it pays afterwards.
    attempt.hiddenRepeats++
    if (attempt.settled) return
    attempt.charged ??= []
    attempt.charged.push(this.cluster.budget)
    this.cluster.budget.charge(this.env.clock.now())
  }

  /** @internal */
  onHead(attempt: Attempt, status: number, grpcStatus: number): boolean {
    if (attempt.settled || this.phase !== Phase.Trying) return false
    const now = this.env.clock.now()
    attempt.kind = Kind.Response
    attempt.status = status
    attempt.grpcStatus = grpcStatus
    attempt.elapsedMs = now - attempt.startedAt
    this.learn(attempt, now)
    this.endRetry(attempt)
    if (this.live > 1 && asksForRetry(this.retry, attempt)) {
      // Somebody else may do better.
      this.settle(attempt, now)
      return false
    }
    const delay = retryAfter(this, attempt, now, this.env.random)
    if (delay >= 0) {
      this.settle(attempt, now)
      this.again(delay, now)
      return false
    }
    attempt.delivered = true
    this.winner = attempt
    this.status = status
    this.flag = this.reason(delay)
    this.phase = Phase.Delivering
    this.env.wheel.disarm(attempt)
    if (this.hedgeTimer !== null) this.env.wheel.disarm(this.hedgeTimer)
    if (this.live > 1) this.dropRivals(attempt, now)
    if (this.route.timeoutUntilHeaders) {
      this.callerLimit = this.exchange.callerDeadline
      this.env.wheel.arm(this, this.callerLimit)
    }
    return true
  }

  /** @internal */
  onRestate(attempt: Attempt, status: number, grpcStatus: number): void {
    if (attempt.settled || !attempt.delivered) return
    attempt.status = status
    attempt.grpcStatus = grpcStatus
    attempt.restated = true
    this.status = status
  }

  /** @internal */
  onEnd(attempt: Attempt, kind: Kind, cause: unknown): void {
    if (attempt.settled) return
    const now = this.env.clock.now()
    if (!attempt.delivered) {
      this.failed(attempt, kind, cause, now)
      return
    }
    attempt.kind = kind
    if (kind !== Kind.Response || attempt.restated) this.learn(attempt, now)
    this.settle(attempt, now)
    this.finish(kind === Kind.Response ? null : (attempt.rejection ?? kindFacts[kind]!.rejection), cause, now)
  }

  /** @internal */
  onTryTimeout(attempt: Attempt, now: number): void {
    if (attempt.settled) return
    attempt.stalled = this.env.wheel.late
    if (this.route.hedge?.spec.onTryTimeout === true && this.outlives(attempt, now)) return
    this.failed(attempt, Kind.TryTimeout, null, now, true)
  }

  /** Its time is over, which is told to those who learn; but another one is started and it may go on (hedge_on_per_try_timeout). */
  private outlives(attempt: Attempt, now: number): boolean {
    if (attempt.stalled || attempt.blamed || !asksForRetry(this.retry, attempt, Kind.TryTimeout)) return false
    const before = this.attempts
    if (!this.hedge(now) || this.attempts === before) return false
    if (attempt.settled) return true
    attempt.kind = Kind.TryTimeout
    attempt.elapsedMs = now - attempt.startedAt
    this.learn(attempt, now)
    attempt.kind = Kind.Pending
    attempt.blamed = true
    // Once more as long: somebody must end it when there is no deadline.
    this.env.wheel.arm(attempt, now + this.tryTimeoutMs)
    return true
  }

  /** @internal The deadline, or the end of a back-off. */
  override fire(now: number): void {
    const waits = this.phase === Phase.Backoff || this.phase === Phase.Held
    if ((!waits || now >= this.deadline) && this.lifted() && !waits && now < this.deadline) {
      this.env.wheel.arm(this, this.deadline)
      return
    }
    if (waits) {
      // Our loop may have stood still since the retry was decided.
      if (now >= this.deadline) this.finish(rejections.timeout, null, now)
      // Asked again: the caller's body may have been read since.
      else if (this.exchange.replayable) this.begin(now)
      else this.finish(rejections.retryLost, null, now)
      return
    }
    for (let a = this.latest; a !== null; a = a.previous) {
      if (a.settled) continue
      a.stalled = this.env.wheel.late
      a.kind = Kind.TryTimeout
      a.elapsedMs = now - a.startedAt
      this.learn(a, now)
      this.giveUp(a, now)
    }
    // Whoever is above has waited for repeats already.
    if (this.repeats > 0) this.exchange.tree?.settle()
    this.finish(rejections.timeout, null, now)
  }

  /** @param live its transport does not know yet that it is over */
  private failed(attempt: Attempt, kind: Kind, cause: unknown, now: number, live = false): void {
    attempt.kind = kind
    attempt.elapsedMs = now - attempt.startedAt
    this.learn(attempt, now)
    this.endRetry(attempt)
    const rivals = this.live > 1 && kind !== Kind.Cancelled
    const delay = rivals ? NoRetry.NotAsked : retryAfter(this, attempt, now, this.env.random)
    this.settle(attempt, now)
    if (live) attempt.abort()
    if (rivals) return
    if (delay >= 0) this.again(delay, now)
    else if (kind === Kind.ConnectFailure && this.exchange.patient === true) this.wait(now)
    else {
      const rejection = attempt.rejection ?? kindFacts[kind]!.rejection
      this.finish(withFlag(rejection, this.reason(delay)), cause, now)
    }
  }

  /** There is nobody to take it, and its caller would rather wait than hear of it. No retry: nothing was sent. */
  private wait(now: number): void {
    this.waits++
    this.phase = Phase.Backoff
    const ms = Math.min(PATIENCE_MS * 2 ** Math.min(this.waits, 10), MAX_PATIENCE_MS)
    this.env.wheel.arm(this, Math.min(now + ms * (1 + unit(this.env.random) / 4), this.deadline))
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

  /** Envoy's flag for why a failure is not repeated. Hops above hear of it when they need not repeat it either. */
  private reason(why: number): string {
    if (why <= NoRetry.Spent) this.exchange.tree?.settle()
    return why === NoRetry.Exhausted ? 'URX' : why === NoRetry.Overflow ? 'UO' : '-'
  }

  private learn(attempt: Attempt, now: number): void {
    if (attempt.blamed) return
    for (const policy of this.route.onOutcome) policy.outcome!(this, attempt, now)
  }

  /** The winner's head goes to the caller; nobody is to blame for having been slower. */
  private dropRivals(winner: Attempt, now: number): void {
    for (let a = this.latest; a !== null; a = a.previous) {
      if (a === winner || a.settled) continue
      a.kind = Kind.Cancelled
      this.route.hedge?.lost(now - a.startedAt, now)
      this.giveUp(a, now)
    }
  }

  private giveUp(attempt: Attempt, now: number): void {
    this.endRetry(attempt)
    this.settle(attempt, now)
    attempt.abort()
  }

  /** The one place where an attempt ends. */
  private settle(attempt: Attempt, now: number): void {
    attempt.settled = true
    this.live--
    this.env.wheel.disarm(attempt)
    if (attempt.elapsedMs === 0) attempt.elapsedMs = now - attempt.startedAt
    this.cluster.released(attempt, now)
    if (attempt.charged !== null) for (const budget of attempt.charged) budget.release()
    this.env.events?.attemptEnd(attempt)
  }

  /** What a retry draws on is given back when it is answered, as Envoy does, or over. */
  private endRetry(attempt: Attempt): void {
    if (!attempt.retrying) return
    attempt.retrying = false
    this.cluster.retrying--
    attempt.paid?.release()
    attempt.paid = null
  }

  /** What was set aside for a try that will not be started. */
  private unreserve(): void {
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
    if (this.hedgeTimer !== null) this.env.wheel.disarm(this.hedgeTimer)
    for (let a = this.latest; a !== null && this.live > 0; a = a.previous) {
      if (a.settled) continue
      if (rejection === rejections.cancelled || a.kind === Kind.Pending) a.kind = Kind.Cancelled
      this.giveUp(a, now)
    }
    this.unreserve()
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
