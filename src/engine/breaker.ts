import type { Random } from '../model/clock.ts'
import type { BreakerSpec } from '../model/cluster.ts'
import type { Call } from './call.ts'
import { type Outcome, Verdict, verdictOf } from './outcome.ts'
import type { Policy } from './policy.ts'
import { unit } from './random.ts'
import { type Rejection, rejections } from './rejection.ts'
import { Window } from './window.ts'

export type BreakerState = 'closed' | 'open' | 'half-open'

/** +-20 %, so that many processes do not probe at once. */
const JITTER = 0.2

/**
 * The error-rate circuit breaker of one cluster or route. Closed: counts outcomes; opens when enough of them failed. Open: refuses at
 * once. After the recovery time half-open: a few probes pass; a good one closes it, a bad one opens it for twice as long.
 * A probe that neither succeeds nor fails within the recovery time lets another one pass.
 * What this process did to itself is not counted; timeouts are.
 */
export class Breaker implements Policy {
  state: BreakerState = 'closed'
  /** Monotonic ms at which it turns half-open. */
  openUntil = 0
  readonly spec: BreakerSpec
  private readonly random: Random
  private readonly window: Window
  private readonly changed: (from: BreakerState, to: BreakerState, now: number) => void
  private recoveryMs: number
  private readonly probes = new Set<Call>()
  /** Monotonic ms at which one more probe may pass although the others have no outcome yet. */
  private nextProbeAt = 0

  constructor(spec: BreakerSpec, random: Random, changed: (from: BreakerState, to: BreakerState, now: number) => void) {
    this.spec = spec
    this.random = random
    this.changed = changed
    this.window = new Window(spec.windowMs)
    this.recoveryMs = spec.recoveryMs
  }

  enter(call: Call, now: number): Rejection | undefined {
    if (this.state === 'closed') return undefined
    if (this.state === 'open') {
      if (now < this.openUntil) return rejections.breakerOpen
      this.turn('half-open', now)
    }
    // A probe that hangs must not keep the breaker open for ever: another one passes after the recovery time.
    if (this.probes.size >= this.spec.halfOpenProbes && now < this.nextProbeAt) return rejections.breakerOpen
    this.probes.add(call)
    this.nextProbeAt = now + this.recoveryMs
    return undefined
  }

  peek(now: number): Rejection | undefined {
    if (this.state === 'closed' || (this.state === 'open' && now >= this.openUntil)) return undefined
    if (this.state === 'open') return rejections.breakerOpen
    return this.probes.size >= this.spec.halfOpenProbes && now < this.nextProbeAt ? rejections.breakerOpen : undefined
  }

  outcome(call: Call, outcome: Outcome, now: number): void {
    const verdict = verdictOf(outcome)
    if (verdict === Verdict.None) return
    const bad = verdict === Verdict.Bad
    if (this.state === 'half-open') {
      if (!this.probes.has(call)) return
      if (bad) this.open(now, Math.min(this.recoveryMs * 2, this.spec.maxRecoveryMs))
      else {
        this.window.clear()
        this.recoveryMs = this.spec.recoveryMs
        this.turn('closed', now)
      }
      return
    }
    // Calls that were under way when it opened say nothing new.
    if (this.state === 'open') return
    // A body that breaks turns its good head into a failure; it is still one call.
    this.window.add(now, outcome.delivered ? 0 : 1, bad ? 1 : 0)
    const { firstSum: total, secondSum: failed } = this.window
    if (bad && total >= this.spec.minimumRequests && failed * 100 > total * this.spec.thresholdPercent)
      this.open(now, this.recoveryMs)
  }

  leave(call: Call): void {
    if (this.probes.size > 0) this.probes.delete(call)
  }

  private open(now: number, recoveryMs: number): void {
    this.recoveryMs = recoveryMs
    this.openUntil = now + recoveryMs * (1 + JITTER * (2 * unit(this.random) - 1))
    this.window.clear()
    this.turn('open', now)
  }

  private turn(to: BreakerState, now: number): void {
    const from = this.state
    this.state = to
    // Who was a probe before says nothing about what comes now, and takes nobody's place.
    this.probes.clear()
    this.changed(from, to, now)
  }
}
