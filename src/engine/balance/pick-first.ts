import type { LbSpec } from '../../model/cluster.ts'
import type { HostRuntime } from '../host.ts'
import { below } from '../random.ts'
import type { Balancer, BalancerEnv } from './balancer.ts'

/**
 * One host for all calls until it is not usable any more, then the next one (gRFC A62). With `shuffle` processes differ in which
 * one that is. Weights do not count.
 */
export class PickFirst implements Balancer {
  readonly #shuffle: boolean
  readonly #env: BalancerEnv
  #host: HostRuntime | null = null

  constructor({ shuffle }: Extract<LbSpec, { policy: 'PICK_FIRST' }>, env: BalancerEnv) {
    this.#shuffle = shuffle
    this.#env = env
  }

  update(hosts: readonly HostRuntime[]): void {
    if (this.#host !== null && hosts.includes(this.#host)) return
    this.#host = hosts[this.#shuffle && hosts.length > 0 ? below(this.#env.random, hosts.length) : 0] ?? null
  }

  pick(): HostRuntime {
    return this.#host!
  }
}
