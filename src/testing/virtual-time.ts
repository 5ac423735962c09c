import { EventHeap } from '../engine/testing/event-heap.ts'
import { TICK_MS, type TimerWheel } from '../engine/time.ts'
import type { Clock } from '../model/clock.ts'

/** A clock that stands still until somebody moves it, and what happens when it moves. */
export class VirtualTime implements Clock {
  private time = 0
  private readonly heap = new EventHeap()
  private ticking = false

  now(): number {
    return this.time
  }

  after(ms: number, run: () => void): void {
    this.heap.push(this.time + ms, run)
  }

  /** Takes the place of Node's timers behind an engine's wheel. */
  drive(wheel: TimerWheel): void {
    const tick = () => {
      wheel.tick(this.time)
      this.ticking = wheel.size > 0
      if (this.ticking) this.after(TICK_MS, tick)
    }
    wheel.host = {
      wake: () => {
        wheel.skipTo(this.time)
        if (this.ticking) return
        this.ticking = true
        this.after(TICK_MS, tick)
      },
      hold: () => undefined,
    }
  }

  /** Lets `ms` pass. */
  advance(ms: number): void {
    const end = this.time + ms
    while (this.heap.nextAt <= end) this.step()
    this.time = end
  }

  /** Goes on until `done`, or until `limitMs` have passed. @returns whether it is done */
  until(done: () => boolean, limitMs: number): boolean {
    const end = this.time + limitMs
    while (!done()) {
      if (this.heap.nextAt > end) {
        this.time = end
        return false
      }
      this.step()
    }
    return true
  }

  private step(): void {
    this.time = this.heap.nextAt
    this.heap.pop()()
  }
}
