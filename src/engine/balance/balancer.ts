import type { Hash64 } from '../../match/hash64.ts'
import type { Random } from '../../model/clock.ts'
import type { LbSpec } from '../../model/cluster.ts'
import type { Attempt } from '../attempt.ts'
import type { HostRuntime } from '../host.ts'
import { LeastRequest } from './least-request.ts'
import { Maglev } from './maglev.ts'
import { PeakEwma } from './peak-ewma.ts'
import { PickFirst } from './pick-first.ts'
import { RandomPick } from './random.ts'
import { RingHash } from './ring-hash.ts'
import { RoundRobin } from './round-robin.ts'
import { WeightedRoundRobin } from './weighted-round-robin.ts'

/** Chooses one of some hosts; told when they change, so that `pick` never filters. Picking must not allocate. */
export interface Balancer {
  /** @param weights of the hosts, in their order, each > 0; how much they sum up to says nothing */
  update(hosts: readonly HostRuntime[], weights: readonly number[], now: number): void
  /**
   * Only called when there is at least one host.
   * @param hash of the call; null = none
   */
  pick(hash: Hash64 | null, now: number): HostRuntime
  /**
   * For those who keep the hosts in an order of their own for each hash: the next one after `pick` that was not tried.
   * Others leave it out, and any untried host is taken.
   * @returns null = all were tried
   */
  untried?(hash: Hash64, latest: Attempt): HostRuntime | null
}

/** What balancers are made with. */
export interface BalancerEnv {
  readonly random: Random
  /** Attempts in flight at all hosts of the cluster. */
  readonly load: { readonly active: number }
}

/** The one place that knows all policies. */
export function createBalancer(spec: LbSpec, env: BalancerEnv): Balancer {
  switch (spec.policy) {
    case 'ROUND_ROBIN':
      return new RoundRobin(spec.slowStart, env)
    case 'RANDOM':
      return new RandomPick(env)
    case 'PICK_FIRST':
      return new PickFirst(spec, env)
    case 'LEAST_REQUEST':
      return new LeastRequest(spec, env)
    case 'PEAK_EWMA':
      return new PeakEwma(spec, env)
    case 'WEIGHTED_ROUND_ROBIN':
      return new WeightedRoundRobin(spec, env)
    case 'RING_HASH':
      return new RingHash(spec, env)
    case 'MAGLEV':
      return new Maglev(spec, env)
  }
}
