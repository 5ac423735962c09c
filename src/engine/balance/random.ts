import type { HostRuntime } from '../host.ts'
import type { Balancer, BalancerEnv } from './balancer.ts'
import { WeightedDraw } from './weighted-draw.ts'

/** Uniform, or by weight. */
export class RandomPick implements Balancer {
  private readonly draw: WeightedDraw
  private hosts: readonly HostRuntime[] = []

  constructor(env: BalancerEnv) {
    this.draw = new WeightedDraw(env.random)
  }

  update(hosts: readonly HostRuntime[], weights: readonly number[]): void {
    this.hosts = hosts
    this.draw.update(weights)
  }

  pick(): HostRuntime {
    return this.hosts[this.draw.index()]!
  }
}
