import type { Hash64 } from '../../match/hash64.ts'
import type { Random } from '../../model/clock.ts'
import type { LbSpec } from '../../model/cluster.ts'
import type { HostRuntime } from '../host.ts'
import { below } from '../random.ts'
import type { Balancer, BalancerEnv } from './balancer.ts'
import { Schedule, type Weigher } from './schedule.ts'
import { anySlow, slowStartShare } from './slow-start.ts'
import { allEqual } from './weighted-draw.ts'

type Spec = Extract<LbSpec, { policy: 'LEAST_REQUEST' }>

/**
 * Envoy's LeastRequestLbConfig. Equal weights: draws `choiceCount` hosts and takes the one with the fewest active requests.
 * Unequal weights, or a host that starts slowly: in turn by weight / (active + 1)^bias.
 */
export class LeastRequest implements Balancer, Weigher {
  private readonly spec: Spec
  private readonly choices: number
  private readonly bias: number
  private readonly random: Random
  private readonly schedule: Schedule
  private hosts: readonly HostRuntime[] = []
  private scheduled = false

  constructor(spec: Spec, env: BalancerEnv) {
    this.spec = spec
    this.choices = Math.max(2, spec.choiceCount)
    this.bias = spec.activeRequestBias ?? 1
    this.random = env.random
    this.schedule = new Schedule(this, env.random)
  }

  update(hosts: readonly HostRuntime[], weights: readonly number[], now: number): void {
    this.hosts = hosts
    if (hosts.length === 0) return
    this.scheduled = !allEqual(weights) || anySlow(this.spec.slowStart, hosts, now)
    if (this.scheduled) this.schedule.update(hosts, weights, now)
  }

  pick(_hash: Hash64 | null, now: number): HostRuntime {
    if (this.scheduled) return this.schedule.next(now)
    const { hosts, random } = this
    const count = hosts.length
    if (count === 1) return hosts[0]!
    const first = below(random, count)
    let best = hosts[first]!
    // The other draws are among the others, so that two hosts are always compared with each other.
    for (let i = 1; i < this.choices; i++) {
      const other = hosts[(first + 1 + below(random, count - 1)) % count]!
      if (other.active < best.active) best = other
    }
    return best
  }

  weightOf(host: HostRuntime, weight: number, now: number): number {
    const busy = host.active + 1
    const share = slowStartShare(this.spec.slowStart, host, now)
    return (weight * share) / (this.bias === 1 ? busy : busy ** this.bias)
  }
}
