import type { Random } from '../../model/clock.ts'
import type { HostRuntime } from '../host.ts'
import { below } from '../random.ts'
import type { Balancer } from './balancer.ts'

/** Uniform, or by weight. */
export class RandomPick implements Balancer {
  private hosts: readonly HostRuntime[] = []
  /** Sums of weights; null = all equal. */
  private sums: readonly number[] | null = null

  update(usable: readonly HostRuntime[]): void {
    this.hosts = usable
    const first = usable[0]?.spec.weight
    if (usable.every((h) => h.spec.weight === first)) {
      this.sums = null
      return
    }
    let sum = 0
    this.sums = usable.map((h) => (sum += h.spec.weight))
  }

  pick(random: Random): HostRuntime {
    const { hosts, sums } = this
    if (sums === null) return hosts[below(random, hosts.length)]!
    const at = below(random, sums[sums.length - 1]!)
    let low = 0
    let high = sums.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (sums[middle]! > at) high = middle
      else low = middle + 1
    }
    return hosts[low]!
  }
}
