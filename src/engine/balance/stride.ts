import type { Random } from '../../model/clock.ts'

/** One turn in every round. */
const FULL = 65_536
/** No index counts for more than so many times the mean, or for less than that part of it; bounds the search for the next turn. */
const SPREAD = 10
/** Spreads the turns of equal weights over the rounds: 2^16 / golden ratio. */
const OFFSET = 40_503

/**
 * Turns by weight, evenly spread: in each round an index is skipped as often as its weight lags behind the largest one. O(1) on
 * average whatever the number of indexes, allocates nothing, and new weights take effect with the next turn.
 */
export class Stride {
  private turns = new Uint32Array(0)
  private round: number
  private index = -1

  /** Begins anywhere, so that the processes of a deployment do not go round in step. */
  constructor(random: Random) {
    this.round = random.u32() & 0xffff
  }

  /** Others than before. */
  resize(count: number): void {
    this.turns = new Uint32Array(count)
    if (this.index >= count) this.index = -1
  }

  /**
   * @param weights one for each index; 0 = not known, which counts as the mean of the others
   * @returns whether at least two are known; else there is nothing to go by
   */
  weigh(weights: Float64Array): boolean {
    let sum = 0
    let known = 0
    let most = 0
    for (const weight of weights) {
      if (weight <= 0) continue
      sum += weight
      known++
      if (weight > most) most = weight
    }
    if (known < 2) return false
    const mean = sum / known
    const largest = Math.min(most, mean * SPREAD)
    const least = mean / SPREAD
    for (let i = 0; i < weights.length; i++) {
      const weight = weights[i]! > 0 ? Math.min(Math.max(weights[i]!, least), largest) : mean
      this.turns[i] = Math.max(1, Math.round((weight / largest) * FULL))
    }
    return true
  }

  /** Only asked after `weigh` said that there is something to go by. */
  next(): number {
    const { turns } = this
    for (;;) {
      this.index++
      if (this.index === turns.length) {
        this.index = 0
        this.round = (this.round + 1) & 0xffff
      }
      const turn = turns[this.index]!
      const sofar = (Math.imul(turn, this.round) + Math.imul(this.index, OFFSET)) & 0xffff
      if (sofar + turn >= FULL) return this.index
    }
  }
}
