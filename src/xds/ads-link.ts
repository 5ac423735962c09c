import type { MessageInitShape } from '@bufbuild/protobuf'
import type { NodeSchema } from '../gen/envoy/config/core/v3/base_pb.js'
import type { Clock, Random } from '../model/clock.ts'
import type { Logger } from '../model/logger.ts'
import type { Stream, Transport } from '../model/transport.ts'
import type { CachedResource } from './cache.ts'
import { type DataErrors, ownDataErrors } from './data-errors.ts'
import type { Dialect } from './resources/dialect.ts'
import { ADS_METHOD, ServerProbe } from './server-probe.ts'
import { type AdsAction, type AdsEvent, AdsState, type AdsTiming, adsTiming } from './stream-state.ts'
import type { Held } from './subscription.ts'

/** One server of a control plane. */
export interface XdsServer {
  /** How messages call it. */
  readonly name: string
  readonly transport: Transport
  /** Default: as of inmesh's own control plane. */
  readonly errors?: DataErrors
}

export interface AdsLinkOptions {
  readonly node: MessageInitShape<typeof NodeSchema>
  /** In order of preference, at least one. */
  readonly servers: readonly XdsServer[]
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly timing?: Partial<AdsTiming> | undefined
  readonly dialect?: Dialect | undefined
  readonly cache?: { get(typeUrl: string, name: string): CachedResource | undefined } | undefined
  changed(typeUrl: string, held: Readonly<Held>): void
  nack(nack: { typeUrl: string; version: string; errors: readonly string[] }): void
  connection(connected: boolean, reason: string): void
}

/**
 * The I/O of one ADS stream: to the first server, or, while that cannot be reached and something is asked for of which nothing is
 * known, to the next (gRFC A71). Servers that come before are asked whether they are back; the first answer ends the fall-back.
 */
export class AdsLink {
  readonly state: AdsState
  readonly #options: AdsLinkOptions
  readonly #probes = new Map<number, ServerProbe>()
  #server = 0
  #stream: Stream | null = null
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: AdsLinkOptions) {
    this.#options = options
    const { node, random, timing, cache, dialect, servers } = options
    this.state = new AdsState({ node, random, timing, cache, dialect, errors: errorsOf(servers[0]!) })
  }

  /** The server in use, or waited for. */
  get server(): XdsServer {
    return this.#options.servers[this.#server]!
  }

  step(event: AdsEvent): void {
    if (this.#closed) return
    for (const action of this.state.step(event, this.#options.clock.now())) this.#act(action)
    this.#fallBack()
    this.#arm()
  }

  close(): void {
    this.step({ kind: 'close' })
    this.#closed = true
    clearTimeout(this.#timer)
    for (const probe of this.#probes.values()) probe.close()
    this.#probes.clear()
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
          if (stream === this.#stream) this.step({ kind: 'sent', request: action.request })
        })
        return
      }
      case 'changed':
        this.#options.changed(action.typeUrl, action.held)
        return
      case 'nack':
        this.#options.nack(action)
        return
      case 'connection':
        this.#options.connection(action.connected, action.reason)
        return
    }
  }

  #connect(): void {
    const stream = this.server.transport.open(ADS_METHOD, {
      message: (bytes) => {
        if (stream === this.#stream) this.step({ kind: 'response', bytes })
      },
      ended: (end) => {
        if (stream !== this.#stream) return
        this.#stream = null
        this.step({ kind: 'ended', end })
      },
    })
    this.#stream = stream
  }

  #fallBack(): void {
    const { servers, logger, random, timing } = this.#options
    const away = this.#server
    if (this.#closed || away + 1 >= servers.length || !this.state.unreachable || !this.state.lacks) return
    const { name, transport } = this.server
    logger.warn('an xDS server cannot be reached; the next one is asked', {
      server: name,
      next: servers[away + 1]!.name,
    })
    const probe = new ServerProbe({
      transport,
      random,
      backoff: { ...adsTiming.backoff, ...timing?.backoff },
      request: () => this.state.firstRequest(),
      answered: () => {
        logger.info('an xDS server is back', { server: name })
        this.#use(away)
      },
    })
    this.#probes.set(away, probe)
    this.#use(away + 1)
  }

  #use(index: number): void {
    this.#server = index
    for (const [probed, probe] of this.#probes) {
      if (probed < index) continue
      probe.close()
      this.#probes.delete(probed)
    }
    this.step({ kind: 'switch', errors: errorsOf(this.server) })
  }

  #arm(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const { deadline } = this.state
    if (this.#closed || deadline === Number.POSITIVE_INFINITY) return
    const delay = Math.max(0, Math.ceil(deadline - this.#options.clock.now()))
    this.#timer = setTimeout(() => this.step({ kind: 'tick' }), delay)
  }
}

function errorsOf(server: XdsServer): DataErrors {
  return server.errors ?? ownDataErrors
}
