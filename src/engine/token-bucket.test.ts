import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BucketTable, MAX_BUCKETS } from './bucket-table.ts'
import { TokenBucket } from './token-bucket.ts'

const spec = fc.record({
  maxTokens: fc.integer({ min: 1, max: 50 }),
  tokensPerFill: fc.integer({ min: 1, max: 50 }),
  fillIntervalMs: fc.integer({ min: 1, max: 5_000 }),
})

describe('a token bucket', () => {
  it('gives never more than its size and what came in meanwhile, in any span of time', () => {
    fc.assert(
      fc.property(spec, fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 200 }), (spec, gaps) => {
        const bucket = new TokenBucket(spec, 0)
        const taken: number[] = []
        let now = 0
        for (const gap of gaps) {
          now += gap
          if (bucket.take(now)) taken.push(now)
        }
        for (let i = 0; i < taken.length; i++)
          for (let j = i; j < taken.length; j++) {
            const span = taken[j]! - taken[i]!
            const most = spec.maxTokens + (span * spec.tokensPerFill) / spec.fillIntervalMs
            expect(j - i + 1).toBeLessThanOrEqual(most + 1e-3)
          }
      }),
    )
  })

  it('gives all it can to whoever comes when it says', () => {
    fc.assert(
      fc.property(spec, (spec) => {
        const bucket = new TokenBucket(spec, 0)
        let now = 0
        for (let i = 0; i < 200; i++) {
          now += bucket.msUntil(1, now)
          expect(bucket.take(now)).toBe(true)
        }
        expect(now).toBeCloseTo(((200 - spec.maxTokens) * spec.fillIntervalMs) / spec.tokensPerFill, 1)
      }),
    )
  })

  it('mints nothing by being resized over and over', () => {
    const whole = { maxTokens: 100, tokensPerFill: 100, fillIntervalMs: 60_000 }
    const half = { maxTokens: 50, tokensPerFill: 50, fillIntervalMs: 60_000 }
    const bucket = new TokenBucket(whole, 0)
    for (let i = 0; i < 60; i++) bucket.take(0)
    expect(bucket.remaining(0)).toBe(40)
    bucket.resize(half, 0)
    expect(bucket.remaining(0)).toBe(20)
    bucket.resize(whole, 0)
    expect(bucket.remaining(0)).toBe(20)
    expect(bucket.remaining(6_000)).toBe(30)
  })

  it('stands still when the clock does not move on', () => {
    const bucket = new TokenBucket({ maxTokens: 1, tokensPerFill: 1, fillIntervalMs: 10 }, 100)
    expect(bucket.take(100)).toBe(true)
    expect(bucket.take(90)).toBe(false)
    expect(bucket.take(109)).toBe(false)
    expect(bucket.take(110)).toBe(true)
  })
})

describe('a table of buckets', () => {
  const one = { maxTokens: 1, tokensPerFill: 1, fillIntervalMs: 1_000 }
  it('does not grow beyond its bound, and inventing keys gains nothing', () => {
    const table = new BucketTable(one, new Map(), 0)
    let taken = 0
    for (let i = 0; i < MAX_BUCKETS + 5_000; i++) if (table.of(`key ${i}`, 0).take(0)) taken++
    expect(table.size).toBe(MAX_BUCKETS)
    expect(taken).toBe(MAX_BUCKETS + 1)
  })

  it('keeps the buckets of those that it knows while strangers come', () => {
    const table = new BucketTable(one, new Map(), 0)
    const known = table.of('known', 0)
    for (let i = 0; i < MAX_BUCKETS * 2; i++) {
      known.take(i / 1_000)
      table.of(`key ${i}`, i / 1_000).take(i / 1_000)
    }
    expect(table.of('known', 20)).toBe(known)
  })

  it('forgets full ones for new ones', () => {
    const table = new BucketTable(one, new Map(), 0)
    for (let i = 0; i < MAX_BUCKETS; i++) table.of(`key ${i}`, 0).take(0)
    const late = table.of('late', 1_000)
    expect(late.take(1_000)).toBe(true)
    expect(table.of('late', 1_000)).toBe(late)
    expect(table.size).toBe(MAX_BUCKETS)
  })

  it('keeps long keys apart', () => {
    const table = new BucketTable(one, new Map([[`${'x'.repeat(200)}a`, { ...one, maxTokens: 7 }]]), 0)
    expect(table.of(`${'x'.repeat(200)}a`, 0).limit).toBe(7)
    expect(table.of(`${'x'.repeat(200)}b`, 0).limit).toBe(1)
  })
})
