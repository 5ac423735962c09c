import type { Random } from '../../model/clock.ts'
import type { HostRuntime } from '../host.ts'
import { below } from '../random.ts'
import type { Balancer } from './balancer.ts'
import { WeightedDraw } from './weighted-draw.ts'

/**
 * Draws `choiceCount` hosts and takes the one with the fewest active requests per weight (Envoy LeastRequestLbConfig). The
 * first is drawn by weight and wins ties: weights hold also while nothing is going on.
 */
export class LeastRequest implements Balancer {
  private readonly choices: number
  private readonly draw = new WeightedDraw()
  private hosts: readonly HostRuntime[] = []
  constructor(choiceCount: number) {
    this.choices = Math.max(2, choiceCount)
  }
  update(usable: readonly HostRuntime[]): void {
    this.hosts = usable
    this.draw.update(usable)
  }
  pick(random: Random): HostRuntime {
    const { hosts } = this
    const count = hosts.length
    if (count === 1) return hosts[0]!
    const first = this.draw.index(random)
    let best = hosts[first]!
    // The other draws are among the others, so that two hosts are always compared with each other.
    for (let i = 1; i < this.choices; i++) {
      const other = hosts[(first + 1 + below(random, count - 1)) % count]!
      if (other.active * best.spec.weight < best.active * other.spec.weight) best = other
    }
    return best
  }
}
