import { Dispatcher, Dispatcher1Wrapper, errors } from 'undici'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { Engine } from '../engine/engine.ts'
import type { HostRuntime } from '../engine/host.ts'
import { Rejection } from '../engine/rejection.ts'
import type { Route } from '../engine/route.ts'
import type { RuleList } from '../engine/rule-list.ts'
import type { TimerWheel } from '../engine/time.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { Clock } from '../model/clock.ts'
import { type Hop, hopOf } from '../telemetry/context.ts'
import { HeldCalls } from '../transport/held-calls.ts'
import { SilenceWatch } from '../transport/silence-watch.ts'
import { UnderWay } from '../transport/under-way.ts'
import { Coalescer } from './coalesce.ts'
import { HttpExchange } from './exchange.ts'
import { healthProbe } from './health-probe.ts'
import { HttpHostLink } from './host-link.ts'
import { loadProbe } from './load-probe.ts'
import { rejectionReply } from './local-reply.ts'

export interface MeshDispatcherOptions {
  readonly engine: Engine
  readonly clock: Clock
  /** What TLS connections show and trust; null = this process speaks no mTLS, and endpoints that do fail. */
  readonly identity: IdentityState | null
  /** Asks for the configuration of an authority that nobody asked for yet (subscribes over xDS). Called once per wait. */
  readonly want: (authority: string) => void
  /** Where calls go that the mesh knows nothing of; null = they are answered with 502. */
  readonly passthrough: Dispatcher | null
  /** Names that the control plane says do not exist are dialled as they are, unencrypted. Default false: 502. */
  readonly dialAbsent?: boolean
  /** ms that a call waits for the configuration of its authority before it is answered with 503. Default 10,000. */
  readonly holdTimeoutMs?: number
  /** Calls made in handling a request end when its caller's time is over, and repeat nothing that hops below repeated. Default true. */
  readonly propagateDeadlines?: boolean
}

const notInMesh = new Rejection({
  status: 502,
  grpcStatus: 14,
  flag: 'NR',
  details: 'not_in_mesh',
  body: 'the mesh does not know this host, and calls to hosts outside of the mesh are not allowed',
})

const noConfiguration = new Rejection({
  status: 503,
  grpcStatus: 14,
  flag: 'NC',
  details: 'configuration_timeout',
  body: 'the configuration of this host did not arrive in time: is the control plane reachable, and does it know this host?',
})

/** Origins that are remembered; more than that and they are forgotten together. */
const MAX_ORIGINS = 10_000

/** All that is to be known of an origin in one place: a call to one of a thousand services finds little of them in the processor's cache. */
interface Origin {
  /** Lower case, with the port when one is given; null = no business of the mesh. */
  readonly authority: string | null
  /** null = nothing is known. */
  readonly rules: RuleList | null
}

const foreign: Origin = { authority: null, rules: null }

/**
 * An undici Dispatcher whose every call goes through the mesh: for `undici.request(url, { dispatcher })`, `stream`,
 * `pipeline`, `upgrade`, `fetch` of this or an older undici, and Node's own `fetch`.
 *
 * Only `http:` origins are the mesh's; it encrypts by itself. What an app encrypts (`https:`) passes through untouched.
 */
export class MeshDispatcher extends Dispatcher {
  private readonly clock: Clock
  /** @internal */
  readonly silence: SilenceWatch
  /** @internal */
  readonly coalescer = new Coalescer()
  private readonly wheel: TimerWheel
  private readonly engine: Engine
  private readonly identity: IdentityState | null
  private readonly want: (authority: string) => void
  private readonly passthrough: Dispatcher | null
  private readonly dialAbsent: boolean
  private readonly propagates: boolean
  private readonly holdTimeoutMs: number
  private readonly stopListening: () => void
  private readonly links = new Set<HttpHostLink>()
  private readonly forgetLink = (link: HttpHostLink) => this.links.delete(link)
  private readonly origins = new Map<string, Origin>()
  /** Of the engine's tables, which `origins` is about. */
  private edition = -1
  private readonly underWay = new UnderWay<HttpExchange>()
  private readonly held: HeldCalls<HttpExchange>
  private state: 'open' | 'closing' | 'closed' = 'open'
  private readonly whenIdle: (() => void)[] = []

  constructor(options: MeshDispatcherOptions) {
    super()
    this.engine = options.engine
    this.clock = options.clock
    this.wheel = options.engine.wheel
    this.silence = new SilenceWatch(this.wheel, this.underWay)
    this.held = new HeldCalls<HttpExchange>(this.wheel, (exchange) => exchange.reply(rejectionReply(noConfiguration)))
    this.identity = options.identity
    options.engine.probe = healthProbe(options.identity)
    options.engine.loadProbe = loadProbe(options.identity)
    this.want = options.want
    this.passthrough = options.passthrough
    this.dialAbsent = options.dialAbsent ?? false
    this.propagates = options.propagateDeadlines ?? true
    this.holdTimeoutMs = options.holdTimeoutMs ?? 10_000
    const stopIdentity = this.watchIdentity()
    const stopEngine = this.engine.onApply(() => this.configurationChanged())
    this.stopListening = () => {
      stopIdentity()
      stopEngine()
    }
  }

  override dispatch(options: Dispatcher.DispatchOptions, given: Dispatcher.DispatchHandler): boolean {
    const handler = typeof given.onRequestStart === 'function' ? given : wrapHandler(given)
    if (this.state !== 'open') {
      const error = this.state === 'closed' ? new errors.ClientDestroyedError() : new errors.ClientClosedError()
      handler.onResponseError?.(noController, error)
      return false
    }
    const { authority, rules } = options.method === 'CONNECT' ? foreign : this.originOf(options.origin)
    if (authority === null) return this.passOn('', options, handler)
    if (rules === null && this.engine.isAbsent(authority)) {
      if (this.dialAbsent) return this.passOn(authority, options, handler)
      return this.refuse(authority, options, handler)
    }
    let exchange: HttpExchange
    try {
      exchange = new HttpExchange(this, authority, options, handler)
    } catch (error) {
      handler.onResponseError?.(noController, error as Error)
      return false
    }
    this.enter(exchange)
    if (!exchange.begin()) return true
    if (rules === null) this.hold(exchange)
    else exchange.run(this.engine, rules)
    return true
  }

  /** Calls that waited for what came go on. */
  private configurationChanged(): void {
    for (const authority of this.held.authorities) {
      const outbound = this.engine.outbound(authority)
      if (outbound === undefined && !this.engine.isAbsent(authority)) continue
      this.held.release(authority, (exchange) => {
        if (outbound !== undefined) exchange.run(this.engine, outbound.listFor(authority))
        else if (this.dialAbsent) this.relay(exchange)
        else exchange.reply(rejectionReply(notInMesh))
      })
    }
  }

  /** Waits for what is under way, takes nothing new, then closes all connections. */
  override close(callback: () => void): void
  override close(): Promise<void>
  override close(callback?: () => void): Promise<void> | void {
    if (callback === undefined) return new Promise((resolve) => this.close(resolve))
    if (this.state === 'open') this.state = 'closing'
    // Nobody waits for copies.
    for (const exchange of [...this.underWay]) if (exchange.call?.route.shadow === true) exchange.abort()
    const finish = () => {
      this.shut()
      queueMicrotask(callback)
    }
    if (this.underWay.size === 0) finish()
    else this.whenIdle.push(finish)
  }

  /** Fails what is under way with `error` and closes all connections. */
  override destroy(error: Error | null, callback: () => void): void
  override destroy(callback: () => void): void
  override destroy(error: Error | null): Promise<void>
  override destroy(): Promise<void>
  override destroy(first?: Error | null | (() => void), callback?: () => void): Promise<void> | void {
    const done = typeof first === 'function' ? first : callback
    const error = typeof first === 'function' || first === null || first === undefined ? null : first
    if (done === undefined) return new Promise((resolve) => this.destroy(error, resolve))
    this.state = 'closed'
    for (let exchange = this.underWay.any; exchange !== undefined; exchange = this.underWay.any)
      exchange.abort(error ?? new errors.ClientDestroyedError())
    this.shut()
    queueMicrotask(done)
  }

  /** @internal The request in whose handling this is called, if its time and repeats concern what is called now. */
  hopOf(): Hop | null {
    return hopOf(this.propagates)
  }

  /** @internal The connections of a cluster to a host. */
  linkOf(host: HostRuntime, cluster: ClusterRuntime): HttpHostLink {
    const known = host.http as HttpHostLink | null
    if (known !== null) return known
    const link = new HttpHostLink(host, cluster, this.identity, this.forgetLink)
    host.http = link
    this.links.add(link)
    return link
  }

  /** @internal A copy of another call, on a route of its own. Not when the dispatcher is closing: nobody waits for it. */
  shadow(
    authority: string,
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
    route: Route,
  ): void {
    if (this.state !== 'open') return
    const exchange = new HttpExchange(this, authority, options, handler)
    this.enter(exchange)
    if (exchange.begin()) exchange.runOn(this.engine, route)
  }

  /** @internal Its route leads out of the mesh. */
  relay(exchange: HttpExchange): void {
    if (this.passthrough === null) exchange.reply(rejectionReply(notInMesh))
    else exchange.relayBy(this.passthrough)
  }

  /** @internal */
  ended(exchange: HttpExchange): void {
    this.underWay.delete(exchange)
    if (exchange.call === null) this.held.remove(exchange)
    if (this.underWay.size > 0) return
    this.wheel.release()
    this.silence.stop()
    for (const idle of this.whenIdle.splice(0)) idle()
  }

  private enter(exchange: HttpExchange): void {
    // A call that waits or backs off has no socket that would keep the process alive.
    if (this.underWay.size === 0) this.wheel.hold()
    this.underWay.add(exchange)
  }

  private hold(exchange: HttpExchange): void {
    if (this.held.add(exchange, this.clock.now() + this.holdTimeoutMs)) this.want(exchange.authority)
  }

  /** Not the mesh's: as if there were none. */
  private passOn(authority: string, options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (this.passthrough !== null) return this.passthrough.dispatch(options, handler)
    return this.refuse(authority, options, handler)
  }

  private refuse(authority: string, options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const exchange = new HttpExchange(this, authority, options, handler)
    this.enter(exchange)
    if (exchange.begin()) exchange.reply(rejectionReply(notInMesh))
    return true
  }

  private originOf(origin: string | URL | undefined): Origin {
    const { engine, origins } = this
    const text = typeof origin === 'string' ? origin : (origin?.origin ?? '')
    if (this.edition !== engine.edition) {
      this.edition = engine.edition
      origins.clear()
    }
    let known = origins.get(text)
    if (known === undefined) {
      if (origins.size >= MAX_ORIGINS) origins.clear()
      const authority = parseAuthority(text)
      known =
        authority === null ? foreign : { authority, rules: engine.outbound(authority)?.listFor(authority) ?? null }
      origins.set(text, known)
    }
    return known
  }

  private watchIdentity(): () => void {
    if (this.identity === null) return () => undefined
    return this.identity.onChange(({ what }) => {
      for (const link of this.links) {
        if (what === 'identity') link.renew()
        else link.recheck()
      }
    })
  }

  private shut(): void {
    this.state = 'closed'
    this.stopListening()
    for (const link of [...this.links]) link.destroy()
  }
}

const noController = null as unknown as Dispatcher.DispatchController

/** null = it is none of `http:`. */
function parseAuthority(origin: string): string | null {
  if (!URL.canParse(origin)) return null
  const url = new URL(origin)
  return url.protocol === 'http:' ? url.host : null
}

/** Handlers of undici 7 and older, and of the fetch of Node 22 and 24. */
const { wrapHandler } = Dispatcher1Wrapper as unknown as {
  wrapHandler(handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler
}
