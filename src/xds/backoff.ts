import type { Random } from '../model/clock.ts'

export interface BackoffOptions {
  /** ms */
  readonly initialMs: number
  readonly maxMs: number
  readonly factor: number
}

/** gRPC's connection back-off, but at most 30 s: configuration should not stay old for longer than that. */
export const streamBackoff: BackoffOptions = { initialMs: 1_000, maxMs: 30_000, factor: 1.6 }

/**
 * Delays between streams. The first after a stream that worked is spread over the whole of its interval, because that
 * is the moment at which all clients of a restarted control plane come back together; later ones over its last third.
 */
export class Backoff {
  readonly #options: BackoffOptions
  readonly #random: Random
  #attempt = 0

  constructor(options: BackoffOptions, random: Random) {
    this.#options = options
    this.#random = random
  }

  /** ms to wait before the next stream. */
  next(): number {
    const { initialMs, maxMs, factor } = this.#options
    const ceiling = Math.min(maxMs, initialMs * factor ** this.#attempt)
    const least = this.#attempt === 0 ? 0.1 : 0.7
    this.#attempt++
    return ceiling * (least + (1 - least) * (this.#random.u32() / 2 ** 32))
  }

  /** A response came: the control plane works. */
  reset(): void {
    this.#attempt = 0
  }
}
