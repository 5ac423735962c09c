import type { Hash64 } from '../../match/hash64.ts'
import type { WeightedRoundRobinSpec } from '../../model/cluster.ts'
import type { HostRuntime } from '../host.ts'
import type { Balancer, BalancerEnv } from './balancer.ts'
import { RoundRobin } from './round-robin.ts'
import { Stride } from './stride.ts'

/**
 * In turn, by what hosts say that they can take: requests per second over utilization (gRFC A58). A host that said nothing (yet)
 * gets the mean share; where fewer than two said anything it is plain round robin, by the weights of the endpoints.
 */
export class WeightedRoundRobin implements Balancer {
  private readonly spec: WeightedRoundRobinSpec
  private readonly plain: RoundRobin
  private readonly stride: Stride
  private hosts: readonly HostRuntime[] = []
  private weights = new Float64Array(0)
  private weighted = false
  /** Monotonic ms at which weights are worked out again. */
  private due = Number.NEGATIVE_INFINITY

  constructor(spec: WeightedRoundRobinSpec, env: BalancerEnv) {
    this.spec = spec
    this.plain = new RoundRobin(undefined, env)
    this.stride = new Stride(env.random)
  }

  update(hosts: readonly HostRuntime[], weights: readonly number[], now: number): void {
    this.hosts = hosts
    this.plain.update(hosts, weights, now)
    this.weights = new Float64Array(hosts.length)
    this.stride.resize(hosts.length)
    this.weigh(now)
  }

  pick(hash: Hash64 | null, now: number): HostRuntime {
    if (now >= this.due) this.weigh(now)
    return this.weighted ? this.hosts[this.stride.next()]! : this.plain.pick(hash, now)
  }

  private weigh(now: number): void {
    const { hosts, weights, spec } = this
    this.due = now + spec.updateMs
    for (let i = 0; i < hosts.length; i++) weights[i] = hosts[i]!.load?.weightAt(spec, now) ?? 0
    this.weighted = this.stride.weigh(weights)
  }
}
