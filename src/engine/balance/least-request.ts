import type { Random } from '../../model/clock.ts'
import type { HostRuntime } from '../host.ts'
import { below } from '../random.ts'
import type { Balancer } from './balancer.ts'

/**
 * Draws `choiceCount` hosts and takes the one with the fewest active requests per weight (Envoy LeastRequestLbConfig; for
 * unequal weights the load is (active + 1) / weight).
 */
export class LeastRequest implements Balancer {
  private readonly choices: number
  private hosts: readonly HostRuntime[] = []
  constructor(choiceCount: number) {
    this.choices = Math.max(2, choiceCount)
  }
  update(usable: readonly HostRuntime[]): void {
    this.hosts = usable
  }
  pick(random: Random): HostRuntime {
    const { hosts } = this
    const count = hosts.length
    if (count === 1) return hosts[0]!
    const first = below(random, count)
    let best = hosts[first]!
    // The second draw is among the others, so that two hosts are always compared with each other.
    for (let i = 1; i < this.choices; i++) {
      const other = hosts[(first + 1 + below(random, count - 1)) % count]!
      if ((other.active + 1) * best.spec.weight < (best.active + 1) * other.spec.weight) best = other
    }
    return best
  }
}
