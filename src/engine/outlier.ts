import type { Random } from '../model/clock.ts'
import type { OutlierSpec } from '../model/cluster.ts'
import type { Call } from './call.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { HostRuntime } from './host.ts'
import { Kind, type Outcome, Verdict, verdictOf } from './outcome.ts'
import type { EjectionReason, OutlierHostState } from './outlier-state.ts'
import { outliers } from './outlier-statistics.ts'
import type { Policy } from './policy.ts'
import { unit } from './random.ts'
import { TimerNode } from './time.ts'

/**
 * Envoy's outlier detection. Errors in a row eject at once; success rates and failure percentages are looked at in a sweep
 * each interval, which also lets hosts back in. Failures of local origin (connect, reset, timeout) count as 5xx and as
 * gateway errors unless they are split. One host may always be ejected.
 *
 * A good answer counts when its body has ended: a host whose bodies always break must not be acquitted by its heads.
 */
export class Outlier extends TimerNode implements Policy {
  private readonly spec: OutlierSpec
  private readonly cluster: ClusterRuntime
  private readonly random: Random
  /** Tallies are kept. */
  private readonly rates: boolean
  private armed = false

  constructor(spec: OutlierSpec, cluster: ClusterRuntime, random: Random) {
    super()
    this.spec = spec
    this.cluster = cluster
    this.random = random
    this.rates = spec.successRate !== null || spec.failurePercentage !== null
  }

  /** Takes over hosts that others ejected, or that come back ejected. */
  watch(now: number): void {
    for (const host of this.cluster.everyHost()) if (host.ejectedUntil !== 0) this.arm(now)
  }

  outcome(_call: Call, outcome: Outcome, now: number): void {
    const bad = this.judge(outcome)
    if (bad !== true) return
    const { spec } = this
    const { host, kind, status, delivered } = outcome
    const state = host.outlier
    // Its answer was counted as an error when its head came.
    if (delivered && kind !== Kind.Response && this.isError(status)) return
    const answered = kind === Kind.Response
    if (this.rates) this.tally(state, answered, false, now)
    if (!answered && spec.splitLocalOrigin) {
      if (++state.consecutiveLocal >= (spec.consecutiveLocalOrigin || Number.POSITIVE_INFINITY))
        this.eject(host, 'consecutive-local-origin', now)
      return
    }
    if (answered) state.consecutiveLocal = 0
    state.consecutive5xx++
    if (!answered || (status >= 502 && status <= 504)) state.consecutiveGateway++
    else state.consecutiveGateway = 0
    const { consecutive5xx, consecutiveGatewayErrors } = spec
    if (consecutiveGatewayErrors > 0 && state.consecutiveGateway >= consecutiveGatewayErrors)
      this.eject(host, 'consecutive-gateway-errors', now)
    if (consecutive5xx > 0 && state.consecutive5xx >= consecutive5xx) this.eject(host, 'consecutive-5xx', now)
  }

  /** An attempt is over; only what was well to its end says something here. */
  settled(outcome: Outcome, now: number): void {
    if (outcome.kind !== Kind.Response || this.judge(outcome) !== false) return
    const state = outcome.host.outlier
    state.consecutive5xx = 0
    state.consecutiveGateway = 0
    state.consecutiveLocal = 0
    if (this.rates) this.tally(state, true, true, now)
  }

  /** Interval sweep: hosts whose time is over come back, the others' multipliers decay, rates are compared. */
  override fire(now: number): void {
    this.armed = false
    let busy = this.rates && this.compare(now)
    // Also hosts that left with calls in flight: they may come back, and then their time goes on.
    for (const host of this.cluster.everyHost()) {
      const state = host.outlier
      if (host.ejectedUntil === 0) {
        if (state.ejections > 0) state.ejections--
      } else if (host.ejectedUntil <= now) {
        host.ejectedUntil = 0
        state.consecutive5xx = 0
        state.consecutiveGateway = 0
        state.consecutiveLocal = 0
        if (!host.gone) this.cluster.hostReturned(host, now)
      }
      if (host.ejectedUntil !== 0 || state.ejections > 0) busy = true
    }
    if (busy) this.arm(now)
  }

  /** true = an error, false = well, undefined = it says nothing about the host. */
  private judge(outcome: Outcome): boolean | undefined {
    const verdict = verdictOf(outcome)
    if (verdict === Verdict.None) return undefined
    if (outcome.kind === Kind.Response && this.spec.errorStatuses !== null) return this.isError(outcome.status)
    return verdict === Verdict.Bad
  }

  private isError(status: number): boolean {
    const { errorStatuses } = this.spec
    if (errorStatuses === null) return status >= 500
    return errorStatuses.some((range) => status >= range.start && status < range.end)
  }

  private tally(state: OutlierHostState, answered: boolean, good: boolean, now: number): void {
    if (this.spec.splitLocalOrigin) {
      state.local.total++
      if (answered) state.local.good++
    }
    if (answered || !this.spec.splitLocalOrigin) {
      state.answers.total++
      if (good) state.answers.good++
    }
    this.arm(now)
  }

  /** @returns there was something to compare */
  private compare(now: number): boolean {
    const { hosts } = this.cluster
    const findings = outliers(hosts, this.spec, (host) => host.outlier.answers)
    if (this.spec.splitLocalOrigin) findings.push(...outliers(hosts, this.spec, (host) => host.outlier.local))
    let busy = false
    for (const { outlier } of this.cluster.everyHost()) {
      if (outlier.answers.total + outlier.local.total > 0) busy = true
      for (const tally of [outlier.answers, outlier.local]) {
        tally.total = 0
        tally.good = 0
      }
    }
    for (const { host, reason, enforcingPercent } of findings)
      if (enforcingPercent >= 100 || unit(this.random) * 100 < enforcingPercent) this.eject(host, reason, now)
    return busy
  }

  private eject(host: HostRuntime, reason: EjectionReason, now: number): void {
    if (host.ejectedUntil !== 0 || host.gone) return
    const { baseEjectionTimeMs, maxEjectionTimeMs, maxEjectionPercent } = this.spec
    const { ejected, hosts } = this.cluster
    if (ejected > 0 && (ejected + 1) * 100 > hosts.length * maxEjectionPercent) return
    const state = host.outlier
    state.ejections++
    state.reason = reason
    host.ejectedUntil =
      now + Math.min(baseEjectionTimeMs * state.ejections, Math.max(maxEjectionTimeMs, baseEjectionTimeMs))
    this.cluster.hostEjected(host, now)
    this.arm(now)
  }

  private arm(now: number): void {
    if (this.armed) return
    this.armed = true
    this.cluster.wheel.arm(this, now + this.spec.intervalMs)
  }
}
