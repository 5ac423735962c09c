/** Wakes all that wait, once; who was not waiting when it rang has not missed it if it compares `count` first. */
export class Wakeup {
  #count = 0
  #waiting = new Set<() => void>()

  get count(): number {
    return this.#count
  }

  ring(): void {
    this.#count++
    const waiting = this.#waiting
    this.#waiting = new Set()
    for (const wake of waiting) wake()
  }

  /** Resolves at the next ring after `count` was `seen`, or when `signal` aborts. */
  async after(seen: number, signal: AbortSignal): Promise<void> {
    if (this.#count !== seen || signal.aborted) return
    await new Promise<void>((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      this.#waiting.add(wake)
      signal.addEventListener('abort', wake)
    })
  }
}
