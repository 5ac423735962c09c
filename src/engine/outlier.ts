import type { OutlierSpec } from '../model/cluster.ts'
import type { Call } from './call.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { HostRuntime } from './host.ts'
import { Kind, type Outcome, Verdict, verdictOf } from './outcome.ts'
import type { Policy } from './policy.ts'
import { TimerNode } from './time.ts'

/** What outlier detection remembers of a host. */
export interface OutlierHostState {
  consecutive5xx: number
  consecutiveGateway: number
  /** Multiplier of the ejection time; decays by one with each interval in which the host was in. */
  ejections: number
}

/**
 * Envoy's outlier detection by consecutive errors: ejects inline, un-ejects in a sweep each interval. Local-origin failures
 * (connect, reset, timeout) count as 5xx and as gateway errors. One host may always be ejected.
 */
export class Outlier extends TimerNode implements Policy {
  private readonly spec: OutlierSpec
  private readonly cluster: ClusterRuntime
  private armed = false

  constructor(spec: OutlierSpec, cluster: ClusterRuntime) {
    super()
    this.spec = spec
    this.cluster = cluster
  }

  /** Takes over hosts that others ejected, or that come back ejected. */
  watch(now: number): void {
    for (const host of this.cluster.everyHost()) if (host.ejectedUntil !== 0) this.arm(now)
  }

  outcome(_call: Call, outcome: Outcome, now: number): void {
    const verdict = verdictOf(outcome)
    if (verdict === Verdict.None) return
    const { host } = outcome
    const state = host.outlier
    if (verdict === Verdict.Good) {
      state.consecutive5xx = 0
      state.consecutiveGateway = 0
      return
    }
    state.consecutive5xx++
    if (outcome.kind !== Kind.Response || (outcome.status >= 502 && outcome.status <= 504)) state.consecutiveGateway++
    else state.consecutiveGateway = 0
    const { consecutive5xx, consecutiveGatewayErrors } = this.spec
    const over =
      (consecutive5xx > 0 && state.consecutive5xx >= consecutive5xx) ||
      (consecutiveGatewayErrors > 0 && state.consecutiveGateway >= consecutiveGatewayErrors)
    if (over) this.eject(host, now)
  }

  /** Interval sweep: hosts whose time is over come back, the others' multipliers decay. */
  override fire(now: number): void {
    this.armed = false
    let busy = false
    // Also hosts that left with calls in flight: they may come back, and then their time goes on.
    for (const host of this.cluster.everyHost()) {
      if (host.ejectedUntil === 0) {
        if (host.outlier.ejections > 0) host.outlier.ejections--
      } else if (host.ejectedUntil <= now) {
        host.ejectedUntil = 0
        host.outlier.consecutive5xx = 0
        host.outlier.consecutiveGateway = 0
        if (!host.gone) this.cluster.hostReturned(host, now)
      }
      if (host.ejectedUntil !== 0 || host.outlier.ejections > 0) busy = true
    }
    if (busy) this.arm(now)
  }

  private eject(host: HostRuntime, now: number): void {
    if (host.ejectedUntil !== 0 || host.gone) return
    const { baseEjectionTimeMs, maxEjectionTimeMs, maxEjectionPercent } = this.spec
    const ejected = this.cluster.hosts.filter((h) => h.ejectedUntil !== 0).length
    if (ejected > 0 && (ejected + 1) * 100 > this.cluster.hosts.length * maxEjectionPercent) return
    host.outlier.ejections++
    host.ejectedUntil =
      now + Math.min(baseEjectionTimeMs * host.outlier.ejections, Math.max(maxEjectionTimeMs, baseEjectionTimeMs))
    this.cluster.hostEjected(host, now)
    this.arm(now)
  }

  private arm(now: number): void {
    if (this.armed) return
    this.armed = true
    this.cluster.wheel.arm(this, now + this.spec.intervalMs)
  }
}
