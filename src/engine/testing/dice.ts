import type { Random } from '../../model/clock.ts'
import { below, unit, Xoshiro } from '../random.ts'

/** What a simulated world draws its events with: all of it follows from the seed. */
export class Dice {
  readonly random: Random
  constructor(seed: number, stream: number) {
    this.random = new Xoshiro(Uint32Array.of(seed, stream, 0x9e3779b9, Math.imul(seed + 1, 0x85ebca6b) >>> 0))
    // Neighbouring seeds part only after some rounds.
    for (let i = 0; i < 16; i++) this.random.u32()
  }
  chance(probability: number): boolean {
    return unit(this.random) < probability
  }
  /** Uniform in [from, to). */
  between(from: number, to: number): number {
    return from + unit(this.random) * (to - from)
  }
  /** Uniform integer, both ends included. */
  int(from: number, to: number): number {
    return from + below(this.random, to - from + 1)
  }
  oneOf<T>(items: readonly T[]): T {
    return items[below(this.random, items.length)]!
  }
}
