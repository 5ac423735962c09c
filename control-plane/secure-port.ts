import { constants } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { createServer, type Server, type TLSSocket, type TlsOptions } from 'node:tls'
import { InmeshError } from '../src/errors.ts'
import { isFailure } from '../src/identity/identity-failure.ts'
import type { IdentityState } from '../src/identity/identity-state.ts'
import type { Logger } from '../src/model/logger.ts'
import type { ConnectionIdentity } from './discovery/client-view.ts'

export interface SecurePortOptions {
  readonly state: IdentityState
  readonly logger: Logger
  readonly handshakeTimeoutMs: number
  /** Gets connections whose peer is verified, or (null) showed no certificate at all. */
  readonly onConnection: (socket: TLSSocket, identity: ConnectionIdentity | null) => void
}

const LONGEST_TIMER = 2 ** 31 - 1
/** One process holds a few connections; this many are an attack or a leak, per server. */
const MAX_CONNECTIONS = 50_000

interface Connection {
  readonly socket: TLSSocket
  readonly identity: ConnectionIdentity | null
}

/**
 * The control plane's TLS port. The only place of inmesh that takes connections without a client certificate: a new
 * workload has none. A certificate that was sent and does not verify ends the connection, so that nobody is anonymous
 * with a bad one. Connections end when the peer's certificate does.
 */
export class SecurePort {
  readonly #options: SecurePortOptions
  readonly #server: Server
  readonly #open = new Map<TLSSocket, Connection>()
  readonly #unsubscribe: () => void

  constructor(options: SecurePortOptions) {
    this.#options = options
    this.#server = createServer({
      ...this.#context(),
      requestCert: true,
      // Only here; see #accept, which refuses what was not verified.
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      handshakeTimeout: options.handshakeTimeoutMs,
    })
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.on('connection', (raw) => raw.on('error', () => raw.destroy()))
    this.#server.on('tlsClientError', (error, socket) => {
      options.logger.debug('TLS handshake failed', { error, address: socket.remoteAddress })
      socket.destroy()
    })
    this.#server.on('secureConnection', (socket) => this.#accept(socket))
    this.#unsubscribe = options.state.onChange(({ what }) => this.#changed(what))
  }

  /** Binds; the port that it got. Rejects with the system's error (EADDRINUSE, EACCES). */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host, port, ipv6Only: host !== '::' && isIPv6(host) }, () => {
        this.#server.off('error', reject)
        this.#server.on('error', (error) => this.#options.logger.error('TLS port failed', { error }))
        const address = this.#server.address()
        if (address === null || typeof address === 'string') reject(new Error('the TLS port has no address'))
        else resolve(address.port)
      })
    })
  }

  /** Takes no new connections, and destroys those that are open after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.#unsubscribe()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    const timer = setTimeout(() => this.#open.forEach(({ socket }) => void socket.destroy()), graceMs)
    await closed
    clearTimeout(timer)
  }

  #context(): TlsOptions {
    const { cert, key, ca, minVersion } = this.#options.state.serverOptions()
    if (!Array.isArray(ca) || ca.length === 0)
      throw new InmeshError('ERR_INMESH_IDENTITY', 'the control plane knows no roots, so it cannot verify anybody')
    return { cert, key, ca, minVersion: minVersion ?? 'TLSv1.3', secureOptions: constants.SSL_OP_NO_TICKET }
  }

  #accept(socket: TLSSocket): void {
    socket.on('error', (error) => {
      this.#options.logger.debug('connection failed', { error, address: socket.remoteAddress })
      socket.destroy()
    })
    const identity = this.#identify(socket)
    if (identity === 'refused') {
      socket.destroy()
      return
    }
    const connection = { socket, identity }
    this.#open.set(socket, connection)
    const timer = identity === null ? undefined : this.#closeAt(socket, identity.peer.notAfter)
    socket.on('close', () => {
      clearTimeout(timer?.current)
      this.#open.delete(socket)
    })
    this.#options.onConnection(socket, identity)
  }

  #identify(socket: TLSSocket): ConnectionIdentity | null | 'refused' {
    const { state, logger } = this.#options
    const certificate = socket.getPeerX509Certificate()
    const address = socket.remoteAddress
    if (socket.isSessionReused()) return 'refused'
    if (certificate === undefined) return null
    const peer = state.verifyPeer(socket, 'client')
    if (isFailure(peer)) {
      logger.warn('client certificate refused', { address, reason: peer.message })
      return 'refused'
    }
    const cn = certificate.subject?.split('\n').find((line) => line.startsWith('CN='))
    return { peer, service: cn?.slice(3) ?? '' }
  }

  /** Timers hold 24.8 days at most. */
  #closeAt(socket: TLSSocket, notAfter: number): { current: NodeJS.Timeout } {
    const arm = (): NodeJS.Timeout =>
      setTimeout(
        () => {
          if (Date.now() >= notAfter) socket.destroy()
          else timer.current = arm()
        },
        Math.min(LONGEST_TIMER, Math.max(0, notAfter - Date.now())),
      ).unref()
    const timer = { current: arm() }
    return timer
  }

  #changed(what: 'identity' | 'bundles' | 'denied'): void {
    try {
      this.#server.setSecureContext(this.#context())
    } catch (error) {
      // Without a valid certificate there is no new context; the old one fails at the peers, which is what it should do.
      this.#options.logger.error('the TLS port keeps its old certificate', { error })
    }
    if (what === 'identity') return
    for (const { socket, identity } of this.#open.values()) {
      if (identity !== null && this.#options.state.recheckPeer(identity.peer, 'client') !== undefined) socket.destroy()
    }
  }
}
