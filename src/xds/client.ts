import type { Clock, Random } from '../model/clock.ts'
import type { LoadSource } from '../model/load-stats.ts'
import type { Logger } from '../model/logger.ts'
import type { Snapshot } from '../model/snapshot.ts'
import type { Transport } from '../model/transport.ts'
import { AdsLink, type XdsServer } from './ads-link.ts'
import { authorityOf } from './bootstrap/listener-names.ts'
import type { ResourceCache } from './cache.ts'
import type { ClientStatus } from './csds.ts'
import { LrsClient } from './load/lrs-client.ts'
import { nodeMessage, type XdsNode } from './node.ts'
import type { Dialect } from './resources/dialect.ts'
import { labelOf } from './resources/index.ts'
import type { TypeStatus, XdsStatus } from './status.ts'
import type { AdsTiming } from './stream-state.ts'
import type { Held } from './subscription.ts'
import { WatchGraph } from './watch.ts'

/** What may be watched while it happens; every callback is optional and must not throw. */
export interface XdsEvents {
  /** The stream delivered its first response, or ended. */
  connection?(connected: boolean, reason: string): void
  /** A response was refused, in whole or in part; `errors` name resource, field and reason. */
  nack?(nack: { typeUrl: string; version: string; errors: readonly string[] }): void
  /** Something was accepted that inmesh does not act on, or that looks like an accident. */
  warning?(warning: { typeUrl: string; name: string; message: string }): void
}

export interface XdsClientOptions {
  readonly node: XdsNode
  /** To the control plane; several servers in order of preference (gRFC A71). */
  readonly transport: Transport | readonly XdsServer[]
  /** Servers of names that begin with `xdstp://AUTHORITY/`, by authority (A47). Other authorities do not exist. */
  readonly authorities?: ReadonlyMap<string, readonly XdsServer[]>
  /** Whose resources they are; default: those of inmesh's own control plane. */
  readonly dialect?: Dialect
  /** Resource that answers for an authority as dialled; default: of the same name. undefined = there is none. */
  readonly listenerName?: (authority: string) => string | undefined
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Without it nothing outlives the process. `close()` closes it. */
  readonly cache?: ResourceCache
  readonly events?: XdsEvents
  readonly timing?: Partial<AdsTiming>
  /** A new snapshot; at most one per turn of the event loop. */
  onSnapshot(snapshot: Snapshot): void
}

/**
 * Keeps configuration up to date for what the process dials and serves: one ADS stream (and one for each authority of federated
 * names), from which it publishes snapshots. What decides is in AdsState (the protocol) and WatchGraph (what belongs together);
 * this and AdsLink are their I/O.
 */
export class XdsClient {
  readonly #options: XdsClientOptions
  readonly #main: AdsLink
  /** By authority; made when a name of it is first needed. */
  readonly #others = new Map<string, AdsLink>()
  /** By authority, '' = of the main servers; made when a cluster first wants its load reported. */
  readonly #reporters = new Map<string, LrsClient>()
  #loads: LoadSource | null = null
  readonly #graph: WatchGraph
  readonly #warned = new Set<string>()
  #turn: NodeJS.Immediate | undefined
  #published: Snapshot
  #massRemovals = 0
  #started = false
  #closed = false

  constructor(options: XdsClientOptions) {
    this.#options = options
    const { transport } = options
    this.#main = this.#link('open' in transport ? [{ name: 'the control plane', transport }] : transport)
    this.#graph = new WatchGraph(
      {
        held: (typeUrl, name) => this.#linkOf(name)?.state.held(typeUrl, name),
        isServed: (name) => this.#linkOf(name) !== undefined,
      },
      (cluster, before, stayed) => this.#endpointsRemoved(cluster, before, stayed),
      (authority) => {
        const name = options.listenerName === undefined ? authority : options.listenerName(authority)
        return name === undefined || this.#linkOf(name) === undefined ? undefined : name
      },
    )
    this.#published = this.#graph.snapshot
  }

  /** The last one published. */
  get snapshot(): Snapshot {
    return this.#published
  }

  start(): void {
    this.#started = true
    for (const link of this.#links()) link.step({ kind: 'start' })
  }

  /** Ends the stream and writes the cache. The last snapshot stays. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const link of this.#links()) link.close()
    for (const reporter of this.#reporters.values()) reporter.want(false)
    clearImmediate(this.#turn)
    await this.#options.cache?.close()
  }

  /**
   * Opens a new stream with the transport's credentials of now, without back-off; configuration stays in force. For
   * the time after a certificate was rotated.
   */
  reconnect(): void {
    for (const link of this.#links()) link.step({ kind: 'reconnect' })
    for (const reporter of this.#reporters.values()) reporter.reconnect()
  }

  /** Clusters that name their own server as `lrs_server` have what `source` counts of them reported to it. */
  reportLoads(source: LoadSource): void {
    this.#loads = source
    this.#updateReporters()
  }

  /** Subscribes what calls to this authority need. @param name as dialled, lower case. Idempotent. */
  watchAuthority(name: string): void {
    this.#graph.watchAuthority(name)
    this.#evaluateSoon()
  }

  unwatchAuthority(name: string): void {
    this.#graph.unwatchAuthority(name)
    this.#evaluateSoon()
  }

  /**
   * Why there is no configuration for an authority: refused (with the reason; its calls are answered with 503),
   * unknown, or still waited for. undefined when there is one.
   */
  authorityProblem(name: string): string | undefined {
    const problem = this.#graph.problem(name)
    if (problem === undefined) return undefined
    const { state } = this.#linkOf(this.#options.listenerName?.(name) ?? name) ?? this.#main
    const link = state.connected ? '' : ` (not connected to the control plane: ${state.lastError || 'no answer yet'})`
    return `${problem}${link} [node ${this.#options.node.id}]`
  }

  /** @param listenerName `inmesh/inbound/IP:PORT` */
  watchInbound(listenerName: string): void {
    this.#graph.watchInbound(listenerName)
    this.#evaluateSoon()
  }

  unwatchInbound(listenerName: string): void {
    this.#graph.unwatchInbound(listenerName)
    this.#evaluateSoon()
  }

  watchTrustBundle(): void {
    this.#graph.watchTrustBundle()
    this.#evaluateSoon()
  }

  /** For CSDS: who this client is to its servers, and all that it subscribed. */
  clientStatus(): ClientStatus {
    const links = [...this.#links()]
    return {
      node: this.#options.node,
      ageMs: (time) => this.#options.clock.now() - time,
      resources: links.flatMap((link) => [...link.state.resources()]),
    }
  }

  status(): XdsStatus {
    const { state } = this.#main
    const types = state.types()
    for (const link of this.#others.values()) addTypes(types, link.state.types())
    return {
      connected: state.connected,
      lastError: state.lastError,
      lastUpdateAgeMs: this.#options.clock.now() - state.lastUpdate,
      cacheAgeMs: this.#options.cache?.ageMs ?? Number.POSITIVE_INFINITY,
      massRemovals: this.#massRemovals,
      types,
    }
  }

  *#links(): Generator<AdsLink> {
    yield this.#main
    yield* this.#others.values()
  }

  /** undefined = nobody serves names of this authority. */
  #linkOf(name: string): AdsLink | undefined {
    const authority = authorityOf(name)
    if (authority === '') return this.#main
    const known = this.#others.get(authority)
    if (known !== undefined) return known
    const servers = this.#options.authorities?.get(authority)
    if (servers === undefined) return undefined
    const link = this.#link(servers)
    this.#others.set(authority, link)
    if (this.#started) link.step({ kind: 'start' })
    return link
  }

  #link(servers: readonly XdsServer[]): AdsLink {
    const { clock, random, logger, timing, dialect, cache, events } = this.#options
    return new AdsLink({
      node: nodeMessage(this.#options.node),
      servers,
      clock,
      random,
      logger,
      timing,
      dialect,
      cache,
      changed: (typeUrl, held) => {
        this.#remember(typeUrl, held)
        this.#evaluateSoon()
      },
      nack: (nack) => {
        const { typeUrl, version, errors } = nack
        logger.error('a response of the control plane was refused', { type: labelOf(typeUrl), version, errors })
        events?.nack?.(nack)
      },
      connection: (connected, reason) => {
        if (connected) logger.info('connected to the control plane')
        else logger.warn('the stream to the control plane ended', { reason })
        events?.connection?.(connected, reason)
      },
    })
  }

  /** Keeps the copy on disk and the warnings in step with what is held. */
  #remember(typeUrl: string, held: Readonly<Held>): void {
    const { cache } = this.#options
    if (held.state === 'DOES_NOT_EXIST' && held.bytes === null) cache?.delete(typeUrl, held.name)
    else if (held.state === 'ACKED' && held.bytes !== null) cache?.put(typeUrl, held.name, held.version, held.bytes)
    for (const message of held.warnings) this.#warn(typeUrl, held.name, message)
  }

  /** Each only once: control planes repeat themselves. */
  #warn(typeUrl: string, name: string, message: string): void {
    const key = `${typeUrl} ${name} ${message}`
    if (this.#warned.has(key)) return
    if (this.#warned.size > 10_000) this.#warned.clear()
    this.#warned.add(key)
    this.#options.logger.warn('configuration that has no effect here', { type: labelOf(typeUrl), name, message })
    this.#options.events?.warning?.({ typeUrl, name, message })
  }

  #endpointsRemoved(cluster: string, before: number, stayed: number): void {
    this.#massRemovals++
    const message = `${before - stayed} of ${before} endpoints were removed at once`
    this.#options.logger.warn(message, { cluster })
    this.#options.events?.warning?.({ typeUrl: '', name: cluster, message })
  }

  /** Gathers all changes of this turn of the event loop into one evaluation and at most one snapshot. */
  #evaluateSoon(): void {
    if (this.#turn !== undefined || this.#closed) return
    this.#turn = setImmediate(() => {
      this.#turn = undefined
      this.#evaluate()
    })
  }

  #evaluate(): void {
    for (;;) {
      const { subscribe, unsubscribe, snapshot } = this.#graph.evaluate()
      for (const { typeUrl, name } of subscribe) this.#linkOf(name)?.step({ kind: 'subscribe', typeUrl, name })
      for (const { typeUrl, name } of unsubscribe) {
        this.#linkOf(name)?.step({ kind: 'unsubscribe', typeUrl, name })
        this.#options.cache?.release(typeUrl, name)
      }
      // What came from disk at once may need more in turn; what was replaced is needed no more.
      if (subscribe.length === 0 && snapshot === null) break
    }
    for (const link of this.#links()) link.step({ kind: 'flush' })
    const { snapshot } = this.#graph
    if (snapshot === this.#published) return
    this.#published = snapshot
    this.#options.onSnapshot(snapshot)
    this.#updateReporters()
  }

  #updateReporters(): void {
    const source = this.#loads
    if (source === null || this.#closed) return
    const wanted = new Set<string>()
    for (const { name, loadReporting } of this.#published.clusters.values())
      if (loadReporting !== null) wanted.add(authorityOf(name))
    for (const authority of wanted) if (!this.#reporters.has(authority)) this.#report(authority, source)
    for (const [authority, reporter] of this.#reporters) reporter.want(wanted.has(authority))
  }

  /** To the server that the clusters of an authority come from. */
  #report(authority: string, source: LoadSource): void {
    const { clock, random, logger } = this.#options
    const link = authority === '' ? this.#main : this.#others.get(authority)!
    const own: LoadSource = {
      takeLoads: (clusters) => source.takeLoads(clusters ?? this.#reported(authority)),
    }
    const node = nodeMessage(this.#options.node)
    const transport = () => link.server.transport
    this.#reporters.set(authority, new LrsClient({ node, transport, source: own, clock, random, logger }))
  }

  /** "All clusters" are those of that server. */
  #reported(authority: string): ReadonlySet<string> {
    return new Set([...this.#published.clusters.keys()].filter((name) => authorityOf(name) === authority))
  }
}

function addTypes(to: TypeStatus[], more: readonly TypeStatus[]): void {
  for (const [i, type] of more.entries()) to[i] = { ...to[i]!, resources: [...to[i]!.resources, ...type.resources] }
}
