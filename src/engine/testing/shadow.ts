import type { BreakerSpec, OutlierSpec, RetryBudgetSpec } from '../../model/cluster.ts'
import type { BreakerState } from '../breaker.ts'
import type { Call } from '../call.ts'
import type { HostRuntime } from '../host.ts'
import { Kind } from '../outcome.ts'
import { judged } from './oracle.ts'

/** Thrown when the engine did what it must not do. */
export class Violation extends Error {}

export function must(holds: boolean, text: string): asserts holds {
  if (!holds) throw new Violation(text)
}

/** One outcome as the world saw it happen. */
export interface Seen {
  readonly now: number
  readonly call: Call
  readonly host: HostRuntime
  readonly kind: Kind
  readonly status: number
  readonly notStarted: boolean
  readonly overloaded: boolean
  /** A body that broke after its head was counted. */
  readonly again: boolean
  readonly late: boolean
}

/** The start of a sliding window of ten buckets. */
function windowStart(now: number, windowMs: number): number {
  const bucket = windowMs / 10
  return (Math.floor(now / bucket) - 9) * bucket
}

/** The breaker, by recount. */
export class ShadowBreaker {
  state: BreakerState = 'closed'
  private readonly spec: BreakerSpec
  private log: { at: number; bad: boolean; again: boolean }[] = []
  private readonly probes = new Map<Call, number>()
  private last: { call: Call; bad: boolean } | null = null
  private recoveryMs: number
  private openedAt = 0

  constructor(spec: BreakerSpec) {
    this.spec = spec
    this.recoveryMs = spec.recoveryMs
  }

  learn(seen: Seen): void {
    const bad = judged(seen)
    if (bad === undefined) {
      this.last = null
      return
    }
    this.last = { call: seen.call, bad }
    if (this.state === 'closed') this.log.push({ at: seen.now, bad, again: seen.again })
  }

  private over(now: number): boolean {
    const start = windowStart(now, this.spec.windowMs)
    this.log = this.log.filter((e) => e.at >= start)
    const total = this.log.filter((e) => !e.again).length
    const bad = this.log.filter((e) => e.bad).length
    return total >= this.spec.minimumRequests && bad * 100 > total * this.spec.thresholdPercent
  }

  /** The engine's breaker turned; the outcome that made it was learnt before. */
  changed(from: BreakerState, to: BreakerState, now: number, openUntil: number): void {
    must(from === this.state, `breaker was ${this.state}, says it was ${from}`)
    if (to === 'half-open') {
      must(from === 'open', 'half-open comes after open')
      must(now >= this.openedAt + 0.8 * this.recoveryMs, 'half-open before the recovery time')
    } else {
      const { last } = this
      must(last !== null, 'the breaker turned by an outcome that says nothing about the peer')
      must(last.bad === (to === 'open'), `${to} by the wrong kind of outcome`)
      if (from === 'closed') must(this.over(now), 'opened below its threshold')
      else must(this.probes.has(last.call), 'decided by a call that was no probe')
      if (to === 'open') {
        if (from === 'half-open') this.recoveryMs = Math.min(this.recoveryMs * 2, this.spec.maxRecoveryMs)
        const wait = (openUntil - now) / this.recoveryMs
        must(wait >= 0.799 && wait <= 1.201, `opened for ${wait} of its recovery time`)
        this.openedAt = now
      } else this.recoveryMs = this.spec.recoveryMs
      this.log = []
    }
    this.probes.clear()
    this.state = to
  }

  /** After each turn of the loop. */
  settled(now: number): void {
    if (this.state === 'closed' && this.last?.bad === true) must(!this.over(now), 'stays closed above its threshold')
    this.last = null
  }

  admitted(call: Call, now: number): void {
    must(this.state !== 'open', 'a call passed an open breaker')
    if (this.state !== 'half-open') return
    this.probes.set(call, now)
    let young = 0
    for (const since of this.probes.values()) if (now < since + 0.75 * this.recoveryMs) young++
    must(young <= this.spec.halfOpenProbes, `${young} probes at a time`)
  }

  ended(call: Call): void {
    this.probes.delete(call)
  }
}

/** Outlier detection, by recount. */
export class ShadowOutlier {
  private readonly spec: OutlierSpec
  private readonly runs = new Map<HostRuntime, { errors: number; gateway: number }>()
  /** The latest host that failed, in this turn of the loop. */
  private failed: HostRuntime | null = null
  private readonly out = new Set<HostRuntime>()

  constructor(spec: OutlierSpec) {
    this.spec = spec
  }

  learn(seen: Seen): void {
    const bad = judged(seen)
    if (bad === undefined) return
    // Its time ended while it was no part of the cluster.
    if (this.out.has(seen.host) && seen.host.ejectedUntil === 0) this.returned(seen.host)
    const run = this.runs.get(seen.host) ?? { errors: 0, gateway: 0 }
    this.runs.set(seen.host, run)
    if (!bad) return
    // Its head was an error already: it stays one.
    if (seen.again && seen.status >= 500) return
    run.errors++
    this.failed = seen.host
    if (seen.kind === Kind.Response && (seen.status < 502 || seen.status > 504)) run.gateway = 0
    else run.gateway++
  }

  /** An answer came whole, and was none of the host's errors. */
  endedWell(host: HostRuntime): void {
    this.runs.set(host, { errors: 0, gateway: 0 })
  }

  ejected(host: HostRuntime, hosts: readonly HostRuntime[]): void {
    const run = this.runs.get(host) ?? { errors: 0, gateway: 0 }
    must(this.reached(run), `${host.address} ejected after ${run.errors} errors in a row`)
    const out = hosts.filter((h) => h.ejectedUntil !== 0).length
    const most = Math.max(1, Math.floor((hosts.length * this.spec.maxEjectionPercent) / 100))
    this.out.add(host)
    must(out <= most, `${out} of ${hosts.length} hosts ejected`)
  }

  returned(host: HostRuntime): void {
    this.out.delete(host)
    this.runs.delete(host)
    this.failed = null
  }

  /** After each turn of the loop: who is over the limit is out, as far as anybody may be. */
  settled(hosts: readonly HostRuntime[]): void {
    const host = this.failed
    this.failed = null
    if (host === null || !hosts.includes(host) || hosts.some((h) => h.ejectedUntil !== 0)) return
    const run = this.runs.get(host)!
    must(!this.reached(run), `${host.address} is in after ${run.errors} errors in a row`)
  }

  private reached(run: { errors: number; gateway: number }): boolean {
    const { consecutive5xx, consecutiveGatewayErrors } = this.spec
    return (
      (consecutive5xx > 0 && run.errors >= consecutive5xx) ||
      (consecutiveGatewayErrors > 0 && run.gateway >= consecutiveGatewayErrors)
    )
  }
}

/** The retry budget, by recount. */
export class ShadowBudget {
  private readonly spec: RetryBudgetSpec
  private readonly calls: number[] = []
  private readonly retries: number[] = []
  private inFlight = 0

  constructor(spec: RetryBudgetSpec) {
    this.spec = spec
  }

  called(now: number): void {
    this.calls.push(now)
  }

  /** @param decidedAt when the try before it ended */
  retried(decidedAt: number, peakActive: number): void {
    const { spec } = this
    this.retries.push(decidedAt)
    this.inFlight++
    if (spec.kind === 'concurrency') {
      const most = Math.max(spec.minConcurrency, (peakActive * spec.percent) / 100)
      must(this.inFlight <= most, `${this.inFlight} retries in flight, ${most} allowed`)
      return
    }
    const start = windowStart(decidedAt, spec.windowMs)
    const calls = this.calls.filter((t) => t >= start && t <= decidedAt).length
    const retries = this.retries.filter((t) => t >= start && t <= decidedAt).length
    const floor = Math.max(1, (spec.floorPerSecond * spec.windowMs) / 1000)
    const most = (calls * spec.percent) / 100 + floor
    must(retries <= most + 1e-9, `${retries} retries in the window, ${most} allowed`)
  }

  released(): void {
    this.inFlight--
  }
}
