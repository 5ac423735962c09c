import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, type ListenOptions, Server as NetServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Inbound } from '../engine/inbound.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { Clock } from '../model/clock.ts'
import { type Logger, silentLogger } from '../model/logger.ts'
import { LoadMeter } from '../orca/load-meter.ts'
import type { ServerTelemetry } from '../telemetry/server-telemetry.ts'
import { ConnectionGate } from '../transport/connection-gate.ts'
import { watchLoad } from '../transport/loop-lag.ts'
import { Admission } from './admission.ts'
import { H2Port } from './h2-port.ts'

export interface MeshServerOptions {
  /** What is enforced now; undefined = not known yet: connections wait. Asked for every connection and request. */
  readonly inbound: () => Inbound | undefined
  /** What TLS connections show and trust. */
  readonly identity: IdentityState
  readonly clock: Clock
  /** null = off, the default. */
  readonly telemetry?: ServerTelemetry | null
  readonly logger?: Logger
  /** ms that a connection waits for policy and certificate before it is destroyed. Default 10,000. */
  readonly holdTimeoutMs?: number
  /** Connections that may wait so. Default 1,024. */
  readonly maxHeld?: number
  /** Lets the app see that connections are encrypted (`req.protocol` of Express says https then). Default false. */
  readonly showTls?: boolean
  /**
   * Also speaks HTTP/2, on the same port. Default false: frameworks that extend node:http's own request objects (Express)
   * cannot take requests of HTTP/2; Koa, Fastify and plain listeners can.
   */
  readonly http2?: boolean
  /**
   * Answers say how loaded this server is (`endpoint-load-metrics`), for callers that balance by WEIGHTED_ROUND_ROBIN: requests
   * and failures per second, CPU, utilization of the event loop. Default false.
   */
  readonly reportLoad?: boolean
}

export interface CloseOptions {
  /** ms that requests under way get before their connections are cut. Default 30,000. */
  readonly graceMs?: number
}

/** ms for a request's head; Node's default is a minute. */
const HEADERS_TIMEOUT_MS = 10_000
/** ms an idle connection is kept. Clients of the mesh give up theirs 2 s earlier, because answers say so (Keep-Alive: timeout). */
const KEEP_ALIVE_MS = 60_000
const SWEEP_MS = 1_000
/** ms between "close your idle connections" and closing them. */
const IDLE_GRACE_MS = 50

/**
 * A node:http server behind the mesh: mutual TLS on the same port as plaintext (as far as policy allows), peers verified,
 * requests judged before the app sees them. Works with whatever takes a `(req, res)` listener or a node:http Server.
 *
 *     const server = createMeshServer((req, res) => res.end(`hello ${getPeer(req)?.spiffeId}`), options)
 *     server.listen(8080)
 */
export class MeshServer {
  /** The server that listens: for `on('listening')`, `timeout` and the like. */
  readonly server: Server
  private readonly admission: Admission
  private readonly gate: ConnectionGate
  private readonly h2: H2Port | null
  /** To the app. */
  private readonly pass: (request: IncomingMessage, response: ServerResponse) => void
  private closed: Promise<void> | null = null

  /** Takes over a server that does not listen yet; its listeners stay. */
  constructor(server: Server, options: MeshServerOptions) {
    this.server = server
    this.admission = new Admission({
      inbound: options.inbound,
      clock: options.clock,
      telemetry: options.telemetry ?? null,
      meter: options.reportLoad === true ? new LoadMeter(options.clock) : null,
    })
    const pass = server.emit.bind(server) as (event: string, ...args: unknown[]) => boolean
    this.pass = (request, response) => void pass('request', request, response)
    this.h2 = options.http2 === true ? new H2Port((req, res) => this.admission.request(req, res, this.pass)) : null
    this.gate = new ConnectionGate({
      inbound: options.inbound,
      identity: options.identity,
      logger: options.logger ?? silentLogger,
      showTls: options.showTls ?? false,
      holdTimeoutMs: options.holdTimeoutMs ?? 10_000,
      maxHeld: options.maxHeld ?? 1_024,
      http2: this.h2 !== null,
      accepted: (socket, protocol) => {
        if (protocol === 'h2') this.h2!.take(socket)
        else pass('connection', socket)
      },
    })
    server.on('listening', () => {
      server.once(
        'close',
        watchLoad(options.inbound, options.clock, () => this.admission.easeStreams()),
      )
    })
    server.headersTimeout = HEADERS_TIMEOUT_MS
    server.keepAliveTimeout = KEEP_ALIVE_MS
    this.intercept(pass)
  }

  /** As node:http's. */
  listen(port?: number, host?: string, ready?: () => void): this
  listen(port: number, ready?: () => void): this
  listen(options: ListenOptions, ready?: () => void): this
  listen(...args: unknown[]): this {
    this.server.listen(...(args as []))
    return this
  }

  address(): AddressInfo | string | null {
    return this.server.address()
  }

  /**
   * Answers ask their clients to close the connection: more and more of them over `spreadMs`, all from then on. Requests are
   * served as before.
   */
  drain(spreadMs = 0): void {
    if (this.admission.phase === 'open') this.admission.drain('draining', spreadMs)
    this.h2?.drain(spreadMs)
  }

  /**
   * Ends: no new connections, late requests get 503 with `x-inmesh-not-started: 1` (clients of the mesh then send them
   * elsewhere, POST too), idle connections are closed, requests under way get `graceMs`. Deregister and `drain` before.
   */
  close(options: CloseOptions = {}): Promise<void> {
    this.closed ??= this.end(options.graceMs ?? 30_000)
    return this.closed
  }

  private async end(graceMs: number): Promise<void> {
    const { server, admission } = this
    admission.drain('closing')
    this.h2?.drain()
    // node:http's own close would cut idle connections, and with them requests that are on their way.
    const stopped = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()))
    if (admission.active > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, graceMs)
        admission.whenIdle = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    // Requests that are on their way now still get their 503 instead of a reset.
    await new Promise((resolve) => setTimeout(resolve, Math.min(IDLE_GRACE_MS, graceMs)))
    server.close()
    this.gate.close()
    await stopped
  }

  /** Stands before the server's own events: an own property, so that nobody else's server is touched. */
  private intercept(pass: (event: string, ...args: unknown[]) => boolean): void {
    const { server, admission } = this
    server.emit = ((event: string, a?: unknown, b?: unknown, c?: unknown): boolean => {
      switch (event) {
        case 'request':
          admission.request(a as IncomingMessage, b as ServerResponse, this.pass)
          return true
        case 'connection':
          this.gate.take(a as Socket)
          return true
        case 'checkContinue':
        case 'checkExpectation':
          admission.request(a as IncomingMessage, b as ServerResponse, (req, res) => void pass(event, req, res))
          return true
        case 'upgrade':
        case 'connect':
          admission.upgrade(a as IncomingMessage, b as Duplex, (req, socket) => void pass(event, req, socket, c))
          return true
        default:
          return c === undefined ? pass(event, a, b) : pass(event, a, b, c)
      }
    }) as Server['emit']
  }
}

export function createMeshServer(listener: RequestListener, options: MeshServerOptions): MeshServer {
  const server = createServer(
    { headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: SWEEP_MS, keepAliveTimeout: KEEP_ALIVE_MS },
    listener,
  )
  return new MeshServer(server, options)
}

/**
 * Puts an existing server behind the mesh, before it listens; for frameworks that make their own.
 *
 *     Fastify({ serverFactory: (handler) => wrapServer(http.createServer(handler), options).server })
 */
export function wrapServer(server: Server, options: MeshServerOptions): MeshServer {
  return new MeshServer(server, options)
}
