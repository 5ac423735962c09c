import type { Hash64 } from '../../match/hash64.ts'
import type { Random } from '../../model/clock.ts'
import type { LbSpec } from '../../model/cluster.ts'
import type { HostRuntime } from '../host.ts'
import { FAILURE_MS, latencyOf } from '../latency.ts'
import { below } from '../random.ts'
import type { Balancer, BalancerEnv } from './balancer.ts'
import { slowStartShare } from './slow-start.ts'
import { WeightedDraw } from './weighted-draw.ts'

type Spec = Extract<LbSpec, { policy: 'PEAK_EWMA' }>

/** With unequal weights the second of two hosts must be better by so much, or latencies' noise would undo the weights. */
const CLEARLY = 2

/**
 * Power of two choices by latency times (active requests + 1). With unequal weights the first is drawn by weight, requests
 * count by weight, and the second wins when it is clearly better.
 */
export class PeakEwma implements Balancer {
  private readonly spec: Spec
  private readonly random: Random
  private readonly draw: WeightedDraw
  private hosts: readonly HostRuntime[] = []
  private weights: readonly number[] = []
  private meanWeight = 1

  constructor(spec: Spec, env: BalancerEnv) {
    this.spec = spec
    this.random = env.random
    this.draw = new WeightedDraw(env.random)
  }

  update(hosts: readonly HostRuntime[], weights: readonly number[]): void {
    this.hosts = hosts
    this.weights = weights
    this.draw.update(weights)
    this.meanWeight = weights.reduce((a, b) => a + b, 0) / weights.length
  }

  pick(_hash: Hash64 | null, now: number): HostRuntime {
    const { hosts, draw } = this
    const count = hosts.length
    if (count === 1) return hosts[0]!
    const first = draw.index()
    const second = (first + 1 + below(this.random, count - 1)) % count
    const better = this.cost(second, now) * (draw.even ? 1 : CLEARLY) < this.cost(first, now)
    return hosts[better ? second : first]!
  }

  private cost(index: number, now: number): number {
    const host = this.hosts[index]!
    const { decayMs, slowStart } = this.spec
    const latency = latencyOf(host, decayMs, now)
    const { active } = host
    // One that never answered is worth a try, but no second one before the first came back.
    if (latency === 0) return active === 0 ? 0 : FAILURE_MS * active
    const requests = 1 + (active * this.meanWeight) / this.weights[index]!
    return (latency * requests) / slowStartShare(slowStart, host, now)
  }
}
