const BUCKETS = 10

/** Two counters over a sliding window, in ten buckets; forgetting is by bucket. Allocates nothing after construction. */
export class Window {
  private readonly bucketMs: number
  private readonly first = new Float64Array(BUCKETS)
  private readonly second = new Float64Array(BUCKETS)
  private at = 0
  private slot = 0
  /** Before this the bucket is the same one. */
  private until = 0
  /** Sums over the window as of the last call. */
  firstSum = 0
  secondSum = 0

  constructor(windowMs: number) {
    this.bucketMs = windowMs / BUCKETS
  }

  add(now: number, first: number, second: number): void {
    if (now >= this.until) this.advance(now)
    const { slot } = this
    this.first[slot]! += first
    this.second[slot]! += second
    this.firstSum += first
    this.secondSum += second
  }

  /** Forgets what is older than the window. */
  advance(now: number): void {
    const at = Math.floor(now / this.bucketMs)
    if (at - this.at >= BUCKETS) this.clear()
    else {
      for (let i = this.at + 1; i <= at; i++) {
        const slot = i % BUCKETS
        this.firstSum -= this.first[slot]!
        this.secondSum -= this.second[slot]!
        this.first[slot] = 0
        this.second[slot] = 0
      }
    }
    if (at > this.at) this.at = at
    this.slot = this.at % BUCKETS
    this.until = (this.at + 1) * this.bucketMs
  }

  clear(): void {
    this.first.fill(0)
    this.second.fill(0)
    this.firstSum = 0
    this.secondSum = 0
  }
}
