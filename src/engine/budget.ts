import type { RetryBudgetSpec } from '../model/cluster.ts'
import { Window } from './window.ts'

/** How much may be repeated; see docs/concepts.md. Asking spends, so ask last. */
export interface Budget {
  /** A call began. */
  deposit(now: number): void
  /** @param active attempts of the cluster in flight */
  withdraw(now: number, active: number): boolean
  /** Something was repeated that nobody asked for; it counts all the same. */
  charge(now: number): void
  /** A retry that was allowed, or charged, has ended. */
  release(): void
}

/** 20 % of the calls of the last 10 s, and one a second: what no rule says otherwise about. */
export const defaultBudget: RetryBudgetSpec = { kind: 'window', percent: 20, windowMs: 10_000, floorPerSecond: 1 }

export function createBudget(spec: RetryBudgetSpec): Budget {
  return spec.kind === 'window' ? new WindowBudget(spec) : new ConcurrencyBudget(spec)
}

class WindowBudget implements Budget {
  private readonly window: Window
  private readonly ratio: number
  private readonly floor: number
  constructor(spec: Extract<RetryBudgetSpec, { kind: 'window' }>) {
    this.window = new Window(spec.windowMs)
    this.ratio = spec.percent / 100
    this.floor = Math.max(1, (spec.floorPerSecond * spec.windowMs) / 1000)
  }
  deposit(now: number): void {
    this.window.add(now, 1, 0)
  }
  withdraw(now: number): boolean {
    this.window.advance(now)
    if (this.window.secondSum + 1 > this.window.firstSum * this.ratio + this.floor) return false
    this.window.add(now, 0, 1)
    return true
  }
  charge(now: number): void {
    this.window.add(now, 0, 1)
  }
  release(): void {}
}

/** Envoy's retry_budget: retries in flight against calls in flight. */
class ConcurrencyBudget implements Budget {
  private readonly ratio: number
  private readonly least: number
  private retrying = 0
  constructor(spec: Extract<RetryBudgetSpec, { kind: 'concurrency' }>) {
    this.ratio = spec.percent / 100
    this.least = spec.minConcurrency
  }
  deposit(): void {}
  withdraw(_now: number, active: number): boolean {
    if (this.retrying + 1 > Math.max(this.least, active * this.ratio)) return false
    this.retrying++
    return true
  }
  charge(): void {
    this.retrying++
  }
  release(): void {
    this.retrying--
  }
}
