import type { Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import { type IdentityFailure, isFailure } from '../identity/identity-failure.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { Logger } from '../model/logger.ts'
import type { Peer } from '../model/peer.ts'
import { setPeer } from './peer.ts'

const HANDSHAKE_TIMEOUT_MS = 10_000
const MAX_TIMER_MS = 2_147_483_647

export interface SecurePortOptions {
  readonly identity: IdentityState
  readonly logger: Logger
  /** Lets the app see that the connection is encrypted (`req.socket.encrypted`, Express' `req.protocol`). */
  readonly showTls: boolean
  readonly http2: boolean
  /** A connection whose peer is verified. */
  readonly accepted: (socket: TLSSocket) => void
}

/**
 * The TLS half of a mesh server: takes raw sockets that begin with a ClientHello, demands a certificate, verifies the
 * peer's SPIFFE id once and hands the encrypted socket on. TLS 1.3, no tickets, so nothing is ever resumed. What it
 * accepted is closed when the peer's certificate ends, and when trust in it does.
 */
export class SecurePort {
  private readonly options: SecurePortOptions
  private readonly peers = new Map<TLSSocket, Peer>()
  private readonly stopListening: () => void
  private server: Server | null = null
  private trustChangedAt = Number.NEGATIVE_INFINITY

  constructor(options: SecurePortOptions) {
    this.options = options
    this.stopListening = options.identity.onChange(({ what }) => {
      if (what === 'identity') this.renew()
      else {
        // The anchors are part of the context that new handshakes are judged by.
        if (what === 'bundles') this.renew()
        this.trustChangedAt = performance.now()
        this.recheck()
      }
    })
  }

  /** Whether a handshake can be made: there is a valid certificate. */
  get ready(): boolean {
    try {
      this.options.identity.serverContext()
      return true
    } catch {
      // The one thing that it throws: no identity, or an expired one.
      return false
    }
  }

  /** Begins the handshake. Call only when ready. */
  take(socket: Socket): void {
    this.server ??= this.create()
    this.server.emit('connection', socket)
  }

  close(): void {
    this.stopListening()
    for (const socket of this.peers.keys()) socket.destroy()
  }

  private create(): Server {
    const server = createServer({
      ...this.options.identity.serverOptions(),
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      ALPNProtocols: this.options.http2 ? ['h2', 'http/1.1'] : ['http/1.1'],
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    })
    server.on('secureConnection', (socket) => this.verified(socket))
    server.on('tlsClientError', (error, socket) => {
      this.options.logger.debug('TLS handshake refused', { error: error.message, from: socket.remoteAddress })
      socket.destroy()
    })
    return server
  }

  private verified(socket: TLSSocket): void {
    const from = socket.remoteAddress
    socket.on('error', (error) => this.options.logger.debug('TLS connection broke', { error: error.message, from }))
    const peer = this.verify(socket)
    if (isFailure(peer)) {
      this.options.logger.warn('peer refused', { reason: peer.message, from })
      socket.destroy()
      return
    }
    setPeer(socket, peer)
    // What an app would show as https is the mesh's business; behind a sidecar it would see http as well.
    if (!this.options.showTls) Object.defineProperty(socket, 'encrypted', { value: undefined })
    this.peers.set(socket, peer)
    const expiry = setTimeout(() => socket.destroy(), Math.min(peer.notAfter - Date.now(), MAX_TIMER_MS)).unref()
    socket.once('close', () => {
      clearTimeout(expiry)
      this.peers.delete(socket)
    })
    this.options.accepted(socket)
  }

  private verify(socket: TLSSocket): Peer | IdentityFailure {
    const { identity } = this.options
    const peer = identity.verifyPeer(socket, 'client')
    if (isFailure(peer) || performance.now() - this.trustChangedAt > HANDSHAKE_TIMEOUT_MS) return peer
    // OpenSSL may have judged by the anchors of before the change.
    return identity.recheckPeer(peer, 'client') ?? peer
  }

  private renew(): void {
    if (this.server === null || !this.ready) return
    this.server.setSecureContext(this.options.identity.serverOptions())
  }

  private recheck(): void {
    for (const [socket, peer] of this.peers) {
      const failure = this.options.identity.recheckPeer(peer, 'client')
      if (failure === undefined) continue
      this.options.logger.warn('peer no longer trusted', { peer: peer.spiffeId, reason: failure.message })
      socket.destroy()
    }
  }
}
