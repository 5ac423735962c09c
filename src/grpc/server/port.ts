import { type AddressInfo, createServer, type Server as NetServer, type Socket } from 'node:net'
import { type ConnectionInjector, experimental, type Server, ServerCredentials } from '@grpc/grpc-js'
import type { Inbound } from '../../engine/inbound.ts'
import { InmeshError } from '../../errors.ts'
import type { IdentityState } from '../../identity/identity-state.ts'
import type { Clock } from '../../model/clock.ts'
import { type Logger, silentLogger } from '../../model/logger.ts'
import type { ServerTelemetry } from '../../telemetry/server-telemetry.ts'
import { ConnectionGate } from '../../transport/connection-gate.ts'
import { watchLoad } from '../../transport/loop-lag.ts'
import { GrpcAdmission } from './admission.ts'
import type { Connections } from './connections.ts'
import { portInterceptor } from './interceptor.ts'

export interface GrpcPortOptions {
  /** What is enforced now; undefined = not known yet: connections wait. Asked for every connection and call. */
  readonly inbound: () => Inbound | undefined
  /** What TLS connections show and trust. */
  readonly identity: IdentityState
  readonly clock: Clock
  /** Where connections are known to the interceptors of the same mesh. */
  readonly connections: Connections
  /** null = off, the default. */
  readonly telemetry?: ServerTelemetry | null
  readonly logger?: Logger
  /** ms that a connection waits for policy and certificate before it is destroyed. Default 10,000. */
  readonly holdTimeoutMs?: number
  /** Connections that may wait so. Default 1,024. */
  readonly maxHeld?: number
  /** Called once, when it begins to close. */
  readonly closing?: () => void
}

/** Connections leave in so many groups, one after the other, so that callers do not all dial anew at once. */
const GROUPS = 8
/** ms for the last bytes of answers and for the other side to close. */
const LINGER_MS = 1_000

const NOT_HTTP1 =
  'HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 32\r\n\r\nthis port speaks gRPC, by HTTP/2\n'

/**
 * A port of a mesh that a server of grpc-js stands behind: mutual TLS and plaintext on it as policy allows, peers verified,
 * calls judged before a handler sees them. grpc-js gets connections that are let in, and knows nothing of TLS.
 */
export class GrpcPort {
  /** The server that listens. */
  readonly server: NetServer
  private readonly admission: GrpcAdmission
  private readonly gate: ConnectionGate
  private readonly open: () => ConnectionInjector[]
  /** New connections come here. */
  private groups: readonly ConnectionInjector[]
  /** To be told to go. */
  private readonly leaving = new Set<ConnectionInjector>()
  private readonly options: GrpcPortOptions
  private readonly sockets = new Set<Socket>()
  private readonly judgedByPort: boolean
  private next = 0
  private whenEmpty: (() => void) | null = null
  private closed: Promise<void> | null = null

  /**
   * @param judges the server was made with the interceptor of this mesh
   * @throws InmeshError ERR_INMESH_INVALID_OPTION when it was not, and this version of grpc-js lets nobody add one
   */
  constructor(server: Server, judges: boolean, options: GrpcPortOptions) {
    this.options = options
    this.judgedByPort = !judges
    this.admission = new GrpcAdmission({
      inbound: options.inbound,
      clock: options.clock,
      telemetry: options.telemetry ?? null,
    })
    const credentials = judges ? ServerCredentials.createInsecure() : judging(options.connections)
    this.open = () => Array.from({ length: GROUPS }, () => server.createConnectionInjector(credentials))
    this.groups = this.open()
    this.gate = new ConnectionGate({
      inbound: options.inbound,
      identity: options.identity,
      logger: options.logger ?? silentLogger,
      showTls: true,
      holdTimeoutMs: options.holdTimeoutMs ?? 10_000,
      maxHeld: options.maxHeld ?? 1_024,
      http2: true,
      accepted: (socket, protocol) => this.accept(socket, protocol),
    })
    this.server = createServer({ noDelay: true }, (socket) => this.gate.take(socket))
    this.server.on('listening', () => {
      this.server.once(
        'close',
        watchLoad(options.inbound, options.clock, () => this.admission.easeStreams()),
      )
    })
  }

  /** Calls under way. */
  get active(): number {
    return this.admission.active
  }

  address(): AddressInfo | string | null {
    return this.server.address()
  }

  /**
   * Asks the clients that are connected now to go (GOAWAY), more and more of them over `spreadMs`: what is under way ends, new
   * calls come over new connections. Calls are served as before.
   */
  drain(spreadMs = 0): void {
    const { groups } = this
    this.groups = this.open()
    groups.forEach((group, i) => {
      this.leaving.add(group)
      if (spreadMs === 0) this.leave(group)
      else setTimeout(() => this.leave(group), (spreadMs * i) / groups.length).unref()
    })
  }

  /**
   * Ends: no new connections, all clients are told to go, calls that come nevertheless get UNAVAILABLE with
   * `x-inmesh-not-started: 1`, calls under way get `graceMs` (default 30,000). The server of grpc-js stays: it may stand behind
   * other ports.
   */
  close({ graceMs = 30_000 }: { graceMs?: number } = {}): Promise<void> {
    this.closed ??= this.end(graceMs)
    return this.closed
  }

  private async end(graceMs: number): Promise<void> {
    const { admission, server } = this
    admission.closing = true
    this.options.closing?.()
    const stopped = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const group of [...this.leaving, ...this.groups]) this.leave(group)
    await within(graceMs, (done) => {
      admission.whenIdle = done
      return admission.active === 0
    })
    if (admission.active === 0) {
      await within(Math.min(LINGER_MS, graceMs), (done) => {
        this.whenEmpty = done
        return this.sockets.size === 0
      })
    }
    this.gate.close()
    await stopped
  }

  /** GOAWAY to each connection of the group; each ends with its last call. */
  private leave(group: ConnectionInjector): void {
    this.leaving.delete(group)
    group.destroy()
  }

  private accept(socket: Socket, protocol: 'http1' | 'h2'): void {
    if (protocol === 'http1') {
      // What else it says is read and thrown away: a reset would take the answer with it.
      socket.end(NOT_HTTP1)
      socket.resume()
      setTimeout(() => socket.destroy(), LINGER_MS).unref()
      return
    }
    const { connections } = this.options
    if (this.admission.closing || connections.add(socket, this.admission, this.judgedByPort) === undefined) {
      socket.destroy()
      return
    }
    this.sockets.add(socket)
    socket.once('close', () => {
      this.sockets.delete(socket)
      if (this.sockets.size === 0) this.whenEmpty?.()
    })
    this.next = (this.next + 1) % this.groups.length
    this.groups[this.next]!.injectConnection(socket)
  }
}

/** Waits until `begin`'s `done` is called or time is over; not at all when `begin` says that it is done. */
async function within(ms: number, begin: (done: () => void) => boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  if (begin(resolve)) return
  const timer = setTimeout(resolve, ms)
  await promise
  clearTimeout(timer)
}

function judging(connections: Connections): ServerCredentials {
  const { createServerCredentialsWithInterceptors: add } = experimental
  if (add === undefined)
    throw new InmeshError(
      'ERR_INMESH_INVALID_OPTION',
      'this server was not made by mesh.grpc.server(), and this version of @grpc/grpc-js has no experimental.createServerCredentialsWithInterceptors: make it so',
    )
  return add(ServerCredentials.createInsecure(), [portInterceptor(connections)])
}
