import type { Hash64 } from '../../match/hash64.ts'
import type { Random } from '../../model/clock.ts'
import type { SlowStartSpec } from '../../model/cluster.ts'
import type { HostRuntime } from '../host.ts'
import { below } from '../random.ts'
import type { Balancer, BalancerEnv } from './balancer.ts'
import { Schedule, type Weigher } from './schedule.ts'
import { anySlow, slowStartShare } from './slow-start.ts'
import { allEqual } from './weighted-draw.ts'

/**
 * In turn, from a random host on, so that the processes of a deployment do not go round in step. With unequal weights, or
 * while a host starts slowly, each has its turn as often as its weight says.
 */
export class RoundRobin implements Balancer, Weigher {
  private readonly slowStart: SlowStartSpec | undefined
  private readonly random: Random
  private readonly schedule: Schedule
  private hosts: readonly HostRuntime[] = []
  private scheduled = false
  private next = -1

  constructor(slowStart: SlowStartSpec | undefined, env: BalancerEnv) {
    this.slowStart = slowStart
    this.random = env.random
    this.schedule = new Schedule(this, env.random)
  }

  update(hosts: readonly HostRuntime[], weights: readonly number[], now: number): void {
    this.hosts = hosts
    if (hosts.length === 0) return
    if (this.next < 0) this.next = below(this.random, hosts.length)
    else if (this.next >= hosts.length) this.next %= hosts.length
    this.scheduled = !allEqual(weights) || anySlow(this.slowStart, hosts, now)
    if (this.scheduled) this.schedule.update(hosts, weights, now)
  }

  pick(_hash: Hash64 | null, now: number): HostRuntime {
    if (this.scheduled) return this.schedule.next(now)
    const { hosts, next } = this
    this.next = next + 1 === hosts.length ? 0 : next + 1
    return hosts[next]!
  }

  weightOf(host: HostRuntime, weight: number, now: number): number {
    return weight * slowStartShare(this.slowStart, host, now)
  }
}
