import { Metadata, status as Status } from '@grpc/grpc-js'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { Engine } from '../engine/engine.ts'
import type { HostRuntime } from '../engine/host.ts'
import { Rejection, rejections } from '../engine/rejection.ts'
import type { Route } from '../engine/route.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { Clock } from '../model/clock.ts'
import { type Hop, hopOf } from '../telemetry/context.ts'
import { HeldCalls } from '../transport/held-calls.ts'
import { SilenceWatch } from '../transport/silence-watch.ts'
import { UnderWay } from '../transport/under-way.ts'
import type { GrpcExchange } from './exchange.ts'
import { GrpcHostLink } from './host-link.ts'

export interface GrpcDispatcherOptions {
  readonly engine: Engine
  readonly clock: Clock
  /** What TLS connections show and trust; null = this process speaks no mTLS, and endpoints that do fail. */
  readonly identity: IdentityState | null
  /** Asks for the configuration of an authority that nobody asked for yet (subscribes over xDS). Called once per wait. */
  readonly want: (authority: string) => void
  /** ms that a call waits for the configuration of its authority; calls that wait for ready wait longer. Default 10,000. */
  readonly holdTimeoutMs?: number
  /** Calls made in handling a request end when its caller's time is over, and repeat nothing that hops below repeated. Default true. */
  readonly propagateDeadlines?: boolean
}

const notInMesh = new Rejection({
  status: 502,
  grpcStatus: Status.UNAVAILABLE,
  flag: 'NR',
  details: 'not_in_mesh',
  body: 'the mesh knows no service of this name',
})

const noConfiguration = new Rejection({
  status: 503,
  grpcStatus: Status.UNAVAILABLE,
  flag: 'NC',
  details: 'configuration_timeout',
  body: 'the configuration of this service did not arrive in time: is the control plane reachable, and does it know this service?',
})

/** The gRPC calls that this process makes: those that wait for configuration, those under way, and the connections of all. */
export class GrpcDispatcher {
  readonly engine: Engine
  readonly clock: Clock
  /** @internal */
  readonly silence: SilenceWatch
  private readonly identity: IdentityState | null
  private readonly wantConfiguration: (authority: string) => void
  private readonly holdTimeoutMs: number
  private readonly propagates: boolean
  private readonly links = new Set<GrpcHostLink>()
  private readonly forgetLink = (link: GrpcHostLink) => this.links.delete(link)
  private readonly underWay = new UnderWay<GrpcExchange>()
  private readonly held: HeldCalls<GrpcExchange>
  private readonly stopListening: () => void
  private readonly whenIdle: (() => void)[] = []
  private state: 'open' | 'closing' | 'closed' = 'open'

  constructor(options: GrpcDispatcherOptions) {
    this.engine = options.engine
    this.clock = options.clock
    this.identity = options.identity
    this.wantConfiguration = options.want
    this.holdTimeoutMs = options.holdTimeoutMs ?? 10_000
    this.propagates = options.propagateDeadlines ?? true
    this.silence = new SilenceWatch(this.engine.wheel, this.underWay)
    this.held = new HeldCalls<GrpcExchange>(this.engine.wheel, (exchange) => this.heldTooLong(exchange))
    const stopIdentity = this.watchIdentity()
    const stopEngine = this.engine.onApply(() => this.configurationChanged())
    this.stopListening = () => {
      stopIdentity()
      stopEngine()
    }
  }

  get open(): boolean {
    return this.state === 'open'
  }

  /** Asks for the configuration of an authority unless it is known. */
  want(authority: string): void {
    if (this.engine.outbound(authority) === undefined && !this.engine.isAbsent(authority))
      this.wantConfiguration(authority)
  }

  /** @internal The request in whose handling this is called, if its time and repeats concern what is called now. */
  hopOf(): Hop | null {
    return hopOf(this.propagates)
  }

  /** @internal */
  enter(exchange: GrpcExchange): void {
    // A call that waits or backs off has no socket that would keep the process alive.
    if (this.underWay.size === 0) this.engine.wheel.hold()
    this.underWay.add(exchange)
  }

  /** @internal */
  begin(exchange: GrpcExchange): void {
    const { authority } = exchange
    if (this.state !== 'open') {
      const details = `${authority}: the mesh was closed`
      exchange.refuse({ code: Status.UNAVAILABLE, details, metadata: new Metadata() })
      return
    }
    const outbound = this.engine.outbound(authority)
    if (outbound !== undefined) exchange.run(this.engine, outbound)
    else if (this.engine.isAbsent(authority)) this.refuse(exchange)
    else this.hold(exchange)
  }

  /** @internal It leads out of the mesh, or to nobody. */
  refuse(exchange: GrpcExchange): void {
    exchange.reject(notInMesh, null)
  }

  /** @internal A copy of another call, on a route of its own. Not when the mesh is closing: nobody waits for it. */
  shadow(exchange: GrpcExchange, route: Route): boolean {
    if (this.state !== 'open') return false
    this.enter(exchange)
    exchange.runOn(this.engine, route)
    return true
  }

  /** @internal */
  ended(exchange: GrpcExchange): void {
    this.underWay.delete(exchange)
    if (exchange.call === null) this.held.remove(exchange)
    if (this.underWay.size > 0) return
    this.engine.wheel.release()
    this.silence.stop()
    for (const idle of this.whenIdle.splice(0)) idle()
  }

  /** @internal The connections of a cluster to a host. */
  linkOf(host: HostRuntime, cluster: ClusterRuntime): GrpcHostLink {
    const known = host.grpc as GrpcHostLink | null
    if (known !== null) return known
    const link = new GrpcHostLink(host, cluster, this.identity, this.forgetLink)
    host.grpc = link
    this.links.add(link)
    return link
  }

  /** Waits for what is under way, takes nothing new, then closes all connections. */
  async close(): Promise<void> {
    if (this.state === 'closed') return
    this.state = 'closing'
    // Nobody waits for copies.
    for (const exchange of [...this.underWay])
      if (exchange.call?.route.shadow === true) exchange.cancelWithStatus(Status.CANCELLED, 'the mesh closes')
    if (this.underWay.size > 0) await new Promise<void>((resolve) => this.whenIdle.push(resolve))
    this.shut()
  }

  /** Ends what is under way with UNAVAILABLE and closes all connections. */
  destroy(): void {
    this.state = 'closed'
    for (const exchange of [...this.underWay]) exchange.cancelWithStatus(Status.UNAVAILABLE, 'the mesh was closed')
    this.shut()
  }

  private hold(exchange: GrpcExchange): void {
    const until = exchange.patient ? Number.POSITIVE_INFINITY : this.clock.now() + this.holdTimeoutMs
    if (this.held.add(exchange, Math.min(until, exchange.callerDeadline))) this.wantConfiguration(exchange.authority)
  }

  private heldTooLong(exchange: GrpcExchange): void {
    const late = this.clock.now() >= exchange.callerDeadline
    exchange.reject(late ? rejections.timeout : noConfiguration, null)
  }

  /** Calls that waited for what came go on. */
  private configurationChanged(): void {
    for (const authority of this.held.authorities) {
      const outbound = this.engine.outbound(authority)
      if (outbound === undefined && !this.engine.isAbsent(authority)) continue
      this.held.release(authority, (exchange) => {
        if (outbound === undefined) this.refuse(exchange)
        else exchange.run(this.engine, outbound)
      })
    }
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
