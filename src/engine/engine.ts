import type { Clock, Random } from '../model/clock.ts'
import type { InboundSpec } from '../model/inbound.ts'
import type { ClusterLoad, LoadSource } from '../model/load-stats.ts'
import { emptySnapshot, type ListenerSpec, type Snapshot } from '../model/snapshot.ts'
import { AppHooks } from './app-hooks.ts'
import type { CallEnv } from './call.ts'
import { ClusterRuntime } from './cluster.ts'
import { driveWheel } from './driver.ts'
import { type CallEvents, joinEvents } from './events.ts'
import type { HealthProbe } from './health.ts'
import { Inbound } from './inbound.ts'
import { InboundRuntime } from './inbound-runtime.ts'
import type { Interceptor } from './interceptor.ts'
import type { LoadProbe } from './load-watch.ts'
import { Outbound } from './outbound.ts'
import { TimerWheel } from './time.ts'

export interface EngineOptions {
  readonly clock: Clock
  readonly random: Random
  /** null = nobody listens. */
  readonly events: CallEvents | null
  /** Of this process, "region/zone/subzone", for zone-aware routing; default '', unknown. */
  readonly locality?: string
}

/** All decisions of one process: compiles snapshots, keeps the state that outlives them. */
export class Engine implements CallEnv, LoadSource {
  readonly clock: Clock
  readonly random: Random
  events: CallEvents | null
  /** Code of the app that takes part in its calls. */
  readonly hooks = new AppHooks()
  readonly locality: string
  /** Set by the transport that can make health checks; without one hosts are what their registry says. */
  probe: HealthProbe | null = null
  /** Set by the transport that can ask hosts for load reports; without one those of answers are all there is. */
  loadProbe: LoadProbe | null = null
  readonly wheel = new TimerWheel()
  snapshot: Snapshot = emptySnapshot
  /** Another number when any `outbound` may be another one: what was found out about them is to be forgotten. */
  edition = 0
  private readonly runtimes = new Map<string, ClusterRuntime>()
  private outbounds = new Map<string, Outbound>()
  private inbounds = new Map<string, Inbound>()
  private readonly given: CallEvents | null
  private readonly extra = new Set<CallEvents>()
  private readonly listeners = new Set<() => void>()
  private readonly stopWheel: () => void

  constructor(options: EngineOptions) {
    this.clock = options.clock
    this.random = options.random
    this.given = options.events
    this.events = options.events
    this.locality = options.locality ?? ''
    this.stopWheel = driveWheel(this.wheel, options.clock)
  }

  get clusters(): ReadonlyMap<string, ClusterRuntime> {
    return this.runtimes
  }

  /** `authority` as dialled, lower case. undefined = nothing is known (see `isAbsent`). */
  outbound(authority: string): Outbound | undefined {
    return this.outbounds.get(authority)
  }

  isAbsent(authority: string): boolean {
    return this.snapshot.absent.has(authority)
  }

  inbound(name: string): Inbound | undefined {
    return this.inbounds.get(name)
  }

  /** Calls back after each `apply`. */
  onApply(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Replaces the configuration whole; what did not change stays compiled. Calls in flight keep what they have. */
  apply(next: Snapshot): void {
    const before = this.snapshot
    this.snapshot = next
    const recompile = this.applyClusters(before, next)
    const outbounds = new Map<string, Outbound>()
    const bySpec = new Map<ListenerSpec, Outbound>()
    for (const [name, spec] of next.listeners) {
      const old = this.outbounds.get(name)
      let outbound = bySpec.get(spec)
      outbound ??= old !== undefined && old.spec === spec && !usesAny(spec, recompile) ? old : this.compile(name, spec)
      bySpec.set(spec, outbound)
      outbounds.set(name, outbound)
    }
    this.outbounds = outbounds
    this.edition++
    this.applyInbound(before.inbound, next.inbound)
    for (const listener of [...this.listeners]) listener()
  }

  /**
   * Adds code of the app to its calls; those that begin from now on have it. The function that comes back takes it out again.
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  use(interceptor: Interceptor): () => void {
    const remove = this.hooks.add(interceptor)
    this.recompile()
    return () => {
      remove()
      this.recompile()
    }
  }

  takeLoads(clusters: ReadonlySet<string> | null): readonly ClusterLoad[] {
    const loads: ClusterLoad[] = []
    for (const [name, runtime] of this.runtimes) {
      if (runtime.stats === null || clusters?.has(name) === false) continue
      const load = runtime.stats.take(name, runtime.everyHost())
      if (load.localities.length > 0 || load.dropped > 0) loads.push(load)
    }
    return loads
  }

  close(): void {
    this.stopWheel()
    for (const cluster of this.runtimes.values()) cluster.remove()
    this.runtimes.clear()
  }

  private compile(name: string, spec: ListenerSpec): Outbound {
    return new Outbound(
      spec,
      (cluster) => this.runtimes.get(cluster),
      (cluster) => this.hooks.of(name, cluster),
    )
  }

  /** Tells one more listener of calls from now on, until the function that comes back is called. */
  listen(events: CallEvents): () => void {
    this.extra.add(events)
    this.recompile()
    return () => {
      this.extra.delete(events)
      this.recompile()
    }
  }

  private recompile(): void {
    const ends = this.hooks.events()
    this.events = joinEvents([this.given, ends, ...this.extra].filter((e) => e !== null))
    for (const [name, { spec }] of this.outbounds) this.outbounds.set(name, this.compile(name, spec))
    this.edition++
  }

  /** @returns names of clusters whose gates are others now, so that routes to them must be compiled again */
  private applyClusters(before: Snapshot, next: Snapshot): ReadonlySet<string> {
    const changed = new Set<string>()
    for (const [name, spec] of next.clusters) {
      const runtime = this.runtimes.get(name)
      if (runtime === undefined) {
        this.runtimes.set(name, new ClusterRuntime(spec, this))
        changed.add(name)
      } else if (before.clusters.get(name) !== spec) {
        const { gates } = runtime
        const { kind } = runtime.spec
        runtime.update(spec)
        if (kind !== spec.kind || runtime.gates.some((gate, i) => gate !== gates[i])) changed.add(name)
      }
    }
    for (const [name, runtime] of this.runtimes) {
      if (next.clusters.has(name)) continue
      runtime.remove()
      this.runtimes.delete(name)
      changed.add(name)
    }
    return changed
  }

  private applyInbound(before: ReadonlyMap<string, InboundSpec>, next: ReadonlyMap<string, InboundSpec>): void {
    const inbounds = new Map<string, Inbound>()
    for (const [name, spec] of next) {
      const old = this.inbounds.get(name)
      const same = old !== undefined && before.get(name) === spec
      inbounds.set(name, same ? old : new Inbound(spec, old?.runtime ?? new InboundRuntime(this)))
    }
    this.inbounds = inbounds
  }
}

function usesAny(spec: ListenerSpec, names: ReadonlySet<string>): boolean {
  if (names.size === 0) return false
  for (const host of spec.routes.virtualHosts)
    for (const { action, mirrors } of host.routes)
      if (
        action.kind === 'forward' &&
        (action.clusters.some((c) => names.has(c.name)) || mirrors.some((m) => names.has(m.cluster)))
      )
        return true
  return false
}
