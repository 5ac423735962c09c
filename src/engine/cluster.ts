import type { Clock, Random } from '../model/clock.ts'
import type { BreakerSpec, ClusterSpec, EndpointSpec } from '../model/cluster.ts'
import type { LoadReport } from '../model/load-report.ts'
import type { Attempt } from './attempt.ts'
import { HostTable } from './balance/host-table.ts'
import { Breaker } from './breaker.ts'
import { type Budget, createBudget, defaultBudget } from './budget.ts'
import type { Call } from './call.ts'
import type { CallEvents } from './events.ts'
import { HealthChecks, type HealthProbe } from './health.ts'
import { addressOf, HostRuntime, isFit } from './host.ts'
import { HostLoad } from './host-load.ts'
import { Latency } from './latency.ts'
import { RequestLimit } from './limits.ts'
import { LoadStats } from './load-stats.ts'
import { type LoadProbe, LoadWatch } from './load-watch.ts'
import { Kind } from './outcome.ts'
import { Outlier } from './outlier.ts'
import type { Policy } from './policy.ts'
import { subsetOf } from './subset.ts'
import type { TimerWheel } from './time.ts'
import { tried } from './tried.ts'

/** What the engine's parts share. */
export interface ClusterEnv {
  readonly clock: Clock
  readonly random: Random
  readonly wheel: TimerWheel
  readonly events: CallEvents | null
  /** Of this process, "region/zone/subzone"; '' = unknown. */
  readonly locality?: string
  /** The I/O of health checks; null = nobody can make any (yet). */
  readonly probe?: HealthProbe | null
  /** The I/O of load reports apart from calls; null = nobody can ask for any (yet). */
  readonly loadProbe?: LoadProbe | null
}

/** How long a host that refuses connections is passed over: at first, and at most; doubling in between. */
const BACKOFF_MS = 1_000
const MAX_BACKOFF_MS = 10_000
/** Clusters beyond this many hosts do not work out who is usable for each change of one... */
const LARGE = 256
/** ...but when so many have changed (one in...), or when this is over, ms. */
const PATIENCE = 32
const PATIENCE_MS = 100

/** One cluster as it lives in this process: state that outlives snapshots, kept by name. */
export class ClusterRuntime {
  readonly name: string
  readonly wheel: TimerWheel
  spec: ClusterSpec
  /** Hosts that are in the configuration now. */
  hosts: readonly HostRuntime[] = []
  /** Hosts out of `hosts` that are ejected. */
  ejected = 0
  /** Attempts in flight. */
  active = 0
  /** Retries that wait or are in flight, until they are answered. */
  retrying = 0
  budget: Budget
  breaker: Breaker | null = null
  outlier: Outlier | null = null
  limit: RequestLimit | null = null
  /** Learns latencies where the balancer needs them. */
  latency: Latency | null = null
  /** Counts for LRS; null = nobody wants to know. */
  stats: LoadStats | null = null
  /** Somebody goes by what answers say about the load of their hosts; transports need not look for it otherwise. */
  wantsLoad = false
  /** A call went to it since it is known. */
  used = false
  private health: HealthChecks | null = null
  /** For its subset of the endpoints; null = it never had one. */
  private seed: number | null = null
  private loadWatch: LoadWatch | null = null
  /** By address, also hosts that left with attempts in flight: one that flaps back is the same object. */
  private readonly known = new Map<string, HostRuntime>()
  /** By route name. */
  readonly routeBreakers: Map<string, Breaker> = new Map()
  private readonly env: ClusterEnv
  private readonly table: HostTable
  /** Hosts whose state changed since `table` was made. */
  private changes = 0
  private tableAt = 0
  /** Monotonic ms at which the first host is no longer backed off; Infinity = none is. */
  private wakesAt = Number.POSITIVE_INFINITY

  constructor(spec: ClusterSpec, env: ClusterEnv) {
    this.name = spec.name
    this.spec = spec
    this.env = env
    this.wheel = env.wheel
    this.table = new HostTable(spec, { random: env.random, load: this }, env.locality ?? '')
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
    const { random, events } = this.env
    const made = new Breaker(spec, random, (from, to, now) => events?.breakerChange?.(this, from, to, now, route))
    this.routeBreakers.set(route, made)
    return made
  }

  /** What gates and learns from the calls of this cluster, in order; others than before = routes are compiled again. */
  get gates(): readonly (Policy | null)[] {
    return [this.limit, this.breaker, this.outlier, this.latency]
  }

  /** Hosts that a first try may get now. */
  get usable(): readonly HostRuntime[] {
    return this.current(this.env.clock.now()).usable
  }

  /** Priorities and localities, as they share the calls now. */
  shares(now: number): HostTable {
    return this.current(now)
  }

  /**
   * @param latest the try before, whose hosts (and those before it) are not taken again while there is another, unless the
   * route says so
   * @returns null = no usable host
   */
  pick(call: Call, latest: Attempt | null, now: number): HostRuntime | null {
    if (call.seat !== null && this.seats(call.seat, latest, now)) return call.seat
    if (this.changes > 0 || now >= this.wakesAt) return this.pickAmidChange(call, latest, now)
    return this.choose(call, latest, now)
  }

  /** A usable host that no try went to yet; null = there is none. */
  untried(latest: Attempt): HostRuntime | null {
    return this.current(this.env.clock.now()).untried(latest)
  }

  /** The one place where an attempt leaves its host. */
  released(attempt: Attempt, now: number): void {
    const { host } = attempt
    host.active--
    this.active--
    this.used = true
    if (this.stats !== null) this.stats.ended(attempt)
    if (attempt.kind === Kind.ConnectFailure) this.backOff(host, attempt, now)
    else if (attempt.kind === Kind.Response) {
      host.refusals = 0
      this.outlier?.settled(attempt, now)
    }
    if (host.gone && host.active === 0) this.forget(host)
  }

  /** Monotonic ms. */
  now(): number {
    return this.env.clock.now()
  }

  /** @param address "IP:port", "[IPv6]:port" */
  hostAt(address: string): HostRuntime | undefined {
    const colon = address.lastIndexOf(':')
    return this.known.get(`${address.slice(0, colon).replace(/^\[|\]$/g, '')}|${address.slice(colon + 1)}`)
  }

  /** Also those that left with attempts in flight. */
  everyHost(): Iterable<HostRuntime> {
    return this.known.values()
  }

  hostEjected(host: HostRuntime, now: number): void {
    this.ejected++
    this.changed(now)
    this.env.events?.hostEjected?.(this, host, now)
  }

  hostReturned(host: HostRuntime, now: number): void {
    this.ejected--
    host.healthySince = now
    this.changed(now)
    this.env.events?.hostReturned?.(this, host, now)
  }

  /** Active health checks found out something. */
  hostChecked(host: HostRuntime, healthy: boolean, now: number): void {
    if (host.checkFailed !== healthy) return
    host.checkFailed = !healthy
    if (healthy) {
      host.healthySince = now
      host.refusals = 0
      host.backedOffUntil = 0
    }
    this.changed(now)
    this.env.events?.hostChecked?.(this, host, healthy, now)
  }

  /** A host says in an answer how it is doing. */
  loadReported(host: HostRuntime, report: LoadReport, now: number): void {
    if (this.stats !== null) this.stats.reported(host, report)
    if (this.loadWatch === null) this.weigh(host, report, now)
  }

  /** A host was asked how it is doing, apart from calls. */
  loadObserved(host: HostRuntime, report: LoadReport, now: number): void {
    this.weigh(host, report, now)
  }

  private weigh(host: HostRuntime, report: LoadReport, now: number): void {
    const { lb } = this.spec
    if (lb.policy !== 'WEIGHTED_ROUND_ROBIN') return
    host.load ??= new HostLoad()
    host.load.report(report, lb.errorPenalty, now)
  }

  /** The cluster left the configuration. */
  remove(): void {
    if (this.outlier !== null) this.wheel.disarm(this.outlier)
    this.health?.stop(this.env.clock.now())
    this.health = null
    this.loadWatch?.stop()
    this.loadWatch = null
    for (const host of this.hosts) this.leave(host)
    this.hosts = []
    this.ejected = 0
    this.rebuild(this.env.clock.now())
  }

  private configure(before: ClusterSpec | null, spec: ClusterSpec): void {
    const { random, events } = this.env
    if (before !== null && !same(before.lb, spec.lb)) this.table.reset()
    const decayMs = spec.lb.policy === 'PEAK_EWMA' ? spec.lb.decayMs : null
    if (decayMs === null) this.latency = null
    else if (this.latency?.decayMs !== decayMs) this.latency = new Latency(decayMs)
    if (!same(before?.loadReporting ?? null, spec.loadReporting))
      this.stats = spec.loadReporting === null ? null : new LoadStats(spec.loadReporting, this.known.values())
    const goesByLoad = spec.lb.policy === 'WEIGHTED_ROUND_ROBIN' && spec.lb.oobReportingMs === null
    this.wantsLoad = goesByLoad || this.stats?.wantsMetrics === true
    if (before !== null && !same(before.retryBudget, spec.retryBudget))
      this.budget = createBudget(spec.retryBudget ?? defaultBudget)
    if (before === null || !same(before.breaker, spec.breaker)) {
      this.breaker =
        spec.breaker === null
          ? null
          : new Breaker(spec.breaker, random, (from, to, now) => events?.breakerChange?.(this, from, to, now, null))
    }
    if (before === null || !same(before.outlier, spec.outlier)) {
      const now = this.env.clock.now()
      if (this.outlier !== null) this.wheel.disarm(this.outlier)
      this.outlier = spec.outlier === null ? null : new Outlier(spec.outlier, this, random)
      if (this.outlier !== null) this.outlier.watch(now)
      else this.pardon(now)
    }
    if (before === null ? spec.healthChecks.length > 0 : !same(before.healthChecks, spec.healthChecks)) {
      this.health?.stop(this.env.clock.now())
      const none = spec.healthChecks.length === 0
      this.health = none ? null : new HealthChecks(spec.healthChecks, this, () => this.env.probe ?? null, random)
    }
    const oobMs = spec.lb.policy === 'WEIGHTED_ROUND_ROBIN' ? spec.lb.oobReportingMs : null
    if ((this.loadWatch?.periodMs ?? null) !== oobMs) {
      this.loadWatch?.stop()
      this.loadWatch = oobMs === null ? null : new LoadWatch(oobMs, this, () => this.env.loadProbe ?? null, random)
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
    const now = this.env.clock.now()
    const hosts: HostRuntime[] = []
    const seen = new Set<HostRuntime>()
    let ejected = 0
    for (const endpoint of this.subset()) {
      const address = addressOf(endpoint)
      let host = this.known.get(address)
      if (host === undefined) {
        host = new HostRuntime(endpoint, now)
        this.known.set(address, host)
      }
      if (seen.has(host)) continue
      if (host.gone || (host.spec.health !== 'HEALTHY' && endpoint.health === 'HEALTHY')) host.healthySince = now
      if (host.gone) host.checkFailed = false
      host.spec = endpoint
      host.gone = false
      if (host.ejectedUntil !== 0) ejected++
      seen.add(host)
      hosts.push(host)
    }
    for (const host of [...this.known.values()]) if (!seen.has(host)) this.leave(host)
    this.hosts = hosts
    this.ejected = ejected
    this.changed(now)
    this.health?.update(hosts, now)
    this.loadWatch?.update(hosts, now)
  }

  private subset(): readonly EndpointSpec[] {
    const { endpoints, subset } = this.spec
    if (subset === null) return endpoints
    this.seed ??= this.env.random.u32()
    return subsetOf(endpoints, subset, this.seed)
  }

  private leave(host: HostRuntime): void {
    host.gone = true
    if (host.active === 0) this.forget(host)
  }

  private forget(host: HostRuntime): void {
    this.known.delete(host.address)
    host.retireLinks()
  }

  /** It refuses: others first for a while, or it would draw all calls, having nothing to do. */
  private backOff(host: HostRuntime, attempt: Attempt, now: number): void {
    if (attempt.stalled) return
    host.backedOffUntil = now + Math.min(BACKOFF_MS * 2 ** Math.min(host.refusals, 10), MAX_BACKOFF_MS)
    host.refusals++
    host.load?.restart()
    this.changed(now)
  }

  private changed(now: number): void {
    if (this.hosts.length > LARGE) this.changes++
    else this.rebuild(now)
  }

  /** A session's host is taken while it is well, also where its registry would give it to nobody else. */
  private seats(host: HostRuntime, latest: Attempt | null, now: number): boolean {
    if (host.gone || host.ejectedUntil !== 0 || host.checkFailed || host.backedOffUntil > now) return false
    return this.spec.sessionHosts.includes(host.spec.health) && (latest === null || !tried(latest, host))
  }

  private choose(call: Call, latest: Attempt | null, now: number): HostRuntime | null {
    const { table } = this
    if (latest === null) return table.pick(call.hash, now)
    const retry = call.retry?.spec
    const frequency = retry?.previousPrioritiesFrequency ?? 0
    // A hedge at a host that has the request already would help nobody.
    return retry?.avoidPreviousHosts === false && call.live === 0
      ? table.drawAgain(latest, call.hash, now, frequency)
      : table.pickAgain(latest, call.hash, now, frequency)
  }

  private pickAmidChange(call: Call, latest: Attempt | null, now: number): HostRuntime | null {
    // Working out ten thousand hosts for each one that is ejected would be quadratic. What is out of date is noticed.
    const wait = this.hosts.length > LARGE && this.changes * PATIENCE < this.hosts.length && now < this.wakesAt
    if (wait && now - this.tableAt < PATIENCE_MS) {
      for (let tries = 0; tries < 4; tries++) {
        const host = this.choose(call, latest, now)
        if (host !== null && isFit(host) && host.backedOffUntil <= now) return host
      }
    }
    this.rebuild(now)
    return this.choose(call, latest, now)
  }

  private current(now: number): HostTable {
    if (this.changes > 0 || now >= this.wakesAt) this.rebuild(now)
    return this.table
  }

  private rebuild(now: number): void {
    this.changes = 0
    this.tableAt = now
    this.wakesAt = Number.POSITIVE_INFINITY
    for (const host of this.hosts)
      if (host.backedOffUntil > now && host.backedOffUntil < this.wakesAt) this.wakesAt = host.backedOffUntil
    this.table.update(this.hosts, this.spec, now)
  }
}

function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b)
}
