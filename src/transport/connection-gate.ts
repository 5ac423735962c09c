import type { Socket } from 'node:net'
import type { Inbound } from '../engine/inbound.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { Logger } from '../model/logger.ts'
import { SecurePort } from './secure-port.ts'
import { sniff } from './sniff.ts'
import { markSurplus } from './surplus.ts'

export interface ConnectionGateOptions {
  readonly inbound: () => Inbound | undefined
  readonly identity: IdentityState
  readonly logger: Logger
  readonly showTls: boolean
  readonly holdTimeoutMs: number
  readonly maxHeld: number
  /** Whether HTTP/2 is offered besides HTTP/1.1. */
  readonly http2: boolean
  /** A connection that HTTP, or gRPC, may read from. */
  readonly accepted: (socket: Socket, protocol: 'http1' | 'h2') => void
}

/** ms for the first byte; HTTP's own limits begin later. */
const FIRST_BYTE_TIMEOUT_MS = 5_000
/** ms between two looks whether identity and policy are there; only while somebody waits for them. */
const HELD_CHECK_MS = 20

type Kind = 'tls' | 'plaintext' | 'h2'

/**
 * Decides about each new connection by its first bytes and the policy of this moment: TLS goes to the secure port,
 * plaintext to HTTP where the policy is PERMISSIVE or DISABLE, everything else is destroyed. Fails closed: while there is
 * no policy, or no certificate for a handshake, connections wait unread, and are destroyed when that takes too long or too
 * many wait.
 */
export class ConnectionGate {
  private readonly options: ConnectionGateOptions
  private readonly secure: SecurePort
  private readonly held = new Map<Socket, { kind: Kind; until: number }>()
  private readonly open = new Set<Socket>()
  private timer: NodeJS.Timeout | null = null
  /** Connections that HTTP reads from. */
  private accepted = 0

  constructor(options: ConnectionGateOptions) {
    this.options = options
    this.secure = new SecurePort({
      ...options,
      accepted: (socket) => this.accept(socket, socket.alpnProtocol === 'h2' ? 'h2' : 'http1'),
    })
  }

  take(socket: Socket): void {
    this.open.add(socket)
    socket.once('close', () => this.open.delete(socket))
    socket.on('error', (error) => this.options.logger.debug('connection broke', { error: error.message }))
    sniff(socket, FIRST_BYTE_TIMEOUT_MS, (sniffed, kind) => {
      if (kind === 'garbage') sniffed.destroy()
      else if (!this.admit(sniffed, kind)) this.hold(sniffed, kind)
    })
  }

  /** Cuts every connection that came through here, whatever became of it. */
  close(): void {
    for (const socket of this.open) socket.destroy()
    this.held.clear()
    if (this.timer !== null) clearInterval(this.timer)
    this.timer = null
    this.secure.close()
  }

  /** false = cannot be decided yet. */
  private admit(socket: Socket, kind: Kind): boolean {
    const inbound = this.options.inbound()
    if (inbound === undefined) return false
    const { localAddress = '', remoteAddress = '' } = socket
    const chain = inbound.forConnection({ localAddress, remoteAddress })
    if (chain === null) {
      this.refuse(socket, 'no rules of this port are for such connections')
      return true
    }
    const { tlsMode } = chain.spec
    if (kind !== 'tls') {
      if (tlsMode === 'STRICT') this.refuse(socket, 'plaintext refused: the policy of this port is STRICT')
      else this.accept(socket, kind === 'h2' && this.options.http2 ? 'h2' : 'http1')
      return true
    }
    if (tlsMode === 'DISABLE') {
      this.refuse(socket, 'TLS refused: the policy of this port is DISABLE')
      return true
    }
    if (!this.secure.ready) return false
    this.secure.take(socket)
    return true
  }

  /** Past `maxConnections`, up to as many again are told so by HTTP; more are cut, as are those of HTTP/2. */
  private accept(socket: Socket, protocol: 'http1' | 'h2'): void {
    const most = this.options.inbound()?.spec.maxConnections ?? Number.POSITIVE_INFINITY
    if (this.accepted >= most) {
      if (protocol === 'h2' || this.accepted >= 2 * most) {
        this.refuse(socket, 'more connections than this server is to have')
        return
      }
      markSurplus(socket)
    }
    this.accepted++
    socket.once('close', () => this.accepted--)
    this.options.accepted(socket, protocol)
  }

  private refuse(socket: Socket, why: string): void {
    this.options.logger.debug(why, { from: socket.remoteAddress })
    socket.destroy()
  }

  private hold(socket: Socket, kind: Kind): void {
    if (this.held.size >= this.options.maxHeld) {
      this.refuse(socket, 'too many connections wait for identity and policy')
      return
    }
    socket.pause()
    this.held.set(socket, { kind, until: performance.now() + this.options.holdTimeoutMs })
    this.timer ??= setInterval(() => this.checkHeld(), HELD_CHECK_MS)
  }

  private checkHeld(): void {
    const now = performance.now()
    for (const [socket, { kind, until }] of this.held) {
      if (socket.destroyed || this.admit(socket, kind)) this.held.delete(socket)
      else if (now >= until) {
        this.held.delete(socket)
        this.options.logger.warn('connection dropped: no identity or no policy in time', {
          waitedMs: this.options.holdTimeoutMs,
        })
        socket.destroy()
      }
    }
    if (this.held.size > 0 || this.timer === null) return
    clearInterval(this.timer)
    this.timer = null
  }
}
