import { describe, expect, it } from 'vitest'
import { Debounce } from './debounce.ts'

describe('a burst of changes', () => {
  it('is over when it has been quiet', () => {
    const d = new Debounce(20, 500)
    expect(d.due).toBe(Number.POSITIVE_INFINITY)
    d.hit(0)
    d.hit(10)
    expect(d.due).toBe(30)
    expect(d.take(30)).toBe(0)
    expect(d.due).toBe(Number.POSITIVE_INFINITY)
  })

  it('does not wait for ever', () => {
    const d = new Debounce(20, 500)
    for (let now = 0; now <= 600; now += 10) d.hit(now)
    expect(d.due).toBe(500)
  })

  it('ends at once for what is urgent, whatever follows', () => {
    const d = new Debounce(20, 500)
    d.hit(0)
    d.hurry(5)
    d.hit(6)
    expect(d.due).toBe(5)
    d.take(5)
    d.hit(100)
    expect(d.due).toBe(120)
  })
})
