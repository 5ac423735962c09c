import { randomFillSync } from 'node:crypto'
import type { Random } from '../model/clock.ts'

/** xoshiro128**: fast, good enough for balancing and jitter, never for secrets. */
export class Xoshiro implements Random {
  private readonly s: Uint32Array
  constructor(seed: Uint32Array) {
    this.s = Uint32Array.from(seed)
    if (this.s.every((n) => n === 0)) this.s[0] = 1
  }
  u32(): number {
    const s = this.s
    const s1 = s[1]!
    const x = Math.imul(s1, 5)
    const result = Math.imul((x << 7) | (x >>> 25), 9) >>> 0
    s[2]! ^= s[0]!
    s[3]! ^= s1
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= s1 << 9
    const d = s[3]!
    s[3] = (d << 11) | (d >>> 21)
    return result
  }
}

/** Seeded by the system's entropy. */
export const systemRandom: Random = new Xoshiro(randomFillSync(new Uint32Array(4)))

/** Uniform in [0, 1). */
export function unit(random: Random): number {
  return random.u32() / 4_294_967_296
}

/** Uniform integer in [0, below). */
export function below(random: Random, limit: number): number {
  return Math.floor((random.u32() / 4_294_967_296) * limit)
}
