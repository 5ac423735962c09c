import type { Random } from '../../model/clock.ts'
import type { HostRuntime } from '../host.ts'
import type { Balancer } from './balancer.ts'
import { WeightedDraw } from './weighted-draw.ts'

/** Uniform, or by weight. */
export class RandomPick implements Balancer {
  private readonly draw = new WeightedDraw()
  private hosts: readonly HostRuntime[] = []

  update(usable: readonly HostRuntime[]): void {
    this.hosts = usable
    this.draw.update(usable)
  }

  pick(random: Random): HostRuntime {
    return this.hosts[this.draw.index(random)]!
  }
}
