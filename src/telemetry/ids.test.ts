import { describe, expect, it } from 'vitest'
import { newRequestId, newSpanId, newTraceparent } from './ids.ts'
import { isTraceparent, parseTraceparent } from './traceparent.ts'

describe('generated ids', () => {
  it('are valid and do not repeat, also across refills of the pool', () => {
    const seen = new Set<string>()
    for (let i = 0; i < 5_000; i++) {
      expect(newSpanId()).toMatch(/^[0-9a-f]{16}$/)
      const made = newTraceparent(i % 2 === 0)
      expect(isTraceparent(made)).toBe(true)
      expect(parseTraceparent(made)?.flags).toBe(i % 2 === 0 ? 1 : 0)
      seen.add(made.slice(3, 35))
    }
    expect(seen.size).toBe(5_000)
  })

  it('use every bit: each hex digit takes every value', () => {
    const values = Array.from({ length: 48 }, () => new Set<string>())
    for (let i = 0; i < 2_000; i++) {
      const text = newTraceparent(true)
      const digits = text.slice(3, 35) + text.slice(36, 52)
      for (let d = 0; d < 48; d++) values[d]!.add(digits[d]!)
    }
    for (const seen of values) expect(seen.size).toBe(16)
  })

  it('request ids are UUIDs', () => {
    expect(newRequestId()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })
})
