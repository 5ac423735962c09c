import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Random } from '../model/clock.ts'
import { RenewalSchedule } from './renewal-schedule.ts'

const HOUR = 3_600_000
const middle: Random = { u32: () => 2 ** 31 }
const randoms = fc.nat(2 ** 32 - 1).map((n): Random => ({ u32: () => n }))

describe('renewal schedule', () => {
  it('asks at once as long as there is nothing', () => {
    const schedule = new RenewalSchedule(middle)
    expect(schedule.due).toBe(0)
    expect(schedule.urgency(0)).toBe('none')
  })

  it('renews at half of the lifetime, give or take 5 %', () => {
    const schedule = new RenewalSchedule(middle)
    schedule.obtained({ issuedAt: 0, notAfter: 24 * HOUR })
    expect(schedule.due).toBe(12 * HOUR)
    fc.assert(
      fc.property(randoms, fc.integer({ min: 10_000, max: 1e12 }), (random, length) => {
        const s = new RenewalSchedule(random)
        s.obtained({ issuedAt: 1000, notAfter: 1000 + length })
        expect(s.due).toBeGreaterThanOrEqual(1000 + length * 0.45)
        expect(s.due).toBeLessThanOrEqual(1000 + length * 0.55)
      }),
    )
  })

  it('warns when less than a quarter is left', () => {
    const schedule = new RenewalSchedule(middle)
    schedule.obtained({ issuedAt: 0, notAfter: 100_000 })
    expect(schedule.failed(50_000)).toBe('calm')
    expect(schedule.failed(75_000)).toBe('calm')
    expect(schedule.failed(75_001)).toBe('ends soon')
    expect(schedule.failed(100_000)).toBe('ends soon')
    expect(schedule.failed(100_001)).toBe('none')
    schedule.obtained({ issuedAt: 100_001, notAfter: 200_000 })
    expect(schedule.failures).toBe(0)
    expect(schedule.urgency(100_001)).toBe('calm')
  })

  it('backs off: longer after each failure, up to a minute', () => {
    const schedule = new RenewalSchedule(middle)
    const waits = Array.from({ length: 9 }, () => {
      schedule.failed(0)
      return schedule.due
    })
    expect(waits).toEqual([750, 1500, 3000, 6000, 12_000, 24_000, 45_000, 45_000, 45_000])
  })

  it('walks: always a next attempt in the future, and several before the certificate ends', () => {
    const life = fc.integer({ min: 1_000, max: 24 * HOUR })
    fc.assert(
      fc.property(randoms, life, fc.integer({ min: 1, max: 40 }), (random, length, failures) => {
        const schedule = new RenewalSchedule(random)
        schedule.obtained({ issuedAt: 0, notAfter: length })
        let before = 0
        for (let i = 0; i < failures; i++) {
          const now = schedule.due
          schedule.failed(now)
          expect(schedule.due).toBeGreaterThanOrEqual(now + 100)
          expect(schedule.due).toBeLessThanOrEqual(now + 60_000)
          if (schedule.due < length) before++
        }
        if (failures > 5) expect(before).toBeGreaterThanOrEqual(2)
      }),
    )
  })
})
