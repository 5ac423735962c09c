import type { Clock } from '../model/clock.ts'
import { TICK_MS, type TimerWheel, type WheelHost } from './time.ts'

/** Ties a wheel to Node's timers: one interval, only while something is armed. Call once per wheel. */
export function driveWheel(wheel: TimerWheel, clock: Clock): () => void {
  let interval: NodeJS.Timeout | null = null
  let held = false
  const tick = () => {
    const now = clock.now()
    // Late: two turns let the poll phase deliver what already lies in socket buffers.
    if (!wheel.tick(now)) setImmediate(() => setImmediate(() => wheel.tick(clock.now(), true)))
    if (wheel.size === 0 && interval !== null) {
      clearInterval(interval)
      interval = null
    }
  }
  const host: WheelHost = {
    wake() {
      wheel.skipTo(clock.now())
      if (interval !== null) return
      interval = setInterval(tick, TICK_MS)
      if (!held) interval.unref()
    },
    hold(on) {
      held = on
      if (on) interval?.ref()
      else interval?.unref()
    },
  }
  wheel.host = host
  return () => {
    if (interval !== null) clearInterval(interval)
    interval = null
    wheel.host = null
  }
}
