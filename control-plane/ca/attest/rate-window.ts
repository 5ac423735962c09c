/** Counts events per key in a sliding minute. Keys that fall silent are forgotten; the table is bounded. */
export class RateWindow {
  private readonly limit: number
  private readonly windowMs: number
  private readonly events = new Map<string, number[]>()

  constructor(limit: number, windowMs = 60_000) {
    this.limit = limit
    this.windowMs = windowMs
  }

  /** Whether this key has used up its limit. */
  exhausted(key: string, now: number): boolean {
    return this.recent(key, now).length >= this.limit
  }

  add(key: string, now: number): void {
    const recent = this.recent(key, now)
    recent.push(now)
    this.events.delete(key) // to the end: the map keeps the order of last use
    this.events.set(key, recent)
    for (const [oldest, times] of this.events) {
      if (this.events.size <= MOST_KEYS && times.at(-1)! > now - this.windowMs) break
      this.events.delete(oldest)
    }
  }

  private recent(key: string, now: number): number[] {
    return (this.events.get(key) ?? []).filter((at) => at > now - this.windowMs)
  }
}

const MOST_KEYS = 10_000
