import type { Hash64 } from '../../match/hash64.ts'
import type { HostRuntime } from '../host.ts'
import type { BalancerEnv } from './balancer.ts'

/**
 * Consistent hashing with bounded loads (Envoy ConsistentHashingLbConfig.hash_balance_factor): a host that has more than its
 * share of the active requests, times the factor, passes calls on, to hosts in an order that the hash decides.
 */
export class BoundedLoad {
  private readonly factorPercent: number
  private readonly load: BalancerEnv['load']
  private hosts: readonly HostRuntime[] = []
  private weights: readonly number[] = []
  private total = 1

  constructor(factorPercent: number, env: BalancerEnv) {
    this.factorPercent = factorPercent
    this.load = env.load
  }

  update(hosts: readonly HostRuntime[], weights: readonly number[]): void {
    this.hosts = hosts
    this.weights = weights
    this.total = weights.reduce((a, b) => a + b, 0)
  }

  /** @param wanted index of the host that the hash points at */
  choose(wanted: number, hash: Hash64): HostRuntime {
    const { hosts } = this
    const load = this.overload(wanted)
    if (load <= 1) return hosts[wanted]!
    const count = hosts.length
    let best = wanted
    let least = load
    let step = 1 + ((hash.hi >>> 0) % count)
    while (gcd(step, count) !== 1) step++
    // A step without a common divisor comes by every host once.
    for (let i = 1, at = wanted; i < count; i++) {
      at = (at + step) % count
      const other = this.overload(at)
      if (other <= 1) return hosts[at]!
      if (other < least) {
        least = other
        best = at
      }
    }
    return hosts[best]!
  }

  /** Active requests by slots; above 1 = it has too many. */
  private overload(index: number): number {
    const slots = Math.floor(((this.load.active + 1) * this.factorPercent + 99) / 100)
    const own = Math.max(1, Math.ceil((slots * this.weights[index]!) / this.total))
    return this.hosts[index]!.active / own
  }
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b)
}
