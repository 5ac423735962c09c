import type { Random } from '../../model/clock.ts'
import type { HostRuntime } from '../host.ts'
import { below } from '../random.ts'

/** Draws the index of a host, uniformly or by weight. */
export class WeightedDraw {
  private count = 0
  /** Sums of weights; null = all equal. */
  private sums: readonly number[] | null = null

  update(hosts: readonly HostRuntime[]): void {
    this.count = hosts.length
    const first = hosts[0]?.spec.weight
    if (hosts.every((h) => h.spec.weight === first)) {
      this.sums = null
      return
    }
    let sum = 0
    this.sums = hosts.map((h) => (sum += h.spec.weight))
  }

  /** Only asked when there is at least one host. */
  index(random: Random): number {
    const { sums } = this
    if (sums === null) return below(random, this.count)
    const at = below(random, sums[sums.length - 1]!)
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
