/**
 * When to act on a burst of changes: after `quietMs` without another, at the latest `maxMs` after the first; at once
 * when a change is urgent (an endpoint that leaves must not be called meanwhile).
 */
export class Debounce {
  readonly #quietMs: number
  readonly #maxMs: number
  #first: number | null = null
  #urgent = false
  #due = Number.POSITIVE_INFINITY

  constructor(quietMs: number, maxMs: number) {
    this.#quietMs = quietMs
    this.#maxMs = maxMs
  }

  hit(now: number): void {
    this.#first ??= now
    if (!this.#urgent) this.#due = Math.min(now + this.#quietMs, this.#first + this.#maxMs)
  }

  hurry(now: number): void {
    this.#first ??= now
    this.#urgent = true
    this.#due = now
  }

  /** When to act; Infinity = nothing has changed. */
  get due(): number {
    return this.#due
  }

  /** Acts: forgets the burst and returns the time of its first change. */
  take(now: number): number {
    const first = this.#first ?? now
    this.#first = null
    this.#urgent = false
    this.#due = Number.POSITIVE_INFINITY
    return first
  }
}
