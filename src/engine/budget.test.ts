import { describe, expect, it } from 'vitest'
import { createBudget } from './budget.ts'

function most(budget: ReturnType<typeof createBudget>, now: number, active: number): number {
  let n = 0
  while (n < 1_000 && budget.withdraw(now, active)) n++
  return n
}

describe('a budget over a window', () => {
  it.each([
    { percent: 20, floorPerSecond: 1, calls: 0, allowed: 10 },
    { percent: 20, floorPerSecond: 1, calls: 100, allowed: 30 },
    { percent: 20, floorPerSecond: 0, calls: 100, allowed: 21 },
    { percent: 0, floorPerSecond: 0, calls: 100, allowed: 1 },
    { percent: 100, floorPerSecond: 0.5, calls: 10, allowed: 15 },
  ])('of $percent % and $floorPerSecond a second allows $allowed for $calls calls', (row) => {
    const budget = createBudget({ kind: 'window', windowMs: 10_000, ...row })
    for (let i = 0; i < row.calls; i++) budget.deposit(5_000)
    expect(most(budget, 5_000, 0)).toBe(row.allowed)
    // Spent means spent, until the window has passed.
    expect(most(budget, 13_000, 0)).toBe(0)
    expect(most(budget, 15_001, 0)).toBe(Math.max(1, row.floorPerSecond * 10))
  })
})

describe('a budget of retries in flight', () => {
  it.each([
    { percent: 20, minConcurrency: 3, active: 0, allowed: 3 },
    { percent: 20, minConcurrency: 3, active: 100, allowed: 20 },
    { percent: 100, minConcurrency: 0, active: 2, allowed: 2 },
    { percent: 0, minConcurrency: 0, active: 100, allowed: 0 },
  ])('of $percent %, at least $minConcurrency, allows $allowed beside $active', (row) => {
    const budget = createBudget({ kind: 'concurrency', ...row })
    expect(most(budget, 0, row.active)).toBe(row.allowed)
    if (row.allowed === 0) return
    budget.release()
    expect(most(budget, 0, row.active)).toBe(1)
  })
})
