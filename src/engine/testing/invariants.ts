import type { ClusterSpec } from '../../model/cluster.ts'
import type { Attempt } from '../attempt.ts'
import type { BreakerState } from '../breaker.ts'
import { defaultBudget } from '../budget.ts'
import { type Call, Phase } from '../call.ts'
import type { ClusterRuntime } from '../cluster.ts'
import type { CallEvents } from '../events.ts'
import type { HostRuntime } from '../host.ts'
import { Kind } from '../outcome.ts'
import { TICK_MS } from '../time.ts'
import { asksForRetry, judged, provenUnrun, usableHosts } from './oracle.ts'
import { must, type Seen, ShadowBreaker, ShadowBudget, ShadowOutlier } from './shadow.ts'
import type { SimAttempt, SimExchange } from './sim-exchange.ts'

/** What the invariants ask of the world. */
export interface Observed {
  now(): number
  /** In a tick after the poll phase of a stall. */
  readonly late: boolean
  /** When the loop ran again after it had stood still from `stalledAt` on. */
  readonly resumedAt: number
  readonly stalledAt: number
  /** undefined = it is not in the configuration. */
  specOf(cluster: ClusterRuntime): ClusterSpec | undefined
}

interface Watched {
  readonly breaker: ShadowBreaker | null
  readonly outlier: ShadowOutlier | null
  readonly budget: ShadowBudget
  peakActive: number
  /** Attempts in flight. */
  attempts: number
  /** Calls under way that passed the gates. */
  calls: number
  retries: number
}

/** A timer fires in the first tick after it is due; the tick before may just have passed, and intervals drift. */
const SLACK_MS = 3 * TICK_MS + 6

/** All that must hold, whatever happens. Sees what the engine tells its listener, its transports and its callers. */
export class Invariants implements CallEvents {
  private readonly world: Observed
  private readonly clusters = new Map<ClusterRuntime, Watched>()
  private readonly states = new Map<Call, { open: Set<SimAttempt>; passed: boolean }>()
  private readonly endedCalls: SimExchange[] = []
  /** What a timeout of the engine's own changed before we heard of the timeout. */
  private pending: ((seen: Seen) => void)[] = []
  private reporting = false
  calls = 0
  attempts = 0

  constructor(world: Observed) {
    this.world = world
  }

  callStart(call: Call): void {
    must(!this.states.has(call), 'a call started twice')
    this.states.set(call, { open: new Set(), passed: false })
    this.calls++
  }

  /** The engine asks a transport for another attempt. */
  opening(exchange: SimExchange, attempt: SimAttempt): void {
    const { call, host } = attempt
    const spec = this.world.specOf(call.cluster)
    must(spec !== undefined, 'a cluster that is gone was used')
    const usable = usableHosts(spec, call.cluster.hosts, this.world.now())
    const tried = new Set(exchange.attempts.map((a) => a.host))
    const left = usable.first.filter((h) => !tried.has(h))
    const untried = [...left, ...usable.asleep.filter((h) => !tried.has(h))]
    const mayBe = usable.first.includes(host) || (usable.asleep.includes(host) && left.length === 0)
    must(!host.gone && mayBe, `${host.address} was picked and is not usable`)
    const before = exchange.lastEnded
    attempt.hedge = this.states.get(call)!.open.size > 0
    if (tried.has(host) && (attempt.hedge || call.route.spec.retry?.avoidPreviousHosts !== false))
      must(untried.length === 0, `${host.address} was tried, ${untried[0]?.address} was not`)
    if (attempt.hedge) this.hedging(exchange, attempt, tried)
    else if (before !== null) this.repeating(exchange, attempt, before)
    else must(exchange.attempts.length === 0, 'a second attempt without reason')
  }

  private hedging(exchange: SimExchange, attempt: SimAttempt, tried: ReadonlySet<HostRuntime>): void {
    const { call, host } = attempt
    const { hedge } = call.route
    const now = this.world.now()
    must(hedge !== null, 'an attempt beside another without a policy')
    exchange.hedges++
    must(exchange.hedges <= hedge.spec.maxHedges, 'more hedges than the policy allows')
    must(exchange.idempotent && exchange.hedgeable && exchange.replayable, 'hedged what must not be sent twice')
    must(exchange.tree?.repeated !== true, 'hedged what hops above repeat')
    must(now < call.deadline, 'a hedge after the deadline of its call')
    must(!tried.has(host), 'a hedge at a host that has the request already')
    const { delayMs, onTryTimeout } = hedge.spec
    if (delayMs !== null && !onTryTimeout)
      must(now >= exchange.attempts.at(-1)!.openedAt + delayMs, 'hedged before its time')
  }

  private repeating(exchange: SimExchange, attempt: SimAttempt, before: SimAttempt): void {
    const { call } = attempt
    const { retry } = call.route
    const now = this.world.now()
    must(retry !== null, 'a retry without a policy')
    const n = exchange.attempts.length - exchange.hedges
    must(n <= retry.spec.numRetries, 'more retries than the policy allows')
    must(!before.spent, 'repeated what hops below have repeated')
    if (exchange.tree?.repeated === true) must(provenUnrun(before), 'repeated what hops above repeat')
    must(asksForRetry(retry.spec, before), `kind ${before.kind} status ${before.status} was not to be retried`)
    must(exchange.replayable, 'a request was sent again that cannot be')
    must(now < call.deadline, 'an attempt began after the deadline of its call')
    if (!exchange.idempotent && !retry.spec.retryNonIdempotent)
      for (const a of exchange.attempts) must(provenUnrun(a), 'a POST was sent again that may have run')
    const free = provenUnrun(before) && before.endedAt === now
    const asked = free || before.kind !== Kind.Response ? 0 : (before.retryAfter ?? 0) * 1000
    must(now >= before.endedAt + asked, 'a retry before the time that its peer asked for')
    const backoff = Math.min((2 ** n - 1) * retry.spec.baseIntervalMs, retry.spec.maxIntervalMs)
    const longest = Math.max(backoff, asked * 1.5)
    if (!this.excused(before.endedAt + longest))
      must(now <= before.endedAt + longest + SLACK_MS, 'a back-off was too long')
  }

  attemptStart(started: Attempt): void {
    const attempt = started as SimAttempt
    const { call, exchange } = attempt
    const watched = this.watch(call.cluster)
    const state = this.states.get(call)
    must(state !== undefined && !state.open.has(attempt), 'an attempt started outside of its call, or twice')
    must(attempt.number === exchange.attempts.length, 'an attempt has the wrong number')
    state.open.add(attempt)
    this.attempts++
    watched.attempts++
    watched.peakActive = Math.max(watched.peakActive, call.cluster.active)
    const now = this.world.now()
    if (attempt.number === 1) {
      state.passed = true
      watched.calls++
      watched.budget.called(now)
      watched.breaker?.admitted(call, now)
      const { maxRequests } = call.cluster.spec.limits
      must(watched.calls <= maxRequests, `${watched.calls} calls at a time, ${maxRequests} allowed`)
      return
    }
    const before = exchange.lastEnded
    const free =
      !attempt.hedge &&
      provenUnrun(before!) &&
      before!.endedAt === now &&
      !exchange.attempts.slice(0, -1).some(sameHost, attempt)
    if (free) return
    attempt.counted = true
    watched.retries++
    must(watched.retries <= call.cluster.spec.limits.maxRetries, 'more retries in flight than allowed')
    watched.budget.retried(attempt.hedge ? now : before!.endedAt, watched.peakActive)
  }

  /** A transport is about to tell the engine how an attempt went. */
  outcome(attempt: SimAttempt, kind: Kind, status: number): void {
    if (!attempt.blamed) this.learn(attempt, kind, status, false)
    this.reporting = true
  }

  /** The engine let it live on beyond its time, beside another. */
  blamed(attempt: SimAttempt): void {
    must(attempt.call.route.hedge?.spec.onTryTimeout === true && attempt.call.live > 0, 'a late attempt was kept')
    this.learn(attempt, Kind.TryTimeout, 0, false)
  }

  reported(): void {
    this.reporting = false
  }

  private learn(attempt: SimAttempt, kind: Kind, status: number, late: boolean): void {
    const { call, host, notStarted, overloaded } = attempt
    const watched = this.watch(call.cluster)
    const now = this.world.now()
    const seen: Seen = {
      now,
      call,
      host,
      kind,
      status: status === 0 ? attempt.status : status,
      notStarted,
      overloaded,
      again: attempt.delivered,
      late,
    }
    // Calls that began under other gates teach those.
    if (call.route.policies.includes(call.cluster.breaker!)) watched.breaker?.learn(seen)
    if (call.route.policies.includes(call.cluster.outlier!)) watched.outlier?.learn(seen)
    for (const check of this.pending.splice(0)) check(seen)
  }

  headPassed(attempt: SimAttempt): void {
    const { exchange, call } = attempt
    must(exchange.heads === 1, 'two heads for one call')
    must(!exchange.cancelled && exchange.rejections === 0, 'a head after the end')
    this.endRetry(attempt)
    const { open } = this.states.get(call)!
    must(open.size === 1 && open.has(attempt), 'a rival goes on beside the winner')
    if (exchange.rivalsEndedAt === this.world.now()) must(!isBad(attempt), 'a bad answer won against a live rival')
    must(call.phase === Phase.Delivering && call.status === attempt.status, 'a head passed outside of its phase')
  }

  aborted(attempt: SimAttempt): void {
    must(attempt.aborts === 1, 'aborted twice')
    must(!attempt.reportedEnd, 'aborted after it had ended by itself')
    must(attempt.engineEnded, 'aborted while it was counted as live')
    const lost = attempt.kind === Kind.Cancelled && attempt.call.winner !== null && attempt.call.winner !== attempt
    must(attempt.call.phase === Phase.Done || attempt.kind === Kind.TryTimeout || lost, 'a live attempt was aborted')
  }

  attemptEnd(ended: Attempt): void {
    const attempt = ended as SimAttempt
    const { call } = attempt
    const state = this.states.get(call)
    must(state?.open.has(attempt) === true && !attempt.engineEnded, 'an attempt ended twice')
    must(attempt.kind !== Kind.Pending, 'an attempt ended as pending')
    const now = this.world.now()
    const byEngine = attempt.kind === Kind.TryTimeout && !attempt.reportedEnd
    if (byEngine) {
      const { late } = this.world
      const tryEnds = attempt.headAccepted ? Number.POSITIVE_INFINITY : attempt.openedAt + call.tryTimeoutMs
      must(now >= Math.min(call.deadline, tryEnds), 'timed out too early')
      if (!attempt.headAccepted) {
        const grace = late ? 0 : 6 * TICK_MS
        must(attempt.headAt > now - grace || attempt.headAt === now, 'a timeout although the answer was there')
      }
      must(attempt.stalled === late, 'the stall was not noted')
      if (!attempt.blamed) this.learn(attempt, Kind.TryTimeout, 0, late)
    }
    must(this.pending.length === 0, 'a policy changed without an outcome')
    const { kind, status, notStarted, overloaded, stalled } = attempt
    if (kind === Kind.Response && judged({ kind, status, notStarted, overloaded, late: stalled }) === false)
      this.watch(call.cluster).outlier?.endedWell(attempt.host)
    attempt.engineEnded = true
    attempt.endedAt = now
    const { exchange } = attempt
    if (attempt.kind === Kind.Cancelled && !attempt.reportedEnd) {
      exchange.rivalsEndedAt = now
      const why = exchange.cancelled || call.winner !== null || exchange.attempts.some((a) => a.reportedCancel)
      must(why, 'an attempt was given up though nobody had won')
    }
    exchange.lastEnded = attempt
    state.open.delete(attempt)
    this.watch(call.cluster).attempts--
    this.endRetry(attempt)
  }

  private endRetry(attempt: SimAttempt): void {
    if (!attempt.counted) return
    const watched = this.watch(attempt.call.cluster)
    attempt.counted = false
    watched.retries--
    watched.budget.released()
  }

  callEnd(call: Call, now: number): void {
    const state = this.states.get(call)
    must(state !== undefined, 'a call ended twice')
    must(state.open.size === 0, 'a call ended before its attempt')
    must(call.phase === Phase.Done && call.next === null, 'a call ended with its timer armed')
    this.states.delete(call)
    const watched = this.watch(call.cluster)
    if (state.passed) watched.calls--
    else if (call.details === 'no_healthy_upstream') watched.budget.called(now)
    watched.breaker?.ended(call)
    const exchange = call.exchange as SimExchange
    for (const a of exchange.attempts) must(a.next === null, 'a call ended with the timer of an attempt armed')
    const untilHeaders = call.route.timeoutUntilHeaders && exchange.heads > 0
    const deadline = untilHeaders ? exchange.callerDeadline : call.deadline
    if (!this.excused(deadline)) must(now <= deadline + SLACK_MS, `ended ${now - deadline} ms after its deadline`)
    if (call.details === 'upstream_response_timeout') must(now >= deadline, 'the deadline came too early')
    this.endedCalls.push(exchange)
  }

  rejected(exchange: SimExchange): void {
    const { call, rejection } = exchange
    must(call!.phase === Phase.Done, 'rejected while the call goes on')
    must(exchange.rejections === 1, 'rejected twice')
    must(!exchange.cancelled && !exchange.whole, 'rejected after the end')
    must(rejection === call!.rejection, 'rejected with something else than is counted')
    this.notGivenUp(exchange)
  }

  /** What costs nobody anything is tried: another host, when this one did not even connect. */
  private notGivenUp(exchange: SimExchange): void {
    const last = exchange.lastEnded
    const call = exchange.call!
    const { retry } = call.route
    if (
      last === null ||
      retry?.spec.avoidPreviousHosts !== true ||
      last.kind !== Kind.ConnectFailure ||
      !exchange.replayable
    )
      return
    if (exchange.attempts.length - exchange.hedges > retry.spec.numRetries || !asksForRetry(retry.spec, last)) return
    const now = this.world.now()
    if (last.endedAt !== now || now >= call.deadline) return
    const { cluster } = call
    if (cluster.retrying >= cluster.spec.limits.maxRetries) return
    const spec = this.world.specOf(cluster)
    if (spec === undefined) return
    const usable = usableHosts(spec, cluster.hosts, now)
    const spare = [...usable.first, ...usable.asleep].filter((h) => !exchange.attempts.some((a) => a.host === h))
    must(spare.length === 0, `gave up after a connect failure, though ${spare[0]?.address} was there`)
  }

  breakerChange(
    cluster: ClusterRuntime,
    from: BreakerState,
    to: BreakerState,
    now: number,
    route: string | null,
  ): void {
    // What is recounted is the cluster's own.
    if (route !== null) return
    const { breaker } = this.watch(cluster)
    must(breaker !== null, 'a breaker that nobody configured')
    this.soon(to === 'half-open', () => breaker.changed(from, to, now, cluster.breaker!.openUntil))
  }

  hostEjected(cluster: ClusterRuntime, host: HostRuntime): void {
    const { outlier } = this.watch(cluster)
    must(outlier !== null, 'outlier detection that nobody configured')
    this.soon(false, () => outlier.ejected(host, cluster.hosts))
  }

  hostReturned(cluster: ClusterRuntime, host: HostRuntime, now: number): void {
    must(host.ejectedUntil === 0 && now > 0, 'a host returned while it is out')
    this.watch(cluster).outlier?.returned(host)
  }

  private soon(atOnce: boolean, check: () => void): void {
    if (atOnce || this.reporting) check()
    else this.pending.push(check)
  }

  /** After each event of the world. */
  step(now: number): void {
    must(this.pending.length === 0, 'a policy changed without an outcome')
    for (const [cluster, watched] of this.clusters) {
      must(cluster.active === watched.attempts, `${cluster.active} attempts counted, ${watched.attempts} in flight`)
      must(cluster.retrying >= 0, 'retries below zero')
      for (const host of cluster.hosts) must(host.active >= 0, 'requests of a host below zero')
      watched.breaker?.settled(now)
      watched.outlier?.settled(cluster.hosts)
    }
    for (const exchange of this.endedCalls.splice(0)) {
      const ends = Number(exchange.whole) + Number(exchange.cancelled) + exchange.rejections
      must(ends === 1, `a call ended ${ends} times (${exchange.call!.details})`)
    }
  }

  /** The loop stood still while this was due. */
  private excused(due: number): boolean {
    const { stalledAt, resumedAt } = this.world
    return due + SLACK_MS >= stalledAt && due <= resumedAt + SLACK_MS
  }

  private watch(cluster: ClusterRuntime): Watched {
    let watched = this.clusters.get(cluster)
    if (watched === undefined) {
      const { breaker, outlier, retryBudget } = cluster.spec
      watched = {
        breaker: breaker === null ? null : new ShadowBreaker(breaker),
        outlier: outlier === null ? null : new ShadowOutlier(outlier),
        budget: new ShadowBudget(retryBudget ?? defaultBudget),
        peakActive: 0,
        attempts: 0,
        calls: 0,
        retries: 0,
      }
      this.clusters.set(cluster, watched)
    }
    return watched
  }

  /** Everything that ever was a cluster here. */
  get seenClusters(): Iterable<ClusterRuntime> {
    return this.clusters.keys()
  }

  get callsUnderWay(): number {
    return this.states.size
  }
}

/** A retry would follow it if it had no rival. */
function isBad(attempt: SimAttempt): boolean {
  const { retry } = attempt.call.route
  return retry === null ? attempt.status >= 500 : asksForRetry(retry.spec, attempt)
}

function sameHost(this: SimAttempt, other: SimAttempt): boolean {
  return other.host === this.host
}
