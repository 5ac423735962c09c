import type { BucketSpec } from '../model/inbound.ts'

/** What sums of fractions may lack of a whole token, so that whoever comes when it was told to is let in. */
const ROUNDING = 1e-6

/**
 * A token bucket, full at first. Tokens come continuously, `tokensPerFill` in each `fillIntervalMs`, at most `maxTokens`
 * of them: in no span of t ms are more than maxTokens + t * tokensPerFill / fillIntervalMs taken. Counted when asked, so
 * that an idle bucket costs nothing.
 */
export class TokenBucket {
  private spec: BucketSpec
  private tokens: number
  private at: number

  constructor(spec: BucketSpec, now: number) {
    this.spec = spec
    this.tokens = spec.maxTokens
    this.at = now
  }

  get limit(): number {
    return this.spec.maxTokens
  }

  /** Takes one; false = there is none. */
  take(now: number): boolean {
    this.fill(now)
    if (this.tokens < 1 - ROUNDING) return false
    this.tokens = Math.max(0, this.tokens - 1)
    return true
  }

  /** Gives back one that was taken for nothing. */
  giveBack(): void {
    this.tokens = Math.min(this.spec.maxTokens, this.tokens + 1)
  }

  /** Whole tokens. */
  remaining(now: number): number {
    this.fill(now)
    return Math.floor(this.tokens + ROUNDING)
  }

  isFull(now: number): boolean {
    this.fill(now)
    return this.tokens >= this.spec.maxTokens - ROUNDING
  }

  /** ms until there are so many tokens, at most those of a full bucket; 0 = there are. */
  msUntil(tokens: number, now: number): number {
    this.fill(now)
    const missing = Math.min(tokens, this.spec.maxTokens) - this.tokens
    return missing <= 0 ? 0 : (missing * this.spec.fillIntervalMs) / this.spec.tokensPerFill
  }

  /**
   * Changes the size without a gift: a bucket that grows keeps its tokens, one that shrinks keeps its share. A service's
   * bucket that is divided by more and by fewer instances, over and over, mints nothing.
   */
  resize(spec: BucketSpec, now: number): void {
    this.fill(now)
    const before = this.spec.maxTokens
    if (spec.maxTokens < before) this.tokens *= spec.maxTokens / before
    this.spec = spec
  }

  private fill(now: number): void {
    const elapsed = now - this.at
    if (elapsed <= 0) return
    const { maxTokens, tokensPerFill, fillIntervalMs } = this.spec
    this.tokens = Math.min(maxTokens, this.tokens + (elapsed * tokensPerFill) / fillIntervalMs)
    this.at = now
  }
}
