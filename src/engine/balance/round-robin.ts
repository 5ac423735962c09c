import type { HostRuntime } from '../host.ts'
import type { Balancer } from './balancer.ts'

/**
 * In turn; with unequal weights each host as often as its weight says, spread evenly (smooth weighted round robin). The
 * order is computed when hosts change; sums beyond the limit are scaled down.
 */
export class RoundRobin implements Balancer {
  private order: readonly HostRuntime[] = []
  private next = 0

  update(usable: readonly HostRuntime[]): void {
    this.order = smoothOrder(usable)
    if (this.next >= this.order.length) this.next = 0
  }

  pick(): HostRuntime {
    const host = this.order[this.next]!
    this.next = this.next + 1 === this.order.length ? 0 : this.next + 1
    return host
  }
}

const MAX_TURNS = 20_000

function smoothOrder(hosts: readonly HostRuntime[]): readonly HostRuntime[] {
  const first = hosts[0]?.spec.weight
  if (hosts.every((h) => h.spec.weight === first)) return hosts
  let weights = hosts.map((h) => h.spec.weight)
  const divisor = weights.reduce(gcd)
  weights = weights.map((w) => w / divisor)
  let total = weights.reduce((a, b) => a + b, 0)
  if (total * hosts.length > MAX_TURNS * 100 || total > MAX_TURNS) {
    const scale = total / Math.max(hosts.length, Math.min(MAX_TURNS, (MAX_TURNS * 100) / hosts.length))
    weights = weights.map((w) => Math.max(1, Math.round(w / scale)))
    total = weights.reduce((a, b) => a + b, 0)
  }
  const current = weights.map(() => 0)
  const order: HostRuntime[] = []
  for (let turn = 0; turn < total; turn++) {
    let best = 0
    for (let i = 0; i < weights.length; i++) {
      current[i]! += weights[i]!
      if (current[i]! > current[best]!) best = i
    }
    current[best]! -= total
    order.push(hosts[best]!)
  }
  return order
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b)
}
