import { SHED_TICK_MS } from '../engine/shed.ts'
import type { Clock } from '../model/clock.ts'

/**
 * Calls back about every 20 ms with how many ms too late the event loop was to do so. Does not keep the process alive.
 * @returns stops it
 */
export function watchLoopLag(clock: Clock, tick: (lagMs: number, now: number) => void): () => void {
  let last = clock.now()
  const interval = setInterval(() => {
    const now = clock.now()
    const lag = Math.max(0, now - last - SHED_TICK_MS)
    last = now
    tick(lag, now)
  }, SHED_TICK_MS).unref()
  return () => clearInterval(interval)
}
