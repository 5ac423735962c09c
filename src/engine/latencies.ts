/** Buckets per doubling: percentiles are at most 9 % too high. */
const PER_DOUBLING = 8
/** From 1/16 ms to about an hour. */
const BUCKETS = 208
const LOWEST_MS = 1 / 16
/** What was counted is halved this often, so that the last half minute decides. */
const HALF_LIFE_MS = 10_000
/** Percentiles are computed anew at most this often. */
const FRESH_MS = 100
/** Fewer samples say nothing. */
export const LEAST_SAMPLES = 20

/** Recent latencies of one cluster: a histogram in logarithmic buckets that forgets. Allocates nothing after construction. */
export class Latencies {
  private readonly counts = new Float64Array(BUCKETS)
  private total = 0
  private halvedAt = Number.NEGATIVE_INFINITY
  private readonly known = new Map<number, { at: number; ms: number }>()

  record(ms: number, now: number): void {
    this.forget(now)
    const at = Math.ceil(Math.log2(Math.max(ms, LOWEST_MS) / LOWEST_MS) * PER_DOUBLING)
    this.counts[Math.min(at, BUCKETS - 1)]!++
    this.total++
  }

  /** ms that `percent` of the latencies are at most; Infinity = too few are known. */
  percentile(percent: number, now: number): number {
    let answer = this.known.get(percent)
    if (answer === undefined) {
      answer = { at: Number.NEGATIVE_INFINITY, ms: 0 }
      this.known.set(percent, answer)
    }
    if (now - answer.at >= FRESH_MS) {
      answer.at = now
      answer.ms = this.compute(percent, now)
    }
    return answer.ms
  }

  private compute(percent: number, now: number): number {
    this.forget(now)
    if (this.total < LEAST_SAMPLES) return Number.POSITIVE_INFINITY
    let left = (this.total * percent) / 100
    for (let i = 0; i < BUCKETS; i++) {
      left -= this.counts[i]!
      if (left <= 1e-9) return LOWEST_MS * 2 ** (i / PER_DOUBLING)
    }
    return Number.POSITIVE_INFINITY
  }

  private forget(now: number): void {
    if (this.halvedAt === Number.NEGATIVE_INFINITY) this.halvedAt = now
    const times = Math.floor((now - this.halvedAt) / HALF_LIFE_MS)
    if (times <= 0) return
    this.halvedAt += times * HALF_LIFE_MS
    const share = 2 ** -times
    this.total = 0
    for (let i = 0; i < BUCKETS; i++) {
      this.counts[i]! *= share
      this.total += this.counts[i]!
    }
  }
}
