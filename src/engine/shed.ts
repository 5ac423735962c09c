import type { ShedSpec } from '../model/inbound.ts'
import type { Priority } from '../model/route.ts'

/** ms between two looks at the event loop. */
export const SHED_TICK_MS = 20
/** Looks in a row that must find the loop late before anything is limited that was not: one pause is no overload. */
const SUSTAINED = 2
/** Where the limit begins, at least, when it was not there before. */
const FIRST_LIMIT = 50
/** ms without lag after which a limit that nobody needs goes again, where it was not configured. */
const CALM_MS = 10_000
/** Share of the limit up to which a class is let in. */
const share: Readonly<Record<Priority, number>> = { SHEDDABLE: 0.8, DEFAULT: 1, CRITICAL: 1.5 }

/**
 * Limits the requests under way by how late the event loop is: additive increase, multiplicative decrease. `tick` is
 * called every {@link SHED_TICK_MS} with how late that was; the decision about a request is a comparison.
 *
 * A limit of requests under way bounds the lag even of handlers that never yield: one turn of the loop starts no more of
 * them. An `initialLimit` of Infinity (the default) means that there is no limit until the loop is late twice in a row,
 * so servers with many requests that only wait are left alone.
 */
export class Shed {
  /** Requests that count: under way and not yet answering. */
  inFlight = 0
  limit: number
  /** Everything but CRITICAL is refused. */
  emergency = false
  /** Requests refused since the start. */
  refused = 0
  /**
   * Calls back in the next turn of the event loop; null = places are free at once. With it one turn starts no more handlers
   * than the limit says, even of those that answer before they return.
   */
  nextTurn: ((work: () => void) => void) | null = null
  private spec: ShedSpec
  private ended = 0
  private peak = 0
  private lateTicks = 0
  private stalledTicks = 0
  private calmSince = Number.POSITIVE_INFINITY

  constructor(spec: ShedSpec) {
    this.spec = spec
    this.limit = spec.initialLimit
  }

  /** Keeps what was learned, within the new bounds. */
  update(spec: ShedSpec): void {
    if (spec.initialLimit !== this.spec.initialLimit) this.limit = spec.initialLimit
    this.spec = spec
    if (this.limit !== Number.POSITIVE_INFINITY) this.limit = clamp(this.limit, spec)
  }

  /** Lets a request in, or not. */
  enter(priority: Priority): boolean {
    if (this.inFlight >= this.limit * share[priority] || (this.emergency && priority !== 'CRITICAL')) {
      this.refused++
      return false
    }
    this.inFlight++
    if (this.inFlight > this.peak) this.peak = this.inFlight
    return true
  }

  /** A request is over. While load is limited its place is free from the next turn of the event loop on. */
  leave(): void {
    if (this.nextTurn === null || this.limit === Number.POSITIVE_INFINITY) this.inFlight--
    else if (this.ended++ === 0) this.nextTurn(this.settle)
  }

  /** Load is limited, or may be after a `tick` with this lag. */
  limits(lag: number): boolean {
    return this.limit !== Number.POSITIVE_INFINITY || lag > this.spec.lagMs
  }

  private readonly settle = () => {
    this.inFlight -= this.ended
    this.ended = 0
  }

  /** @param lag how much later than it should this is called, ms */
  tick(lag: number, now: number): void {
    const { spec, peak } = this
    this.peak = this.inFlight
    this.stalledTicks = lag > spec.emergencyLagMs ? this.stalledTicks + 1 : 0
    this.emergency = this.stalledTicks >= SUSTAINED
    if (lag > spec.lagMs) {
      this.lateTicks++
      this.calmSince = Number.POSITIVE_INFINITY
      if (this.limit !== Number.POSITIVE_INFINITY) this.limit = clamp(this.limit * 0.9, spec)
      else if (this.lateTicks >= SUSTAINED) this.limit = clamp(Math.max(FIRST_LIMIT, peak * 0.9), spec)
      return
    }
    this.lateTicks = 0
    if (this.limit === Number.POSITIVE_INFINITY) return
    if (peak * 2 >= this.limit) {
      this.limit = clamp(this.limit + 1, spec)
      this.calmSince = Number.POSITIVE_INFINITY
    } else if (spec.initialLimit === Number.POSITIVE_INFINITY) {
      if (this.calmSince === Number.POSITIVE_INFINITY) this.calmSince = now
      else if (now - this.calmSince >= CALM_MS) this.limit = Number.POSITIVE_INFINITY
    }
  }
}

function clamp(limit: number, spec: ShedSpec): number {
  return Math.min(spec.maxLimit, Math.max(spec.minLimit, limit))
}
