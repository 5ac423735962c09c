import { Hash64 } from '../../match/hash64.ts'
import { xxHash64 } from '../../match/xxhash64.ts'
import type { LbSpec } from '../../model/cluster.ts'
import type { Attempt } from '../attempt.ts'
import type { HostRuntime } from '../host.ts'
import { tried } from '../tried.ts'
import type { Balancer, BalancerEnv } from './balancer.ts'
import { BoundedLoad } from './bounded-load.ts'
import { hashKey } from './hash-key.ts'
import { WeightedDraw } from './weighted-draw.ts'

type Spec = Extract<LbSpec, { policy: 'MAGLEV' }>

/** Slots that a retry looks at by other hashes before it walks along the table. */
const REHASHES = 8

/** Maglev hashing as Envoy builds its table (MaglevLbConfig). Calls without a hash go anywhere. */
export class Maglev implements Balancer {
  private readonly spec: Spec
  private readonly draw: WeightedDraw
  private readonly bound: BoundedLoad | null
  private readonly scratch = new Hash64()
  private hosts: readonly HostRuntime[] = []
  /** Indexes of hosts. */
  private table = new Int32Array(0)

  constructor(spec: Spec, env: BalancerEnv) {
    this.spec = spec
    this.draw = new WeightedDraw(env.random)
    this.bound = spec.balanceFactorPercent > 0 ? new BoundedLoad(spec.balanceFactorPercent, env) : null
  }

  update(hosts: readonly HostRuntime[], weights: readonly number[]): void {
    this.hosts = hosts
    this.draw.update(weights)
    this.bound?.update(hosts, weights)
    if (hosts.length > 0) this.build(weights)
  }

  pick(hash: Hash64 | null): HostRuntime {
    if (hash === null) return this.hosts[this.draw.index()]!
    const owner = this.table[hash.mod(this.table.length)]!
    return this.bound === null ? this.hosts[owner]! : this.bound.choose(owner, hash)
  }

  /** Envoy turns the bits of the hash by the number of the attempt; that alone could come by the same host again. */
  untried(hash: Hash64, latest: Attempt): HostRuntime | null {
    const { hosts, table, scratch } = this
    for (let attempt = 1; attempt <= REHASHES; attempt++) {
      scratch.hi = ~hash.hi
      scratch.lo = hash.lo ^ -attempt
      const host = hosts[table[scratch.mod(table.length)]!]!
      if (!tried(latest, host)) return host
    }
    const start = hash.mod(table.length)
    for (let i = 1; i < table.length; i++) {
      const host = hosts[table[(start + i) % table.length]!]!
      if (!tried(latest, host)) return host
    }
    return null
  }

  private build(weights: readonly number[]): void {
    const size = this.spec.tableSize
    const count = weights.length
    const keys = this.hosts.map((host) => hashKey(host, this.spec.useHostname))
    // In the order of keys, so that the table does not depend on the order of endpoints.
    const order = keys.map((_, i) => i).sort((a, b) => (keys[a]! < keys[b]! ? -1 : keys[a]! > keys[b]! ? 1 : a - b))
    const heaviest = weights.reduce((a, b) => Math.max(a, b))
    const slots = new Float64Array(count)
    const skips = new Float64Array(count)
    const targets = new Float64Array(count)
    const out = new Hash64()
    for (let i = 0; i < count; i++) {
      slots[i] = xxHash64(keys[order[i]!]!, out).mod(size)
      skips[i] = xxHash64(keys[order[i]!]!, out, 1).mod(size - 1) + 1
    }
    const table = new Int32Array(size).fill(-1)
    let filled = 0
    // The heaviest host takes a slot of its own permutation in each round, one half as heavy in every second.
    for (let round = 1; filled < size; round++) {
      for (let i = 0; i < count && filled < size; i++) {
        if (round * (weights[order[i]!]! / heaviest) < targets[i]!) continue
        targets[i]! += 1
        let slot = slots[i]!
        while (table[slot] !== -1) slot = (slot + skips[i]!) % size
        table[slot] = order[i]!
        slots[i] = (slot + skips[i]!) % size
        filled++
      }
    }
    this.table = table
  }
}
