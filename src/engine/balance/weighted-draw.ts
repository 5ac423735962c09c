import type { Random } from '../../model/clock.ts'
import { below } from '../random.ts'

/** Draws an index, uniformly or by weight. */
export class WeightedDraw {
  private readonly random: Random
  private count = 0
  /** Sums of weights; null = all equal. */
  private sums: readonly number[] | null = null

  constructor(random: Random) {
    this.random = random
  }

  /** All weights are the same. */
  get even(): boolean {
    return this.sums === null
  }

  update(weights: readonly number[]): void {
    this.count = weights.length
    if (allEqual(weights)) {
      this.sums = null
      return
    }
    let sum = 0
    this.sums = weights.map((weight) => (sum += weight))
  }

  /** Only asked when there is at least one weight. */
  index(): number {
    const { sums } = this
    if (sums === null) return below(this.random, this.count)
    const at = (this.random.u32() / 4_294_967_296) * sums[sums.length - 1]!
    let low = 0
    let high = sums.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (sums[middle]! > at) high = middle
      else low = middle + 1
    }
    return low
  }
}

export function allEqual(weights: readonly number[]): boolean {
  const first = weights[0]
  return weights.every((weight) => weight === first)
}
