import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { HostRuntime } from '../engine/host.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { Peer } from '../model/peer.ts'
import { HostConnections } from '../transport/host-connections.ts'
import type { GrpcAttempt } from './attempt.ts'
import { GrpcSession } from './session.ts'

const H2 = ['h2']
const MAX_CALM = 1_024

/** The HTTP/2 connections of one cluster to one host for gRPC: one, and more when the peer takes no more streams on it. */
export class GrpcHostLink extends HostConnections<GrpcSession, GrpcAttempt> {
  /** What keepalive times are multiplied by: the peer has said that it is asked for too many signs of life. */
  calm = 1
  private readonly forgetLink: (link: GrpcHostLink) => void
  /** Those that may take streams, the oldest first. */
  private readonly usable: GrpcSession[] = []
  /** Streams that the peer takes on a connection, as it said last. */
  private streams = Number.MAX_SAFE_INTEGER

  constructor(
    host: HostRuntime,
    cluster: ClusterRuntime,
    identity: IdentityState | null,
    gone: (link: GrpcHostLink) => void,
  ) {
    super(host, cluster, identity)
    this.forgetLink = gone
  }

  /** @internal The peer has said how many streams a connection takes. */
  told(session: GrpcSession, streams: number): void {
    this.streams = Math.max(1, Math.min(streams, Number.MAX_SAFE_INTEGER))
    this.roomier(session)
  }

  /** @internal As gRFC A8 has it: twice as long between two pings from now on. */
  calmDown(): void {
    this.calm = Math.min(this.calm * 2, MAX_CALM)
  }

  /** @internal A connection may have room for those who wait. */
  roomier(session: GrpcSession): void {
    if (this.waiting > 0) this.offer(session)
  }

  /** @internal It takes no more streams. */
  retired(session: GrpcSession): void {
    const at = this.usable.indexOf(session)
    if (at >= 0) this.usable.splice(at, 1)
  }

  /** As many as the peer takes on one: one is opened at a time until it has said so. */
  protected override get capacity(): number {
    return this.streams
  }

  protected override get promised(): number {
    for (const session of this.open) if (session.untold) return Number.MAX_SAFE_INTEGER
    return 0
  }

  protected override get protocols(): readonly string[] {
    return H2
  }

  protected override gone(): void {
    this.forgetLink(this)
  }

  protected override sendNow(attempt: GrpcAttempt): boolean {
    const { usable } = this
    for (let i = 0; i < usable.length; i++) {
      const session = usable[i]!
      if (!session.hasRoom) continue
      attempt.begin(session)
      return true
    }
    return false
  }

  protected override connectionOn(socket: Socket, peer: Peer | null): GrpcSession {
    const secure = peer !== null || this.clusterSpec.tls.mode === 'external'
    // Without TLS nobody negotiates: gRPC is HTTP/2 (prior knowledge, RFC 9113 section 3.3).
    if (secure && (socket as TLSSocket).alpnProtocol !== 'h2')
      throw new Error('the peer does not speak HTTP/2 (it did not choose h2 by ALPN)')
    const session = new GrpcSession(this, socket, peer, secure, this.clusterSpec)
    this.usable.push(session)
    return session
  }

  protected override offer(session: GrpcSession): void {
    for (let next = this.first; next !== null && session.hasRoom; next = this.first) {
      this.forget(next)
      next.begin(session)
    }
    if (this.waiting > 0) this.grow()
  }
}
