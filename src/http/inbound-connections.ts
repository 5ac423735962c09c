import type { Socket } from 'node:net'
import { createServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import { isFailure } from '../identity/identity-failure.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { InboundSpec } from '../model/inbound.ts'
import type { Logger } from '../model/logger.ts'
import type { Peer } from '../model/peer.ts'
import { getConnection, setConnection } from './peer.ts'
import { sniff } from './sniff.ts'

export interface InboundConnectionsOptions {
  readonly identity: IdentityState
  /** How connections must come in, by the policy of now; undefined = there is none yet. */
  mode(): InboundSpec['tlsMode'] | undefined
  /** Takes a connection that may speak HTTP/1.1. */
  serve(socket: Socket): void
  readonly logger: Logger
  /** ms that a connection may wait for identity and policy at start. Default 10,000. */
  readonly holdMs?: number
  /** ms until the first bytes of a connection must be there. Default 5,000. */
  readonly sniffMs?: number
  /** ms until a TLS handshake must be complete. Default 10,000. */
  readonly handshakeMs?: number
}

/** setTimeout's longest delay; later ends are looked at again then. */
const LONGEST_TIMER = 2 ** 31 - 1

/**
 * Decides which connections may reach the app's server: looks at the first byte, speaks mutual TLS with those that begin so,
 * verifies who is there, and hands over or cuts off. Fails closed: without policy or identity a connection waits for a
 * moment and is then ended; a connection ends with its peer's certificate, or when the peer is not trusted any more.
 */
export class InboundConnections {
  readonly #options: InboundConnectionsOptions
  readonly #waiting = new Map<Socket, NodeJS.Timeout>()
  readonly #open = new Set<TLSSocket>()
  readonly #stopListening: () => void
  #tls: TlsServer | null = null

  constructor(options: InboundConnectionsOptions) {
    this.#options = options
    this.#stopListening = options.identity.onChange((change) => {
      this.#renewContext()
      if (change.what !== 'identity') this.#recheckAll()
      this.policyChanged()
    })
  }

  /** A new connection, not yet read from. */
  accept(socket: Socket): void {
    socket.on('error', ignore)
    if (this.#ready()) {
      this.#sniff(socket)
      return
    }
    const timer = setTimeout(() => {
      this.#waiting.delete(socket)
      this.#options.logger.warn('connection refused: this process has no identity or no policy yet')
      socket.destroy()
    }, this.#options.holdMs ?? 10_000)
    timer.unref()
    this.#waiting.set(socket, timer)
    socket.once('close', () => {
      clearTimeout(timer)
      this.#waiting.delete(socket)
    })
  }

  /** To be called when `mode()` may answer differently. */
  policyChanged(): void {
    if (!this.#ready()) return
    for (const [socket, timer] of this.#waiting) {
      clearTimeout(timer)
      this.#waiting.delete(socket)
      this.#sniff(socket)
    }
  }

  /**
   * May a request of this connection be served by the rules of now? Connections live longer than rules: a plaintext one
   * ends when the mode turns STRICT, a peer is judged again when bundles changed.
   */
  stillGood(socket: Socket): boolean {
    const connection = getConnection(socket)
    if (connection === undefined) return false
    const mode = this.#options.mode()
    if (connection.peer === null) return mode === 'PERMISSIVE' || mode === 'DISABLE'
    if (mode === undefined || mode === 'DISABLE') return false
    const { identity } = this.#options
    if (connection.epoch === identity.epoch) return true
    if (identity.recheckPeer(connection.peer, 'client') !== undefined) return false
    connection.epoch = identity.epoch
    return true
  }

  close(): void {
    this.#stopListening()
    for (const [socket, timer] of this.#waiting) {
      clearTimeout(timer)
      socket.destroy()
    }
    this.#waiting.clear()
  }

  #ready(): boolean {
    const mode = this.#options.mode()
    if (mode === undefined) return false
    return mode === 'DISABLE' || this.#options.identity.current !== undefined
  }

  #sniff(socket: Socket): void {
    if (socket.destroyed) return
    sniff(socket, this.#options.sniffMs ?? 5_000, (protocol) => {
      const mode = this.#options.mode()
      if (protocol === 'tls' && (mode === 'STRICT' || mode === 'PERMISSIVE')) this.#handshake(socket)
      else if (protocol === 'http1' && (mode === 'PERMISSIVE' || mode === 'DISABLE')) this.#plaintext(socket)
      // STRICT answers plaintext as Envoy does: by closing. There is no protocol in which to say why.
      else socket.destroy()
    })
  }

  #plaintext(socket: Socket): void {
    setConnection(socket, { peer: null, epoch: this.#options.identity.epoch })
    socket.off('error', ignore)
    this.#options.serve(socket)
  }

  #handshake(socket: Socket): void {
    const tls = this.#tlsServer()
    if (tls === null) socket.destroy()
    else tls.emit('connection', socket)
  }

  /** Never listens: it only turns sockets into TLS sockets. Made when there is something to show. */
  #tlsServer(): TlsServer | null {
    if (this.#tls !== null) return this.#tls
    const { identity, logger, handshakeMs } = this.#options
    try {
      this.#tls = createServer({
        ...identity.serverOptions(),
        handshakeTimeout: handshakeMs ?? 10_000,
        ALPNProtocols: ['http/1.1'],
      })
    } catch (error) {
      logger.error('cannot speak TLS', { error: (error as Error).message })
      return null
    }
    this.#tls.on('secureConnection', (socket) => this.#verify(socket))
    this.#tls.on('tlsClientError', (error, socket) => {
      logger.info('TLS handshake refused', { error: error.message, from: socket.remoteAddress })
      socket.destroy()
    })
    return this.#tls
  }

  #renewContext(): void {
    if (this.#tls === null) return
    const { identity, logger } = this.#options
    try {
      this.#tls.setSecureContext(identity.serverOptions())
    } catch (error) {
      // No context to offer any more (the identity expired): the next handshake must not use the old one.
      this.#tls = null
      logger.error('cannot speak TLS', { error: (error as Error).message })
    }
  }

  #verify(socket: TLSSocket): void {
    socket.on('error', ignore)
    const { identity, logger } = this.#options
    const peer = identity.verifyPeer(socket, 'client')
    if (isFailure(peer)) {
      logger.warn('peer refused', { reason: peer.message, code: peer.failure, from: socket.remoteAddress })
      socket.destroy()
      return
    }
    setConnection(socket, { peer, epoch: identity.epoch })
    this.#endWithCertificate(socket, peer)
    this.#open.add(socket)
    // Frameworks take `encrypted` for "the URL was https"; behind the mesh it was http, as behind a sidecar.
    Object.defineProperty(socket, 'encrypted', { value: undefined })
    socket.off('error', ignore)
    this.#options.serve(socket)
  }

  #endWithCertificate(socket: TLSSocket, peer: Peer): void {
    let timer: NodeJS.Timeout
    const arm = () => {
      const left = peer.notAfter - Date.now()
      if (left <= 0) socket.destroy()
      else timer = setTimeout(arm, Math.min(left, LONGEST_TIMER)).unref()
    }
    arm()
    socket.once('close', () => {
      clearTimeout(timer)
      this.#open.delete(socket)
    })
  }

  #recheckAll(): void {
    for (const socket of this.#open) if (!this.stillGood(socket)) socket.destroy()
  }
}

/** A broken connection is an everyday event; what matters of it is seen at 'close'. Without a listener it ends the process. */
function ignore(): void {}
