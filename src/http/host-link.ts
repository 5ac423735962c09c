import type { Socket } from 'node:net'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { HostRuntime } from '../engine/host.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { ClusterSpec } from '../model/cluster.ts'
import type { Peer } from '../model/peer.ts'
import { HostConnections } from '../transport/host-connections.ts'
import type { HttpAttempt } from './attempt.ts'
import { Connection } from './connection.ts'

const H2_FIRST = ['h2', 'http/1.1']
const H1_ONLY = ['http/1.1']

/**
 * The connections of one cluster to one host for HTTP, the most recently used one first. HTTP/1.1 carries one request at a
 * time on each, HTTP/2 many.
 */
export class HttpHostLink extends HostConnections<Connection, HttpAttempt> {
  private readonly forgetLink: (link: HttpHostLink) => void
  private readonly idle: Connection[] = []
  private finishing = 0

  constructor(
    host: HostRuntime,
    cluster: ClusterRuntime,
    identity: IdentityState | null,
    gone: (link: HttpHostLink) => void,
  ) {
    super(host, cluster, identity)
    this.forgetLink = gone
  }

  /** @internal The answer is complete, or the attempt is over. */
  finished(connection: Connection): void {
    connection.running--
    if (connection.over) return
    if (connection.multiplexed) {
      this.offer(connection)
      return
    }
    connection.finishing = true
    this.finishing++
    this.load.finishing++
  }

  /** @internal undici would take another request. */
  drained(connection: Connection): void {
    if (!connection.finishing) return
    this.letGo(connection)
    if (connection.over) return
    this.offer(connection)
  }

  /** @internal HTTP on it is over; the socket may be closed much later, after an upgrade. */
  disconnected(connection: Connection): void {
    connection.over = true
    this.letGo(connection)
    const at = this.idle.indexOf(connection)
    if (at >= 0) this.idle.splice(at, 1)
    this.grow()
  }

  /** @internal */
  retired(connection: Connection): void {
    const at = this.idle.indexOf(connection)
    if (at >= 0) this.idle.splice(at, 1)
    if (connection.running === 0 && !connection.finishing && !connection.over) connection.destroy()
  }

  /** @internal undici refused the request itself; the connection is as good as before. */
  unused(connection: Connection): void {
    connection.running--
    if (!connection.over) this.offer(connection)
  }

  protected override get capacity(): number {
    // Over HTTP/2 the answer to ALPN may make it one.
    return this.clusterSpec.protocol === 'h2' ? 100 : 1
  }

  protected override get protocols(): readonly string[] {
    return protocolsOf(this.clusterSpec)
  }

  protected override get promised(): number {
    return this.finishing
  }

  protected override speaksOtherwise(before: ClusterSpec, now: ClusterSpec): boolean {
    return before.protocol !== now.protocol
  }

  protected override gone(): void {
    this.forgetLink(this)
  }

  protected override sendNow(attempt: HttpAttempt): boolean {
    const connection = this.idle.pop()
    if (connection === undefined) return false
    if (connection.running + 1 < connection.capacity) this.idle.push(connection)
    connection.send(attempt)
    return true
  }

  protected override connectionOn(socket: Socket, peer: Peer | null): Connection {
    // Without TLS nobody negotiates: the cluster's word counts (prior knowledge, RFC 9113 section 3.3).
    if (peer === null && this.clusterSpec.protocol === 'h2' && this.clusterSpec.tls.mode !== 'external')
      Object.defineProperty(socket, 'alpnProtocol', { value: 'h2' })
    return new Connection(this, socket, peer, this.clusterSpec)
  }

  protected override offer(connection: Connection): void {
    if (connection.retiring) {
      if (connection.running === 0) connection.destroy()
      return
    }
    for (let next = this.first; next !== null && connection.running < connection.capacity; next = this.first) {
      this.forget(next)
      connection.send(next)
    }
    if (connection.running === connection.capacity) return
    // With several streams it may be there already.
    if (!connection.multiplexed || !this.idle.includes(connection)) this.idle.push(connection)
    if (connection.running === 0) connection.park()
  }

  private letGo(connection: Connection): void {
    if (!connection.finishing) return
    connection.finishing = false
    this.finishing--
    this.load.finishing--
  }
}

/** What ALPN offers, best first. */
export function protocolsOf({ protocol }: ClusterSpec): readonly string[] {
  return protocol === 'h2' ? H2_FIRST : H1_ONLY
}
