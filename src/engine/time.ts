/** Length of one tick, ms: what every timeout of the engine is rounded up to. */
export const TICK_MS = 10
const SLOTS = 1024
/** More ticks than this behind = the event loop stalled; see {@link TimerWheel.tick}. */
const LATE_TICKS = 5

/** Something that will be due. Intrusive: arming allocates nothing. */
export abstract class TimerNode {
  /** @internal */
  prev: TimerNode | null = null
  /** @internal */
  next: TimerNode | null = null
  /** @internal Tick in which it fires. No time: a number with a fraction in a field is an object of its own. */
  tick = 0
  abstract fire(now: number): void
}

class Ring extends TimerNode {
  constructor() {
    super()
    this.prev = this
    this.next = this
  }
  override fire(): void {}
  append(node: TimerNode): void {
    const last = this.prev!
    last.next = node
    node.prev = last
    node.next = this
    this.prev = node
  }
}

/** What ties a wheel to real timers; see driver.ts. */
export interface WheelHost {
  /** The first node was armed after the wheel had been empty. Must call `skipTo`. */
  wake(): void
  /** true = something waits for nothing but the wheel, so the process must not exit. */
  hold(held: boolean): void
}

/** Hashed timer wheel, 1,024 slots of 10 ms; nodes further away than a turn stay in their slot until their turn comes. */
export class TimerWheel {
  private readonly slots: Ring[] = Array.from({ length: SLOTS }, () => new Ring())
  private readonly firing = new Ring()
  private current = 0
  private holds = 0
  /** Armed nodes. */
  size = 0
  /** What fires now is late because our own event loop stalled: nobody else is to blame. */
  late = false
  host: WheelHost | null = null

  /** (Re)arms; fires in the first tick at or after `due`. Infinity = never, as `disarm`. */
  arm(node: TimerNode, due: number): void {
    if (node.next !== null) this.disarm(node)
    if (due === Number.POSITIVE_INFINITY) return
    if (this.size === 0) this.host?.wake()
    node.tick = Math.max(Math.ceil(due / TICK_MS), this.current + 1)
    this.slots[node.tick % SLOTS]!.append(node)
    this.size++
  }

  disarm(node: TimerNode): void {
    const { prev, next } = node
    if (next === null) return
    prev!.next = next
    next.prev = prev
    node.prev = null
    node.next = null
    this.size--
  }

  /** The time up to `now` had nothing in it: called when the empty wheel is woken. */
  skipTo(now: number): void {
    if (this.size === 0) this.current = Math.floor(now / TICK_MS)
  }

  /**
   * Fires what is due. When the event loop stalled, answers may lie unread in socket buffers; then it fires nothing and
   * returns false, and the driver calls again with `afterPoll` once the poll phase had its turn.
   */
  tick(now: number, afterPoll = false): boolean {
    const target = Math.floor(now / TICK_MS)
    const behind = target - this.current
    if (behind <= 0) return true
    const late = behind > LATE_TICKS && this.size > 0
    if (late && !afterPoll) return false
    this.collect(target)
    this.late = late
    const { firing } = this
    try {
      while (firing.next !== firing) {
        const node = firing.next!
        this.disarm(node)
        node.fire(now)
      }
    } finally {
      this.late = false
    }
    return true
  }

  /** Keeps the process alive until `release`: for waits that have no socket, as a back-off. */
  hold(): void {
    if (this.holds++ === 0) this.host?.hold(true)
  }

  release(): void {
    if (--this.holds === 0) this.host?.hold(false)
  }

  /** Due nodes move to a list of their own first, because `fire` may disarm its neighbours or arm new ones. */
  private collect(target: number): void {
    const first = Math.max(this.current + 1, target - SLOTS + 1)
    this.current = target
    if (this.size === 0) return
    for (let tick = first; tick <= target; tick++) {
      const slot = this.slots[tick % SLOTS]!
      for (let node = slot.next!; node !== slot; ) {
        const next = node.next!
        if (node.tick <= target) {
          node.prev!.next = next
          next.prev = node.prev
          this.firing.append(node)
        }
        node = next
      }
    }
  }
}
