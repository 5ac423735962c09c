import type { ClusterSpec } from '../model/cluster.ts'
import type { InboundSpec } from '../model/inbound.ts'
import { type FaultSpec, type RouteSpec, type RouteTable, routeDefaults, type SessionSpec } from '../model/route.ts'
import { emptySnapshot, type ListenerSpec, type Snapshot, type TrustBundles } from '../model/snapshot.ts'
import { MAX_AGGREGATE_DEPTH } from './aggregate.ts'
import { withChains, withRoutes } from './inbound-routes.ts'
import { TRUST_BUNDLE_SECRET, TypeUrl } from './proto.ts'
import type { ClusterResource } from './resources/cluster.ts'
import type { EndpointsResource } from './resources/endpoints.ts'
import type { InboundResource } from './resources/inbound.ts'
import { labelOf } from './resources/index.ts'
import type { ListenerResource } from './resources/listener.ts'
import type { Held } from './subscription.ts'
import { type Known, WatchedCluster } from './watched-cluster.ts'

/** Where resources come from. */
export interface ResourceSource {
  /** undefined = not subscribed. */
  held(typeUrl: string, name: string): Readonly<Held> | undefined
  /** Whether anybody may be asked for a resource of this name; absent = always. */
  isServed?(name: string): boolean
}

export interface ResourceRef {
  readonly typeUrl: TypeUrl
  readonly name: string
}

export interface Evaluation {
  readonly subscribe: readonly ResourceRef[]
  readonly unsubscribe: readonly ResourceRef[]
  /** null = as before. */
  readonly snapshot: Snapshot | null
}

interface WatchedListener {
  /** The complete version in use. */
  spec: ListenerSpec | null
  /** The control plane has nothing to say about it; with the reason. */
  problem: string
  absent: boolean
  /** Stands in while what came first was refused. */
  refused: ListenerSpec | null
}

/**
 * From what the process dials to what it must subscribe (LDS > RDS > CDS > EDS) and from what came to one consistent
 * snapshot: a listener's new version is used when its routes, their clusters and the clusters' endpoints are there or
 * known not to exist; the old version and all it needs stay until then (gRFC A74; Envoy calls it warming).
 */
export class WatchGraph {
  readonly #source: ResourceSource
  readonly #removed: (cluster: string, before: number, stayed: number) => void
  readonly #listenerName: (authority: string) => string | undefined
  readonly #authorities = new Map<string, WatchedListener>()
  readonly #inbound = new Set<string>()
  readonly #clusters = new Map<string, WatchedCluster>()
  readonly #subscribed = new Map<string, ResourceRef>()
  #trust = false
  #trustBundles: TrustBundles = emptySnapshot.trustBundles
  #snapshot: Snapshot = emptySnapshot
  #needed = new Map<string, ResourceRef>()
  /** Tables for routes that do not exist; one object per name, so that it counts as unchanged. */
  readonly #emptyTables = new Map<string, RouteTable>()

  /**
   * @param removed an EDS update took more than half of a cluster's endpoints away
   * @param listenerName resource that answers for an authority as dialled; undefined = there is none
   */
  constructor(
    source: ResourceSource,
    removed: (cluster: string, before: number, stayed: number) => void,
    listenerName: (authority: string) => string | undefined = (authority) => authority,
  ) {
    this.#source = source
    this.#removed = removed
    this.#listenerName = listenerName
  }

  get snapshot(): Snapshot {
    return this.#snapshot
  }

  watchAuthority(name: string): void {
    if (!this.#authorities.has(name))
      this.#authorities.set(name, { spec: null, problem: 'not asked for yet', absent: false, refused: null })
  }

  unwatchAuthority(name: string): void {
    this.#authorities.delete(name)
  }

  watchInbound(name: string): void {
    this.#inbound.add(name)
  }

  unwatchInbound(name: string): void {
    this.#inbound.delete(name)
  }

  watchTrustBundle(): void {
    this.#trust = true
  }

  /** Why there is no configuration for an authority (the snapshot may answer 503 for it); undefined when there is. */
  problem(authority: string): string | undefined {
    const watched = this.#authorities.get(authority)
    if (watched === undefined) return `${authority} is not subscribed`
    return watched.spec !== null ? undefined : watched.problem
  }

  /**
   * Looks at everything anew. Call it after each change, and again until it asks for no subscription and has no news:
   * what a new snapshot replaced is let go by the next call.
   */
  evaluate(): Evaluation {
    this.#needed = new Map()
    const candidates = new Map<string, { watched: WatchedListener; table: Known<RouteTable> }>()
    for (const [name, watched] of this.#authorities)
      candidates.set(name, { watched, table: this.#routes(name, watched) })

    const wanted = new Set<string>()
    for (const { watched, table } of candidates.values()) {
      if (table.kind === 'held') for (const cluster of clustersOf(table.value)) wanted.add(cluster)
      if (watched.spec !== null) for (const cluster of clustersOf(watched.spec.routes)) wanted.add(cluster)
    }
    this.#updateClusters(wanted)
    for (const [name, { watched, table }] of candidates) this.#updateListener(name, watched, table)

    const inbound = this.#evaluateInbound()
    if (this.#trust) {
      const secret = this.#known<TrustBundles>(TypeUrl.secret, TRUST_BUNDLE_SECRET)
      if (secret.kind === 'held') this.#trustBundles = secret.value
    }
    return { ...this.#subscriptions(), snapshot: this.#publish(inbound) }
  }

  #routes(authority: string, watched: WatchedListener): Known<RouteTable> {
    const name = this.#listenerName(authority)
    if (name === undefined) return { kind: 'rejected', error: `the bootstrap has no such authority: ${authority}` }
    const listener = this.#known<ListenerResource>(TypeUrl.listener, name)
    if (listener.kind === 'pending') watched.problem = `waiting for Listener ${name}`
    if (listener.kind !== 'held') return listener
    if (listener.value.kind !== 'client') return { kind: 'rejected', error: `Listener ${name}: has no api_listener` }
    const { routes, fault, session, maxStreamMs } = listener.value
    const complete = (table: RouteTable) => withMaxStream(withSession(withFault(table, fault), session), maxStreamMs)
    if ('inline' in routes) return { kind: 'held', value: complete(routes.inline) }
    const table = this.#known<RouteTable>(TypeUrl.route, routes.rds)
    if (table.kind === 'pending') watched.problem = `waiting for RouteConfiguration ${routes.rds}`
    // A listener that exists with routes that do not: calls find no route.
    const isSettled = table.kind === 'absent' || (table.kind === 'rejected' && watched.spec === null)
    if (isSettled) return { kind: 'held', value: this.#emptyTable(routes.rds) }
    return table.kind === 'held' ? { kind: 'held', value: complete(table.value) } : table
  }

  #emptyTable(name: string): RouteTable {
    const table = this.#emptyTables.get(name) ?? { name, virtualHosts: [] }
    this.#emptyTables.set(name, table)
    return table
  }

  #updateClusters(named: ReadonlySet<string>): void {
    const wanted = new Set<string>()
    for (const name of named) this.#want(name, wanted, 0)
    for (const name of this.#clusters.keys()) if (!wanted.has(name)) this.#clusters.delete(name)
    for (const name of wanted) {
      const cluster = this.#clusters.get(name)!
      // Of what leaves make up; an aggregate that is none any more is a cluster like others.
      if (cluster.isAggregate && this.#known(TypeUrl.cluster, name).kind === 'held') continue
      cluster.update(
        this.#known<ClusterResource>(TypeUrl.cluster, name),
        (edsName) => this.#known<EndpointsResource>(TypeUrl.endpoints, edsName),
        (before, stayed) => this.#removed(name, before, stayed),
      )
      for (const edsName of cluster.edsNames) this.#need(TypeUrl.endpoints, edsName)
    }
    for (const name of wanted) {
      const cluster = this.#clusters.get(name)!
      if (!cluster.isAggregate) continue
      const leaves: ClusterSpec[] = []
      const waitsFor = this.#leaves(name, new Set(), leaves)
      cluster.updateAggregate(this.#known(TypeUrl.cluster, name), waitsFor === null ? leaves : null, waitsFor ?? '')
    }
  }

  /** The cluster, and those that it is made of. */
  #want(name: string, wanted: Set<string>, depth: number): void {
    if (wanted.has(name) || depth > MAX_AGGREGATE_DEPTH) return
    wanted.add(name)
    const cluster = this.#clusters.get(name) ?? new WatchedCluster(name)
    this.#clusters.set(name, cluster)
    cluster.look(this.#known<ClusterResource>(TypeUrl.cluster, name))
    for (const child of cluster.children) this.#want(child, wanted, depth + 1)
  }

  /** Adds the leaves of an aggregate, each once, in order. @returns what is waited for; null = nothing */
  #leaves(name: string, seen: Set<string>, leaves: ClusterSpec[]): string | null {
    if (seen.has(name)) return null
    seen.add(name)
    const known = this.#known<ClusterResource>(TypeUrl.cluster, name)
    if (known.kind === 'held' && known.value.children.length > 0) {
      for (const child of known.value.children) {
        const waitsFor = this.#leaves(child, seen, leaves)
        if (waitsFor !== null) return waitsFor
      }
      return null
    }
    const cluster = this.#clusters.get(name)
    if (cluster?.spec != null) leaves.push(cluster.spec)
    return cluster?.standing === 'pending' ? cluster.waitsFor : null
  }

  #updateListener(name: string, watched: WatchedListener, table: Known<RouteTable>): void {
    watched.absent = false
    if (table.kind !== 'rejected') watched.refused = null
    switch (table.kind) {
      case 'absent':
        watched.spec = null
        watched.absent = true
        watched.problem = `the control plane knows no Listener ${name}`
        return
      case 'rejected':
        // A version that works stays. Without one calls are answered with 503: they must neither wait for what will not
        // come nor, as if the name were unknown, go out unprotected.
        watched.problem = table.error
        if (watched.spec === null) watched.refused ??= refusedListener(name)
        return
      case 'pending':
        return
      case 'held': {
        const missing = clustersOf(table.value).flatMap((c) => this.#clusters.get(c) ?? [])
        const blocking = missing.find(
          (c) => c.standing === 'pending' || (c.standing === 'rejected' && watched.spec !== null),
        )
        if (blocking !== undefined) watched.problem = `waiting for ${blocking.waitsFor}`
        else if (watched.spec?.routes !== table.value) watched.spec = { name, routes: table.value }
        return
      }
    }
  }

  #evaluateInbound(): ReadonlyMap<string, InboundSpec> {
    const inbound = new Map<string, InboundSpec>()
    for (const name of this.#inbound) {
      const known = this.#known<ListenerResource>(TypeUrl.listener, name)
      if (known.kind !== 'held' || known.value.kind !== 'inbound') continue
      const spec = this.#inboundSpec(known.value) ?? this.#snapshot.inbound.get(name)
      if (spec !== undefined) inbound.set(name, spec)
    }
    return inbound
  }

  /** undefined = its routes have not come yet. */
  #inboundSpec({ spec, routing, chains }: InboundResource): InboundSpec | undefined {
    if (chains.length === 0) return this.#routed(spec, routing)
    const complete = chains.map((chain) => this.#routed(chain.spec, chain.routing))
    if (!complete.every((made) => made !== undefined)) return undefined
    return withChains(
      spec,
      chains.map(({ match }) => match),
      complete,
    )
  }

  #routed(spec: InboundSpec, routing: InboundResource['routing']): InboundSpec | undefined {
    if (routing === null) return spec
    const { routes, filters } = routing
    if ('inline' in routes) return withRoutes(spec, routes.inline, filters)
    const table = this.#known<RouteTable>(TypeUrl.route, routes.rds)
    if (table.kind === 'held') return withRoutes(spec, table.value, filters)
    // A36: without routes all requests are refused; refused ones leave those of before in force.
    return table.kind === 'pending' || this.#snapshot.inbound.has(spec.name)
      ? undefined
      : withRoutes(spec, this.#emptyTable(routes.rds), filters)
  }

  #publish(inbound: ReadonlyMap<string, InboundSpec>): Snapshot | null {
    const listeners = new Map<string, ListenerSpec>()
    const absent = new Set<string>()
    const clusters = new Map<string, ClusterSpec>()
    for (const [name, watched] of this.#authorities) {
      if (watched.absent) absent.add(name)
      const spec = watched.spec ?? watched.refused
      if (spec !== null) listeners.set(name, spec)
      if (watched.spec === null) continue
      for (const cluster of clustersOf(watched.spec.routes)) {
        const spec = this.#clusters.get(cluster)?.spec
        if (spec != null) clusters.set(cluster, spec)
      }
    }
    const last = this.#snapshot
    const next: Snapshot = {
      sequence: last.sequence + 1,
      listeners: sameMap(last.listeners, listeners),
      absent: sameSet(last.absent, absent),
      clusters: sameMap(last.clusters, clusters),
      inbound: sameMap(last.inbound, inbound),
      trustBundles: this.#trustBundles,
    }
    const isSame =
      next.listeners === last.listeners &&
      next.absent === last.absent &&
      next.clusters === last.clusters &&
      next.inbound === last.inbound &&
      next.trustBundles === last.trustBundles
    if (isSame) return null
    this.#snapshot = next
    return next
  }

  /** Marks it as needed and says what is known of it. */
  #known<T>(typeUrl: TypeUrl, name: string): Known<T> {
    this.#need(typeUrl, name)
    const held = this.#source.held(typeUrl, name)
    if (held === undefined) {
      if (this.#source.isServed?.(name) !== false) return pending
      return { kind: 'rejected', error: `${labelOf(typeUrl)} ${name}: the bootstrap has no such authority` }
    }
    // The decoder of the type made the value; see resources/index.ts.
    if (held.value !== undefined) return { kind: 'held', value: held.value as T }
    if (held.state === 'DOES_NOT_EXIST') return { kind: 'absent' }
    if (held.state === 'NACKED' || held.state === 'RECEIVED_ERROR' || held.state === 'TIMEOUT')
      return { kind: 'rejected', error: held.error || `${labelOf(typeUrl)} ${name} was refused` }
    return pending
  }

  #need(typeUrl: TypeUrl, name: string): void {
    this.#needed.set(`${typeUrl} ${name}`, { typeUrl, name })
  }

  #subscriptions(): { subscribe: ResourceRef[]; unsubscribe: ResourceRef[] } {
    const subscribe: ResourceRef[] = []
    const unsubscribe: ResourceRef[] = []
    for (const [key, ref] of this.#needed) if (!this.#subscribed.has(key)) subscribe.push(ref)
    for (const [key, ref] of this.#subscribed) if (!this.#needed.has(key)) unsubscribe.push(ref)
    for (const ref of unsubscribe) this.#subscribed.delete(`${ref.typeUrl} ${ref.name}`)
    for (const ref of subscribe) this.#subscribed.set(`${ref.typeUrl} ${ref.name}`, ref)
    return { subscribe, unsubscribe }
  }
}

function refusedListener(name: string): ListenerSpec {
  const route: RouteSpec = {
    name: 'refused',
    match: { path: { kind: 'prefix', value: '', ignoreCase: false }, headers: [], query: [], fractionPerMillion: null },
    action: { kind: 'direct', status: 503, body: `inmesh refused the configuration of ${name}` },
    timeoutMs: Number.POSITIVE_INFINITY,
    timeoutUntilHeaders: false,
    retry: null,
    decidedBy: {},
    ...routeDefaults,
  }
  return { name, routes: { name: 'refused', virtualHosts: [{ name: 'refused', domains: ['*'], routes: [route] }] } }
}

const pending: Known<never> = { kind: 'pending' }

const faulted = new WeakMap<FaultSpec, WeakMap<RouteTable, RouteTable>>()

/** The table as it is with a listener's fault: on routes that say nothing about faults. One object for each pair. */
function withFault(table: RouteTable, fault: FaultSpec | null): RouteTable {
  if (fault === null) return table
  const known = faulted.get(fault) ?? new WeakMap<RouteTable, RouteTable>()
  faulted.set(fault, known)
  const made = known.get(table) ?? {
    ...table,
    virtualHosts: table.virtualHosts.map((host) => ({
      ...host,
      routes: host.routes.map((route) => ({ ...route, fault: route.fault ?? fault })),
    })),
  }
  known.set(table, made)
  return made
}

const seated = new WeakMap<SessionSpec, WeakMap<RouteTable, RouteTable>>()

/** The table with its listener's sessions on routes that say nothing about them. One object for each pair. */
function withSession(table: RouteTable, session: SessionSpec | null): RouteTable {
  if (session === null) return table
  const known = seated.get(session) ?? new WeakMap<RouteTable, RouteTable>()
  seated.set(session, known)
  const made = known.get(table) ?? {
    ...table,
    virtualHosts: table.virtualHosts.map((host) => ({
      ...host,
      routes: host.routes.map((route) => (route.session === undefined ? { ...route, session } : route)),
    })),
  }
  known.set(table, made)
  return made
}

const limited = new Map<number, WeakMap<RouteTable, RouteTable>>()

/** The table with its listener's limit on routes that say nothing about time. One object for each pair. */
function withMaxStream(table: RouteTable, maxStreamMs: number): RouteTable {
  if (maxStreamMs === Number.POSITIVE_INFINITY) return table
  const known = limited.get(maxStreamMs) ?? new WeakMap<RouteTable, RouteTable>()
  limited.set(maxStreamMs, known)
  const made = known.get(table) ?? {
    ...table,
    virtualHosts: table.virtualHosts.map((host) => ({
      ...host,
      routes: host.routes.map((route) => (route.timeUnsaid === true ? { ...route, timeoutMs: maxStreamMs } : route)),
    })),
  }
  known.set(table, made)
  return made
}

const clusterNames = new WeakMap<RouteTable, readonly string[]>()

/** All clusters that a table may send to, shadows too. */
export function clustersOf(table: RouteTable): readonly string[] {
  let names = clusterNames.get(table)
  if (names === undefined) {
    const routes = table.virtualHosts.flatMap((host) => host.routes)
    const found = routes.flatMap(({ action, mirrors }) => [
      ...(action.kind === 'forward' ? action.clusters.map((c) => c.name) : []),
      ...mirrors.map((mirror) => mirror.cluster),
    ])
    names = [...new Set(found)]
    clusterNames.set(table, names)
  }
  return names
}

function sameMap<V>(last: ReadonlyMap<string, V>, next: ReadonlyMap<string, V>): ReadonlyMap<string, V> {
  if (last.size !== next.size) return next
  for (const [key, value] of next) if (last.get(key) !== value) return next
  return last
}

function sameSet(last: ReadonlySet<string>, next: ReadonlySet<string>): ReadonlySet<string> {
  return last.size === next.size && [...next].every((name) => last.has(name)) ? last : next
}
