import { createHash } from 'node:crypto'
import type { BucketSpec } from '../model/inbound.ts'
import { TokenBucket } from './token-bucket.ts'

/** Buckets kept for single keys. */
export const MAX_BUCKETS = 10_000
/** Buckets looked at, when the table is full, for one that may go. */
const SEARCH = 16
/** Longer keys are kept as their hash. */
const MAX_KEY = 128

/**
 * One bucket for each value of a key, at most {@link MAX_BUCKETS}. Only full buckets are forgotten: a new one would be as
 * full, so nobody gains by filling the table. While it holds none, all new keys share one bucket: whoever invents keys
 * gets no more by it, and whoever was known keeps what is his.
 */
export class BucketTable {
  private spec: BucketSpec
  private readonly overrides: Map<string, BucketSpec>
  private readonly buckets = new Map<string, TokenBucket>()
  private strangers: TokenBucket

  constructor(spec: BucketSpec, overrides: ReadonlyMap<string, BucketSpec>, now: number) {
    this.spec = spec
    this.overrides = new Map([...overrides].map(([key, bucket]) => [kept(key), bucket]))
    this.strangers = new TokenBucket(spec, now)
  }

  get size(): number {
    return this.buckets.size
  }

  of(text: string, now: number): TokenBucket {
    const key = kept(text)
    const known = this.buckets.get(key)
    if (known !== undefined) return known
    if (this.buckets.size >= MAX_BUCKETS && !this.forgetOne(now)) return this.strangers
    const bucket = new TokenBucket(this.overrides.get(key) ?? this.spec, now)
    this.buckets.set(key, bucket)
    return bucket
  }

  /** See TokenBucket.resize. */
  resize(spec: BucketSpec, overrides: ReadonlyMap<string, BucketSpec>, now: number): void {
    this.spec = spec
    this.overrides.clear()
    for (const [key, bucket] of overrides) this.overrides.set(kept(key), bucket)
    for (const [key, bucket] of this.buckets) bucket.resize(this.overrides.get(key) ?? spec, now)
    this.strangers.resize(spec, now)
  }

  /** The oldest first; those that stay go to the end, so that the next search looks at others. */
  private forgetOne(now: number): boolean {
    let looked = 0
    for (const [key, bucket] of this.buckets) {
      this.buckets.delete(key)
      if (bucket.isFull(now)) return true
      this.buckets.set(key, bucket)
      if (++looked === SEARCH) break
    }
    return false
  }
}

function kept(key: string): string {
  return key.length <= MAX_KEY ? key : createHash('sha256').update(key).digest('base64')
}
