import type { Clock, Random } from '../model/clock.ts'
import type { Logger } from '../model/logger.ts'
import type { Snapshot } from '../model/snapshot.ts'
import type { Stream, Transport } from '../model/transport.ts'
import type { ResourceCache } from './cache.ts'
import { nodeMessage, type XdsNode } from './node.ts'
import { labelOf } from './resources/index.ts'
import type { XdsStatus } from './status.ts'
import { type AdsAction, type AdsEvent, AdsState, type AdsTiming } from './stream-state.ts'
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
  readonly transport: Transport
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

const METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources'

/**
 * Keeps configuration up to date for what the process dials and serves: one ADS stream, from which it publishes
 * snapshots. What decides is in AdsState (the protocol) and WatchGraph (what belongs together); this is their I/O.
 */
export class XdsClient {
  readonly #options: XdsClientOptions
  readonly #state: AdsState
  readonly #graph: WatchGraph
  readonly #warned = new Set<string>()
  #stream: Stream | null = null
  #timer: NodeJS.Timeout | undefined
  #turn: NodeJS.Immediate | undefined
  #published: Snapshot
  #massRemovals = 0
  #closed = false

  constructor(options: XdsClientOptions) {
    this.#options = options
    const { random, timing, cache } = options
    this.#state = new AdsState({ node: nodeMessage(options.node), random, timing, cache })
    this.#graph = new WatchGraph(this.#state, (cluster, before, stayed) =>
      this.#endpointsRemoved(cluster, before, stayed),
    )
    this.#published = this.#graph.snapshot
  }

  /** The last one published. */
  get snapshot(): Snapshot {
    return this.#published
  }

  start(): void {
    this.#step({ kind: 'start' })
  }

  /** Ends the stream and writes the cache. The last snapshot stays. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#step({ kind: 'close' })
    this.#closed = true
    clearTimeout(this.#timer)
    clearImmediate(this.#turn)
    await this.#options.cache?.close()
  }

  /**
   * Opens a new stream with the transport's credentials of now, without back-off; configuration stays in force. For
   * the time after a certificate was rotated.
   */
  reconnect(): void {
    this.#step({ kind: 'reconnect' })
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
    const link = this.#state.connected
      ? ''
      : ` (not connected to the control plane: ${this.#state.lastError || 'no answer yet'})`
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

  status(): XdsStatus {
    return {
      connected: this.#state.connected,
      lastError: this.#state.lastError,
      lastUpdateAgeMs: this.#options.clock.now() - this.#state.lastUpdate,
      cacheAgeMs: this.#options.cache?.ageMs ?? Number.POSITIVE_INFINITY,
      massRemovals: this.#massRemovals,
      types: this.#state.types(),
    }
  }

  #step(event: AdsEvent): void {
    if (this.#closed) return
    for (const action of this.#state.step(event, this.#options.clock.now())) this.#act(action)
    this.#arm()
  }

  #act(action: AdsAction): void {
    switch (action.kind) {
      case 'connect':
        this.#connect()
        return
      case 'disconnect':
        this.#stream?.cancel()
        this.#stream = null
        return
      case 'read':
        this.#stream?.read()
        return
      case 'send': {
        const stream = this.#stream
        stream?.send(action.bytes, () => {
          if (stream === this.#stream) this.#step({ kind: 'sent', request: action.request })
        })
        return
      }
      case 'changed':
        this.#remember(action.typeUrl, action.held)
        this.#evaluateSoon()
        return
      case 'nack':
        this.#options.logger.error('a response of the control plane was refused', {
          type: labelOf(action.typeUrl),
          version: action.version,
          errors: action.errors,
        })
        this.#options.events?.nack?.(action)
        return
      case 'connection':
        if (action.connected) this.#options.logger.info('connected to the control plane')
        else this.#options.logger.warn('the stream to the control plane ended', { reason: action.reason })
        this.#options.events?.connection?.(action.connected, action.reason)
        return
    }
  }

  #connect(): void {
    const stream = this.#options.transport.open(METHOD, {
      message: (bytes) => {
        if (stream === this.#stream) this.#step({ kind: 'response', bytes })
      },
      ended: (end) => {
        if (stream !== this.#stream) return
        this.#stream = null
        this.#step({ kind: 'ended', end })
      },
    })
    this.#stream = stream
  }

  /** Keeps the copy on disk and the warnings in step with what is held. */
  #remember(typeUrl: string, held: Readonly<Held>): void {
    const { cache } = this.#options
    if (held.state === 'DOES_NOT_EXIST') cache?.delete(typeUrl, held.name)
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
      for (const { typeUrl, name } of subscribe) this.#step({ kind: 'subscribe', typeUrl, name })
      for (const { typeUrl, name } of unsubscribe) {
        this.#step({ kind: 'unsubscribe', typeUrl, name })
        this.#options.cache?.release(typeUrl, name)
      }
      // What came from disk at once may need more in turn; what was replaced is needed no more.
      if (subscribe.length === 0 && snapshot === null) break
    }
    this.#step({ kind: 'flush' })
    const { snapshot } = this.#graph
    if (snapshot === this.#published) return
    this.#published = snapshot
    this.#options.onSnapshot(snapshot)
  }

  #arm(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const { deadline } = this.#state
    if (this.#closed || deadline === Number.POSITIVE_INFINITY) return
    const delay = Math.max(0, Math.ceil(deadline - this.#options.clock.now()))
    this.#timer = setTimeout(() => this.#step({ kind: 'tick' }), delay)
  }
}
