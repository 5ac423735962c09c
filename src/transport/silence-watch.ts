import { TimerNode, type TimerWheel } from '../engine/time.ts'

/** Looks per idle timeout: silence is found at most a quarter of it too late. */
const LOOKS = 4

/** An answer that may fall silent. */
export interface Listened {
  /**
   * Ends an answer that was silent for too long.
   * @returns ms that this answer may be silent; Infinity = it does not matter
   */
  look(now: number): number
}

/**
 * Finds responses that fell silent. One timer for all calls of a dispatcher, so that a call pays for a mark and no more:
 * bytes leave a mark on their exchange, and a look takes the marks away.
 */
export class SilenceWatch extends TimerNode {
  private readonly wheel: TimerWheel
  private readonly underWay: Iterable<Listened>
  private period = Number.POSITIVE_INFINITY

  constructor(wheel: TimerWheel, underWay: Iterable<Listened>) {
    super()
    this.wheel = wheel
    this.underWay = underWay
  }

  /** A response begins that may be silent for `idleMs`; Infinity = for ever. */
  expect(idleMs: number, now: number): void {
    if (idleMs >= this.period * LOOKS) return
    this.period = idleMs / LOOKS
    this.wheel.arm(this, now + this.period)
  }

  /** Nothing is under way any more. */
  stop(): void {
    this.period = Number.POSITIVE_INFINITY
    this.wheel.disarm(this)
  }

  override fire(now: number): void {
    let shortest = Number.POSITIVE_INFINITY
    // Those that are silent for too long leave the list meanwhile.
    for (const exchange of [...this.underWay]) shortest = Math.min(shortest, exchange.look(now))
    if (isEmpty(this.underWay)) {
      this.stop()
      return
    }
    this.period = shortest / LOOKS
    this.wheel.arm(this, now + this.period)
  }
}

function isEmpty(items: Iterable<unknown>): boolean {
  for (const _ of items) return false
  return true
}
