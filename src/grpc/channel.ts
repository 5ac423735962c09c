import type { IncomingHttpHeaders } from 'node:http2'
import { type ChannelInterface, connectivityState, status as Status } from '@grpc/grpc-js'
import type { Encoding } from './compression.ts'
import type { GrpcDispatcher } from './dispatcher.ts'
import { GrpcExchange } from './exchange.ts'
import type { ChannelSettings } from './options.ts'
import type { GrpcCall } from './types.ts'

type Deadline = Parameters<ChannelInterface['createCall']>[1]
type Parent = Parameters<ChannelInterface['createCall']>[3]

/** Bits of grpc.propagate. */
const PROPAGATE_DEADLINE = 1
const PROPAGATE_CANCELLATION = 8
const PROPAGATE_ALL = 0xffff

/** setTimeout's longest. */
const MAX_TIMER_MS = 2_147_483_647

/**
 * A channel of grpc-js whose every call goes through the mesh: for `channelOverride` of generated clients. It has no
 * connections of its own; all channels of a mesh share those to a host.
 */
export class MeshChannel implements ChannelInterface {
  readonly dispatcher: GrpcDispatcher
  readonly settings: ChannelSettings
  /** The service as the mesh knows it: in lower case, with a port when one was given. */
  readonly authority: string
  private readonly target: string
  private closed = false
  private accepted: Encoding
  private readonly watchers = new Set<() => void>()

  constructor(dispatcher: GrpcDispatcher, target: string, authority: string, settings: ChannelSettings) {
    this.dispatcher = dispatcher
    this.target = target
    this.authority = authority
    this.settings = settings
    this.accepted = settings.compression
  }

  /** By which messages are compressed, as far as the service has said that it reads it. */
  get encoding(): Encoding {
    return this.accepted
  }

  /** @internal What the head of an answer says about who answers. */
  heard(headers: IncomingHttpHeaders): void {
    if (this.accepted === 'identity') return
    const known = headers['grpc-accept-encoding']
    if (typeof known === 'string' && !known.split(',').some((name) => name.trim() === this.accepted))
      this.accepted = 'identity'
  }

  /** @throws Error when the channel is closed */
  createCall(
    method: string,
    deadline: Deadline,
    host: string | null | undefined,
    parentCall: Parent,
    propagateFlags: number | null | undefined,
  ): GrpcCall {
    if (typeof method !== 'string') throw new TypeError('Channel#createCall: method must be a string')
    if (this.closed) throw new Error('Channel has been shut down')
    const flags = parentCall === null ? 0 : (propagateFlags ?? PROPAGATE_ALL)
    let until = this.monotonic(deadline)
    if (parentCall !== null && (flags & PROPAGATE_DEADLINE) !== 0)
      until = Math.min(until, this.monotonic(parentCall.getDeadline()))
    const exchange = new GrpcExchange(this, method, host ?? null, until)
    if (parentCall !== null && (flags & PROPAGATE_CANCELLATION) !== 0) {
      const cancel = () => exchange.cancelWithStatus(Status.CANCELLED, 'Cancelled by parent call')
      parentCall.on('cancelled', cancel)
      exchange.onDone(() => parentCall.off('cancelled', cancel))
    }
    return exchange
  }

  /** No more calls; those under way go on. */
  close(): void {
    this.closed = true
    for (const look of [...this.watchers]) look()
  }

  getTarget(): string {
    return this.target
  }

  /**
   * READY: the mesh knows the service. TRANSIENT_FAILURE: it knows that there is none. Connections come and go with calls and
   * do not count.
   * @param tryToConnect asks for its configuration
   */
  getConnectivityState(tryToConnect: boolean): connectivityState {
    const { dispatcher, authority } = this
    if (this.closed || !dispatcher.open) return connectivityState.SHUTDOWN
    if (dispatcher.engine.outbound(authority) !== undefined) return connectivityState.READY
    if (dispatcher.engine.isAbsent(authority)) return connectivityState.TRANSIENT_FAILURE
    if (!tryToConnect) return connectivityState.IDLE
    dispatcher.want(authority)
    return connectivityState.CONNECTING
  }

  watchConnectivityState(
    currentState: connectivityState,
    deadline: Date | number,
    callback: (error?: Error) => void,
  ): void {
    if (this.closed) throw new Error('Channel has been shut down')
    const known = (state: connectivityState) =>
      state === connectivityState.IDLE || state === connectivityState.CONNECTING ? connectivityState.IDLE : state
    const done = (error?: Error) => {
      if (!this.watchers.delete(look)) return
      stop()
      if (timer !== undefined) clearTimeout(timer)
      callback(error)
    }
    const look = () => {
      if (known(this.getConnectivityState(false)) !== known(currentState)) done()
    }
    const stop = this.dispatcher.engine.onApply(look)
    this.watchers.add(look)
    const ms = Number(deadline) - Date.now()
    const late = () => done(new Error('Deadline passed without connectivity state change'))
    const timer = ms < MAX_TIMER_MS ? setTimeout(late, Math.max(ms, 0)) : undefined
    process.nextTick(look)
  }

  /** There is no channelz here. */
  getChannelzRef(): ReturnType<ChannelInterface['getChannelzRef']> {
    return { kind: 'channel', id: 0, name: this.target } as ReturnType<ChannelInterface['getChannelzRef']>
  }

  /** Of the engine's clock. */
  private monotonic(deadline: Deadline): number {
    const at = Number(deadline)
    return at === Number.POSITIVE_INFINITY ? at : this.dispatcher.clock.now() + (at - Date.now())
  }
}

/**
 * What a target means to the mesh: the service, in lower case, with its port unless that is 80. Schemes and authorities of
 * targets are left out: "dns:///payments:8080" is "payments:8080"; but `xds://authority/payments` stays whole.
 */
export function authorityOf(target: string): string {
  // gRFC A47: another authority's service of that name is another service.
  const federated = /^xds:\/\/([^/]+)\/+([^/].*)$/i.exec(target)
  if (federated !== null) return `xds://${federated[1]}/${authorityOf(federated[2]!)}`
  const name = /^[a-z][a-z0-9+.-]*:\/\//i.test(target) ? target.slice(target.lastIndexOf('/') + 1) : target
  const bare = name.startsWith('dns:') ? name.slice(4) : name
  return bare.toLowerCase().replace(/:80$/, '')
}
