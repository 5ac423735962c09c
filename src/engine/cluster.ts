import type { Clock, Random } from '../model/clock.ts'
import type { BreakerSpec, ClusterSpec } from '../model/cluster.ts'
import type { Attempt } from './attempt.ts'
import { type Balancer, createBalancer } from './balance/balancer.ts'
import { Breaker } from './breaker.ts'
import { type Budget, createBudget, defaultBudget } from './budget.ts'
import type { Call } from './call.ts'
import type { CallEvents } from './events.ts'
import { addressOf, HostRuntime } from './host.ts'
import { RequestLimit } from './limits.ts'
import { Outlier } from './outlier.ts'
import { below } from './random.ts'
import type { TimerWheel } from './time.ts'

/** What the engine's parts share. */
export interface ClusterEnv {
  readonly clock: Clock
  readonly random: Random
  readonly wheel: TimerWheel
  readonly events: CallEvents | null
}

/** One cluster as it lives in this process: state that outlives snapshots, kept by name. */
export class ClusterRuntime {
  readonly name: string
  readonly wheel: TimerWheel
  spec: ClusterSpec
  /** Hosts that are in the configuration now. */
  hosts: readonly HostRuntime[] = []
  /** Those of `hosts` that may be picked now. */
  usable: readonly HostRuntime[] = []
  /** Attempts in flight. */
  active = 0
  /** Retries that wait or are in flight, until they are answered. */
  retrying = 0
  budget: Budget
  breaker: Breaker | null = null
  outlier: Outlier | null = null
  limit: RequestLimit | null = null
  /** By address, also hosts that left with attempts in flight: one that flaps back is the same object. */
  private readonly known = new Map<string, HostRuntime>()
  /** By route name. */
  readonly routeBreakers: Map<string, Breaker> = new Map()
  private readonly env: ClusterEnv
  private balancer: Balancer

  constructor(spec: ClusterSpec, env: ClusterEnv) {
    this.name = spec.name
    this.spec = spec
    this.env = env
    this.wheel = env.wheel
    this.balancer = createBalancer(spec.lb)
    this.budget = createBudget(spec.retryBudget ?? defaultBudget)
    this.configure(null, spec)
    this.updateHosts()
  }

  /** Takes a new description; state of policies whose options are equal stays. */
  update(spec: ClusterSpec): void {
    const before = this.spec
    if (before === spec) return
    this.spec = spec
    this.configure(before, spec)
    this.updateHosts()
  }

  /** The breaker of one route to this cluster; its state stays while its options stay, whatever else is new. */
  routeBreaker(route: string, spec: BreakerSpec): Breaker {
    const known = this.routeBreakers.get(route)
    if (known !== undefined && same(known.spec, spec)) return known
    const made = new Breaker(spec, this.env.random, () => undefined)
    this.routeBreakers.set(route, made)
    return made
  }

  /**
   * @param latest the try before, whose hosts (and those before it) are not taken again while there is another
   * @returns null = no usable host
   */
  pick(call: Call, latest: Attempt | null, _now: number): HostRuntime | null {
    const { usable } = this
    if (usable.length === 0) return null
    const { random } = this.env
    const host = this.balancer.pick(random, call.hash)
    if (latest === null || !tried(latest, host)) return host
    // Drawing again would favour the dead host: it has the fewest requests.
    return this.untried(latest) ?? host
  }

  untried(latest: Attempt): HostRuntime | null {
    const { usable } = this
    const start = below(this.env.random, usable.length)
    for (let i = 0; i < usable.length; i++) {
      const host = usable[(start + i) % usable.length]!
      if (!tried(latest, host)) return host
    }
    return null
  }

  /** The one place where an attempt leaves its host. */
  released(attempt: Attempt, _now: number): void {
    const { host } = attempt
    host.active--
    this.active--
    if (host.gone && host.active === 0) this.forget(host)
  }

  /** Also those that left with attempts in flight. */
  everyHost(): Iterable<HostRuntime> {
    return this.known.values()
  }

  hostEjected(host: HostRuntime, now: number): void {
    this.updateUsable()
    this.env.events?.hostEjected?.(this, host, now)
  }

  hostReturned(host: HostRuntime, now: number): void {
    this.updateUsable()
    this.env.events?.hostReturned?.(this, host, now)
  }

  /** The cluster left the configuration. */
  remove(): void {
    if (this.outlier !== null) this.wheel.disarm(this.outlier)
    for (const host of this.hosts) this.leave(host)
    this.hosts = []
    this.updateUsable()
  }

  private configure(before: ClusterSpec | null, spec: ClusterSpec): void {
    const { random, events } = this.env
    if (before !== null && !same(before.lb, spec.lb)) this.balancer = createBalancer(spec.lb)
    if (before !== null && !same(before.retryBudget, spec.retryBudget))
      this.budget = createBudget(spec.retryBudget ?? defaultBudget)
    if (before === null || !same(before.breaker, spec.breaker)) {
      this.breaker =
        spec.breaker === null
          ? null
          : new Breaker(spec.breaker, random, (from, to, now) => events?.breakerChange?.(this, from, to, now))
    }
    if (before === null || !same(before.outlier, spec.outlier)) {
      const now = this.env.clock.now()
      if (this.outlier !== null) this.wheel.disarm(this.outlier)
      this.outlier = spec.outlier === null ? null : new Outlier(spec.outlier, this)
      if (this.outlier !== null) this.outlier.watch(now)
      else this.pardon(now)
    }
    if (spec.limits.maxRequests === Number.POSITIVE_INFINITY) this.limit = null
    else this.limit ??= new RequestLimit(this)
  }

  /** Nobody is left who would let them back in. */
  private pardon(now: number): void {
    for (const host of this.known.values()) {
      if (host.ejectedUntil === 0) continue
      host.ejectedUntil = 0
      if (!host.gone) this.hostReturned(host, now)
    }
  }

  private updateHosts(): void {
    const hosts: HostRuntime[] = []
    const seen = new Set<HostRuntime>()
    for (const endpoint of this.spec.endpoints) {
      const address = addressOf(endpoint)
      let host = this.known.get(address)
      if (host === undefined) {
        host = new HostRuntime(endpoint)
        this.known.set(address, host)
      }
      if (seen.has(host)) continue
      host.spec = endpoint
      host.gone = false
      seen.add(host)
      hosts.push(host)
    }
    for (const host of [...this.known.values()]) if (!seen.has(host)) this.leave(host)
    this.hosts = hosts
    this.updateUsable()
  }

  private leave(host: HostRuntime): void {
    host.gone = true
    if (host.active === 0) this.forget(host)
  }

  private forget(host: HostRuntime): void {
    this.known.delete(host.address)
    host.retireLinks()
  }

  private updateUsable(): void {
    this.usable = usableOf(this.hosts, this.spec.panicThresholdPercent)
    this.balancer.update(this.usable)
  }
}

/** Healthy hosts of the first priority that has some; in a panic all hosts (Envoy healthy_panic_threshold). */
function usableOf(hosts: readonly HostRuntime[], panicPercent: number): readonly HostRuntime[] {
  const good = hosts.filter((h) => h.spec.health === 'HEALTHY' && h.ejectedUntil === 0)
  if (good.length * 100 < hosts.length * panicPercent) return hosts
  let first = Number.POSITIVE_INFINITY
  for (const host of good) if (host.spec.priority < first) first = host.spec.priority
  const level = good.filter((h) => h.spec.priority === first)
  return level.length === hosts.length ? hosts : level
}

function tried(latest: Attempt, host: HostRuntime): boolean {
  for (let a: Attempt | null = latest; a !== null; a = a.previous) if (a.host === host) return true
  return false
}

function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b)
}
