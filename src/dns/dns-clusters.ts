import type { Clock } from '../model/clock.ts'
import type { ClusterSpec, EndpointSpec } from '../model/cluster.ts'
import type { ListenerSpec, Snapshot } from '../model/snapshot.ts'
import { clustersOf } from '../xds/watch.ts'
import type { Lookup } from './lookup.ts'
import { NameState } from './name-state.ts'

export interface DnsClustersOptions {
  readonly lookup: Lookup
  readonly clock: Clock
  /** Calls back once, later; returns how to call it off. Must not keep the process alive. */
  readonly schedule: (ms: number, then: () => void) => () => void
  /** Gets what the engine is to work with. */
  readonly publish: (snapshot: Snapshot) => void
}

interface Watched {
  readonly state: NameState
  readonly cancel: () => void
}

/**
 * Stands between the control plane's snapshots and the engine, and puts addresses in the place of names. 'strict-dns': every
 * address is an endpoint, looked up again and again; 'logical-dns': one endpoint whose name is looked up for each new
 * connection. A listener waits until the names of its clusters were looked up for the first time; an older version of it
 * serves meanwhile.
 */
export class DnsClusters {
  private readonly options: DnsClustersOptions
  private readonly names = new Map<string, Watched>()
  private readonly made = new WeakMap<ClusterSpec, { readonly key: string; readonly spec: ClusterSpec }>()
  private wanted: Snapshot | null = null
  private published: Snapshot | null = null
  private sequence = 0

  constructor(options: DnsClustersOptions) {
    this.options = options
  }

  update(snapshot: Snapshot): void {
    this.wanted = snapshot
    this.watch(snapshot)
    this.refresh()
  }

  close(): void {
    for (const { cancel } of this.names.values()) cancel()
    this.names.clear()
    this.wanted = null
  }

  private watch(snapshot: Snapshot): void {
    const needed = new Set<string>()
    for (const { kind, dns } of snapshot.clusters.values()) {
      if (kind !== 'strict-dns' || dns === null) continue
      for (const { address } of dns.names) {
        const key = keyOf(address, dns.family, dns.refreshMs)
        needed.add(key)
        if (!this.names.has(key)) this.begin(key, address, dns.family, dns.refreshMs)
      }
    }
    for (const [key, { cancel }] of this.names) {
      if (needed.has(key)) continue
      cancel()
      this.names.delete(key)
    }
  }

  private begin(key: string, name: string, family: 'any' | 'v4' | 'v6', refreshMs: number): void {
    const state = new NameState(refreshMs)
    let stopped = false
    let callOff = () => {}
    const ask = () => {
      this.options.lookup(name, family).then((result) => {
        if (stopped) return
        const before = state.settled ? state.addresses : undefined
        const wait = state.take(result, this.options.clock.now())
        callOff = this.options.schedule(wait, ask)
        if (before === undefined || before?.join() !== state.addresses?.join()) this.refresh()
      })
    }
    this.names.set(key, {
      state,
      cancel: () => {
        stopped = true
        callOff()
      },
    })
    ask()
  }

  private refresh(): void {
    const { wanted } = this
    if (wanted === null) return
    const clusters = new Map<string, ClusterSpec>()
    const waiting = new Set<string>()
    for (const [name, spec] of wanted.clusters) {
      const resolved = this.resolved(spec)
      if (resolved !== null) clusters.set(name, resolved)
      else waiting.add(name)
    }
    const same = this.published !== null && waiting.size === 0 && sameValues(this.published.clusters, clusters)
    if (same && this.published!.listeners === wanted.listeners && sameRest(this.published!, wanted)) return
    const listeners = waiting.size === 0 ? wanted.listeners : this.withoutWaiting(wanted, waiting, clusters)
    this.published = { ...wanted, sequence: ++this.sequence, listeners, clusters }
    this.options.publish(this.published)
  }

  /** Listeners that need what is not there yet stay as they were, with what they use. */
  private withoutWaiting(
    wanted: Snapshot,
    waiting: ReadonlySet<string>,
    clusters: Map<string, ClusterSpec>,
  ): ReadonlyMap<string, ListenerSpec> {
    const listeners = new Map<string, ListenerSpec>()
    for (const [name, spec] of wanted.listeners) {
      if (!clustersOf(spec.routes).some((cluster) => waiting.has(cluster))) {
        listeners.set(name, spec)
        continue
      }
      const before = this.published?.listeners.get(name)
      if (before === undefined) continue
      listeners.set(name, before)
      for (const cluster of clustersOf(before.routes)) {
        const old = this.published!.clusters.get(cluster)
        if (old !== undefined && !clusters.has(cluster)) clusters.set(cluster, old)
      }
    }
    return listeners
  }

  /** null = some name was not looked up yet. */
  private resolved(spec: ClusterSpec): ClusterSpec | null {
    const { kind, dns } = spec
    if (dns === null) return spec
    const endpoints: EndpointSpec[] = []
    if (kind === 'logical-dns') {
      const [first] = dns.names
      if (first !== undefined) endpoints.push({ ...first, hostname: first.hostname || first.address })
    } else {
      for (const template of dns.names) {
        const state = this.names.get(keyOf(template.address, dns.family, dns.refreshMs))?.state
        if (state === undefined || !state.settled) return null
        for (const address of state.addresses ?? [])
          endpoints.push({ ...template, address, hostname: template.hostname || template.address })
      }
    }
    // The same addresses are the same object: nothing is compiled again for them.
    const key = endpoints.map((e) => `${e.address} ${e.port}`).join()
    const known = this.made.get(spec)
    if (known?.key === key) return known.spec
    const made = { key, spec: { ...spec, endpoints } }
    this.made.set(spec, made)
    return made.spec
  }
}

function keyOf(name: string, family: string, refreshMs: number): string {
  return `${name} ${family} ${refreshMs}`
}

function sameValues<V>(a: ReadonlyMap<string, V>, b: ReadonlyMap<string, V>): boolean {
  if (a.size !== b.size) return false
  for (const [key, value] of a) if (b.get(key) !== value) return false
  return true
}

function sameRest(a: Snapshot, b: Snapshot): boolean {
  return a.absent === b.absent && a.inbound === b.inbound && a.trustBundles === b.trustBundles
}
