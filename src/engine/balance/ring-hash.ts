import { Hash64 } from '../../match/hash64.ts'
import { murmur64 } from '../../match/murmur64.ts'
import { xxHash64 } from '../../match/xxhash64.ts'
import type { LbSpec } from '../../model/cluster.ts'
import type { Attempt } from '../attempt.ts'
import type { HostRuntime } from '../host.ts'
import { tried } from '../tried.ts'
import type { Balancer, BalancerEnv } from './balancer.ts'
import { BoundedLoad } from './bounded-load.ts'
import { hashKey } from './hash-key.ts'
import { sortHashes } from './sort-hashes.ts'
import { WeightedDraw } from './weighted-draw.ts'

type Spec = Extract<LbSpec, { policy: 'RING_HASH' }>

/**
 * Ketama ring as Envoy builds it (RingHashLbConfig): each host stands on it at the hashes of "key_0", "key_1"..., as often as
 * its weight says; a call goes to the first one at or after its own hash. Calls without a hash go anywhere.
 */
export class RingHash implements Balancer {
  private readonly spec: Spec
  private readonly draw: WeightedDraw
  private readonly bound: BoundedLoad | null
  private hosts: readonly HostRuntime[] = []
  /** The ring, in order. */
  private hi = new Uint32Array(0)
  private lo = new Uint32Array(0)
  /** Indexes of hosts. */
  private owners = new Uint32Array(0)

  constructor(spec: Spec, env: BalancerEnv) {
    this.spec = spec
    this.draw = new WeightedDraw(env.random)
    this.bound = spec.balanceFactorPercent > 0 ? new BoundedLoad(spec.balanceFactorPercent, env) : null
  }

  /** Entries of the ring. */
  get size(): number {
    return this.owners.length
  }

  update(hosts: readonly HostRuntime[], weights: readonly number[]): void {
    this.hosts = hosts
    this.draw.update(weights)
    this.bound?.update(hosts, weights)
    if (hosts.length > 0) this.build(weights)
  }

  pick(hash: Hash64 | null): HostRuntime {
    if (hash === null) return this.hosts[this.draw.index()]!
    const owner = this.owners[this.find(hash)]!
    return this.bound === null ? this.hosts[owner]! : this.bound.choose(owner, hash)
  }

  untried(hash: Hash64, latest: Attempt): HostRuntime | null {
    const { owners } = this
    const start = this.find(hash)
    for (let i = 1; i < owners.length; i++) {
      const host = this.hosts[owners[(start + i) % owners.length]!]!
      if (!tried(latest, host)) return host
    }
    return null
  }

  /** The first entry at or after `hash`; the ring is closed. */
  private find(hash: Hash64): number {
    const { hi, lo } = this
    const wantedHi = hash.hi >>> 0
    const wantedLo = hash.lo >>> 0
    let low = 0
    let high = hi.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const upper = hi[middle]!
      if (upper < wantedHi || (upper === wantedHi && lo[middle]! < wantedLo)) low = middle + 1
      else high = middle
    }
    return low === hi.length ? 0 : low
  }

  private build(weights: readonly number[]): void {
    const { minimumRingSize, maximumRingSize, hashFunction, useHostname } = this.spec
    const total = weights.reduce((a, b) => a + b, 0)
    const least = weights.reduce((a, b) => Math.min(a, b)) / total
    const scale = Math.min(Math.max(1, Math.ceil(least * minimumRingSize)) / least, maximumRingSize)
    const size = Math.ceil(scale)
    const hi = new Uint32Array(size)
    const lo = new Uint32Array(size)
    const owners = new Uint32Array(size)
    const hash = hashFunction === 'MURMUR_HASH_2' ? murmur64 : xxHash64
    const out = new Hash64()
    let current = 0
    let target = 0
    for (let owner = 0; owner < this.hosts.length; owner++) {
      const key = hashKey(this.hosts[owner]!, useHostname)
      target += (scale * weights[owner]!) / total
      for (let i = 0; current < target && current < size; i++, current++) {
        hash(`${key}_${i}`, out)
        hi[current] = out.hi
        lo[current] = out.lo
        owners[current] = owner
      }
    }
    const order = sortHashes(hi.subarray(0, current), lo.subarray(0, current))
    this.hi = order.map((i) => hi[i]!)
    this.lo = order.map((i) => lo[i]!)
    this.owners = order.map((i) => owners[i]!)
  }
}
