import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2'
import type { Socket } from 'node:net'
import type { ClusterSpec } from '../model/cluster.ts'
import type { Peer } from '../model/peer.ts'
import type { HostConnection } from '../transport/host-connections.ts'
import { watchReads } from '../transport/read-watch.ts'
import type { GrpcAttempt } from './attempt.ts'
import type { GrpcHostLink } from './host-link.ts'
import type { Keepalive } from './options.ts'

/** A stream knows whose it is, so that all streams share their listeners. */
export interface GrpcStream extends ClientHttp2Stream {
  attempt: GrpcAttempt
}

/** Bytes that a peer may send on one stream before somebody has read them. */
const STREAM_WINDOW = 256 * 1024
/** The same for all streams of a connection together; none that nobody reads holds up the others. */
const CONNECTION_WINDOW = 4 * 1024 * 1024
/** Streams that a connection takes while the peer has not said how many (RFC 9113 section 6.5.2 recommends 100). */
const UNTOLD_STREAMS = 100
const MAX_TIMER_MS = 2_147_483_647

const OPEN = { endStream: false }
const WHOLE = { endStream: true }

/** One HTTP/2 connection to one host. */
export class GrpcSession implements HostConnection {
  readonly peer: Peer | null
  readonly socket: Socket
  /** TLS: of the mesh, or of a service outside. */
  readonly secure: boolean
  /** Streams that are open. */
  running = 0
  /** Streams that there were. */
  requests = 0
  /** No stream may follow. */
  retiring = false
  /** The peer has not said yet how many streams it takes. */
  untold = true
  /** What broke it. */
  error: unknown = null
  private readonly link: GrpcHostLink
  private readonly h2: ClientHttp2Session
  private readonly maxRequests: number
  private readonly idleMs: number
  private peerStreams = UNTOLD_STREAMS
  private idleSince = 0
  private idleTimer: NodeJS.Timeout | null = null
  private expiry: NodeJS.Timeout | null = null
  private keepalive: Keepalive | null = null
  private keepaliveTimer: NodeJS.Timeout | null = null
  private bytesSeen = 0
  private readonly unwatch: (() => void) | null

  constructor(link: GrpcHostLink, socket: Socket, peer: Peer | null, secure: boolean, spec: ClusterSpec) {
    this.link = link
    this.socket = socket
    this.peer = peer
    this.secure = secure
    this.idleMs = Math.min(spec.idleTimeoutMs, MAX_TIMER_MS)
    this.maxRequests = spec.limits.maxRequestsPerConnection
    // The origin is never seen by anybody: each request brings its own scheme and authority.
    this.h2 = connect(secure ? 'https://mesh' : 'http://mesh', {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW },
      peerMaxConcurrentStreams: UNTOLD_STREAMS,
      // Streams are bounded by what the peer and the cluster allow, their bytes by their windows.
      maxSessionMemory: Number.MAX_SAFE_INTEGER,
    })
    this.h2.on('error', (error) => {
      this.error ??= error
    })
    this.h2.on('remoteSettings', ({ maxConcurrentStreams }) => {
      this.untold = false
      this.peerStreams = maxConcurrentStreams ?? Number.POSITIVE_INFINITY
      link.told(this, this.peerStreams)
    })
    this.h2.setLocalWindowSize(CONNECTION_WINDOW)
    this.h2.on('goaway', (code, _last, data: Buffer | undefined) => {
      if (code === constants.NGHTTP2_ENHANCE_YOUR_CALM && data?.toString('latin1') === 'too_many_pings') link.calmDown()
      this.retire()
    })
    this.h2.once('close', () => this.closed())
    this.h2.unref()
    this.unwatch = secure ? watchReads(socket, () => this.running > 0) : null
    const lifetime = peer === null ? Number.POSITIVE_INFINITY : Math.max(peer.notAfter - Date.now(), 0)
    if (Number.isFinite(lifetime))
      this.expiry = setTimeout(() => this.retire(), Math.min(lifetime, MAX_TIMER_MS)).unref()
    this.idle()
  }

  /** It takes another stream. */
  get hasRoom(): boolean {
    return this.running < this.peerStreams && !this.retiring && !this.h2.closed && !this.h2.destroyed
  }

  /** The connection itself is gone, so what streams say of their end is made up. */
  get lost(): boolean {
    return this.socket.destroyed || this.h2.destroyed
  }

  /**
   * @param whole there is no message
   * @throws Error for headers that cannot be sent
   */
  request(headers: string[], whole: boolean): GrpcStream {
    const stream = this.h2.request(headers as unknown as Record<string, string>, whole ? WHOLE : OPEN) as GrpcStream
    if (this.running++ === 0) this.h2.ref()
    if (++this.requests >= this.maxRequests) this.retire()
    return stream
  }

  /** A stream is over. */
  finished(): void {
    if (--this.running === 0) this.idle()
    if (this.retiring) {
      if (this.running === 0) this.h2.close()
    } else this.link.roomier(this)
  }

  /** Asks for signs of life as often as the most anxious of its channels wants. */
  keepAlive(wanted: Keepalive): void {
    if (this.keepalive === wanted || (this.keepalive !== null && this.keepalive.timeMs <= wanted.timeMs)) return
    this.keepalive = wanted
    if (this.keepaliveTimer !== null) clearInterval(this.keepaliveTimer)
    const ms = Math.min(wanted.timeMs * this.link.calm, MAX_TIMER_MS)
    this.keepaliveTimer = setInterval(() => this.ping(), ms).unref()
  }

  retire(): void {
    if (this.retiring) return
    this.retiring = true
    this.link.retired(this)
    if (this.running === 0) this.h2.close()
  }

  destroy(): void {
    this.retiring = true
    this.link.retired(this)
    this.h2.destroy()
    this.socket.destroy()
  }

  /** The peer was silent for the whole of the keepalive time: does it still live? */
  private ping(): void {
    const { keepalive, socket } = this
    if (this.h2.destroyed || keepalive === null) return
    if (socket.bytesRead !== this.bytesSeen) {
      this.bytesSeen = socket.bytesRead
      return
    }
    if (this.running === 0 && !keepalive.withoutCalls) return
    const timer = setTimeout(() => {
      // After a stall of our own loop the answer may lie unread.
      setImmediate(() =>
        setImmediate(() => {
          if (socket.bytesRead !== this.bytesSeen) return
          this.error ??= new Error(`no sign of life within ${keepalive.timeoutMs} ms of a keepalive ping`)
          this.destroy()
        }),
      )
    }, keepalive.timeoutMs).unref()
    if (!this.h2.ping(() => clearTimeout(timer))) clearTimeout(timer)
  }

  /** Without a call it keeps no process alive, and is closed after a while. */
  private idle(): void {
    this.h2.unref()
    this.idleSince = performance.now()
    if (this.idleTimer === null && this.idleMs < MAX_TIMER_MS)
      this.idleTimer = setTimeout(() => this.checkIdle(), this.idleMs).unref()
  }

  private checkIdle(): void {
    this.idleTimer = null
    if (this.running > 0) return
    const left = this.idleMs - (performance.now() - this.idleSince)
    if (left <= 0) this.retire()
    else this.idleTimer = setTimeout(() => this.checkIdle(), left).unref()
  }

  private closed(): void {
    this.retiring = true
    this.untold = false
    this.unwatch?.()
    for (const timer of [this.idleTimer, this.expiry, this.keepaliveTimer]) if (timer !== null) clearTimeout(timer)
    this.link.retired(this)
    this.link.closed(this)
  }
}

/** The RST_STREAM code by which a try is given up. */
export const CANCEL: number = constants.NGHTTP2_CANCEL
