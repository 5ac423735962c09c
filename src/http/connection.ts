import type { Socket } from 'node:net'
import { Client, type Dispatcher } from 'undici'
import type { ClusterSpec } from '../model/cluster.ts'
import type { Peer } from '../model/peer.ts'
import { quietly } from '../telemetry/otel.ts'
import type { HttpAttempt } from './attempt.ts'
import { STALE_CONNECTION } from './classify.ts'
import type { HttpHostLink } from './host-link.ts'

/** undici wants to dial again on a connection that died before the request was written. */
export const stale: Error = Object.assign(new Error('the connection died before the request was written'), {
  code: STALE_CONNECTION,
})

/** ms an idle connection is kept when the server does not say how long it keeps it (Node's default is 5 s). */
const UNHINTED_IDLE_MS = 4_000
/** What undici takes off a server's `Keep-Alive: timeout`. */
const HINT_MARGIN_MS = 2_000
const MAX_IDLE_MS = 600_000
const MAX_TIMER_MS = 2_147_483_647

/** Requests at one time on one HTTP/2 connection; more open another one. Many servers take no more than 100 streams. */
const STREAMS = 100

/**
 * One connection to one host, with an undici Client on top that parses HTTP and nothing else: it is given a socket that
 * stands, and one request at a time over HTTP/1.1, or as many as streams over HTTP/2.
 */
export class Connection {
  readonly link: HttpHostLink
  readonly socket: Socket
  /** null = plaintext. */
  readonly peer: Peer | null
  /** HTTP/2. */
  readonly multiplexed: boolean
  /** Requests that it may carry at one time. */
  readonly capacity: number
  /** Requests that it carries. */
  running = 0
  /** The answer is complete, undici has not let go yet. */
  finishing = false
  /** No request may follow. */
  retiring = false
  /** HTTP is over: closed, broken, or another protocol's after an upgrade. */
  over = false
  requests = 0
  private options: Dispatcher.DispatchOptions | null = null
  private next: HttpAttempt | null = null
  private readonly client: Client
  private given = false
  private expiry: NodeJS.Timeout | null = null

  constructor(link: HttpHostLink, socket: Socket, peer: Peer | null, spec: ClusterSpec) {
    this.link = link
    this.socket = socket
    this.peer = peer
    this.multiplexed = (socket as { alpnProtocol?: unknown }).alpnProtocol === 'h2'
    this.capacity = this.multiplexed ? STREAMS : 1
    const idle = Math.min(spec.idleTimeoutMs, MAX_IDLE_MS)
    const { maxRequestsPerConnection } = spec.limits
    // The origin is only what undici wants to see: TLS, when there is any, is in the socket already.
    this.client = new Client('http://mesh', {
      connect: (_options, callback) => {
        if (this.given) callback(stale, null)
        else {
          this.given = true
          // undici does not go on when it is answered from inside its own call.
          queueMicrotask(() => callback(null, socket))
        }
      },
      pipelining: 1,
      allowH2: this.multiplexed,
      headersTimeout: 0,
      bodyTimeout: 0,
      // The end of an HTTP/2 connection is announced, so that there is no race to be lost.
      keepAliveTimeout: this.multiplexed ? idle : Math.min(UNHINTED_IDLE_MS, idle),
      keepAliveMaxTimeout: idle,
      keepAliveTimeoutThreshold: HINT_MARGIN_MS,
      maxRequestsPerClient: Number.isFinite(maxRequestsPerConnection) ? maxRequestsPerConnection : 0,
    })
    this.client.on('drain', () => link.drained(this))
    this.client.on('disconnect', () => link.disconnected(this))
    socket.once('close', () => {
      if (this.expiry !== null) clearTimeout(this.expiry)
      // A socket that undici never saw has nobody else to say so.
      if (!this.over) link.disconnected(this)
      link.closed(this)
    })
    const lifetime = peer === null ? Number.POSITIVE_INFINITY : untilExpiry(peer)
    if (Number.isFinite(lifetime))
      this.expiry = setTimeout(() => this.retire(), Math.min(lifetime, MAX_TIMER_MS)).unref()
  }

  send(attempt: HttpAttempt): void {
    if (this.requests++ === 0) {
      this.socket.setTimeout(0)
      this.socket.ref()
    }
    this.running++
    attempt.connection = this
    if (this.multiplexed) attempt.bytesBefore = this.socket.bytesRead
    this.next = attempt
    this.options = attempt.dispatchOptions()
    quietly(write, this)
  }

  /** @internal */
  write(): void {
    const { options, next } = this
    this.options = null
    this.next = null
    this.client.dispatch(options!, next!)
  }

  /** It waits, unused so far: undici has not got it, so its idle limit and the process's life are looked after here. */
  park(): void {
    if (this.requests > 0) return
    this.socket.setTimeout(UNHINTED_IDLE_MS, () => {
      if (this.requests === 0) this.socket.destroy()
    })
    this.socket.unref()
  }

  /** Whether nothing was heard of the peer since so many bytes had been read. */
  silentSince(bytes: number): boolean {
    return this.socket.bytesRead === bytes
  }

  /** No new requests; closes when the one in flight is done. */
  retire(): void {
    if (this.retiring) return
    this.retiring = true
    this.link.retired(this)
  }

  /** At once, whatever is in flight. */
  destroy(): void {
    this.retiring = true
    this.socket.destroy()
  }
}

function untilExpiry(peer: Peer): number {
  return Math.max(peer.notAfter - Date.now(), 0)
}

/** One function for all, so that a request makes none. */
function write(connection: Connection): void {
  connection.write()
}
