import type { Random } from '../../model/clock.ts'
import type { HostRuntime } from '../host.ts'
import { unit } from '../random.ts'

/** Says what a host weighs at this moment; > 0. */
export interface Weigher {
  weightOf(host: HostRuntime, weight: number, now: number): number
}

/**
 * Earliest deadline first: each host has its turn as often as its weight says, evenly spread. A heap: a turn costs O(log n)
 * and allocates nothing. Weights are asked for anew at each turn, so they may change with time and load.
 */
export class Schedule {
  private readonly weigher: Weigher
  private readonly random: Random
  private hosts: readonly HostRuntime[] = []
  private weights: readonly number[] = []
  /** Virtual time: of the latest turn, and of the next turn of each host. */
  private time = 0
  private due = new Float64Array(0)
  private heap = new Uint32Array(0)
  /** Keeps the steps of virtual time near 1, whatever the weights. */
  private scale = 1

  constructor(weigher: Weigher, random: Random) {
    this.weigher = weigher
    this.random = random
  }

  /** Hosts that were there keep their turn; new ones, and all at first, begin anywhere in their first round. */
  update(hosts: readonly HostRuntime[], weights: readonly number[], now: number): void {
    const waits = new Map<HostRuntime, number>()
    for (let i = 0; i < this.hosts.length; i++) waits.set(this.hosts[i]!, (this.due[i]! - this.time) / this.scale)
    const count = hosts.length
    this.hosts = hosts
    this.weights = weights
    this.time = 0
    this.scale = weights.reduce((a, b) => a + b, 0) / count
    this.due = new Float64Array(count)
    this.heap = Uint32Array.from({ length: count }, (_, i) => i)
    for (let i = 0; i < count; i++) {
      const round = this.round(i, now)
      const wait = waits.get(hosts[i]!)
      this.due[i] = wait === undefined ? unit(this.random) * round : Math.min(wait * this.scale, round)
    }
    for (let i = (count >> 1) - 1; i >= 0; i--) this.sink(i)
  }

  /** Only asked when there is at least one host. */
  next(now: number): HostRuntime {
    const index = this.heap[0]!
    this.time = this.due[index]!
    this.due[index] = this.time + this.round(index, now)
    this.sink(0)
    return this.hosts[index]!
  }

  private round(index: number, now: number): number {
    return this.scale / this.weigher.weightOf(this.hosts[index]!, this.weights[index]!, now)
  }

  private sink(from: number): void {
    const { heap, due } = this
    const count = heap.length
    const index = heap[from]!
    const key = due[index]!
    let at = from
    for (;;) {
      let child = 2 * at + 1
      if (child >= count) break
      if (child + 1 < count && due[heap[child + 1]!]! < due[heap[child]!]!) child++
      if (due[heap[child]!]! >= key) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = index
  }
}
