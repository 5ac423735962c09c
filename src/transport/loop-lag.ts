import type { Inbound } from '../engine/inbound.ts'
import { SHED_TICK_MS } from '../engine/shed.ts'
import type { Clock } from '../model/clock.ts'

/** Looks at the event loop, while load is limited, between two looks at which answers have begun. */
const EASE_TICKS = 10

/**
 * Tells the limit of load of a server how late the event loop is, about every 20 ms. Does not keep the process alive.
 * @param ease asked now and then while load is limited: to say of answers that have begun that they are no load any more
 * @returns stops it
 */
export function watchLoad(inbound: () => Inbound | undefined, clock: Clock, ease: () => void): () => void {
  let ticks = 0
  let last = clock.now()
  const interval = setInterval(() => {
    const now = clock.now()
    const lag = Math.max(0, now - last - SHED_TICK_MS)
    last = now
    const shed = inbound()?.runtime.shed
    if (shed === undefined || shed === null) return
    shed.nextTurn ??= setImmediate
    if (shed.limits(lag) && ticks++ % EASE_TICKS === 0) ease()
    shed.tick(lag, now)
  }, SHED_TICK_MS).unref()
  return () => clearInterval(interval)
}
