import type { Hash64 } from '../../match/hash64.ts'
import type { Random } from '../../model/clock.ts'
import type { LbSpec } from '../../model/cluster.ts'
import type { HostRuntime } from '../host.ts'
import { LeastRequest } from './least-request.ts'
import { RandomPick } from './random.ts'
import { RoundRobin } from './round-robin.ts'

/** Chooses one of the usable hosts; told when they change, so that `pick` never filters. */
export interface Balancer {
  update(usable: readonly HostRuntime[]): void
  /** Only called when there is at least one host. */
  pick(random: Random, hash: Hash64 | null): HostRuntime
}

/** The one place that knows all policies. */
export function createBalancer(spec: LbSpec): Balancer {
  switch (spec.policy) {
    case 'ROUND_ROBIN':
      return new RoundRobin()
    case 'RANDOM':
      return new RandomPick()
    case 'LEAST_REQUEST':
      return new LeastRequest(spec.choiceCount)
    default:
      throw new Error(`${spec.policy} is not built yet`)
  }
}
