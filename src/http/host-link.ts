import type { Socket } from 'node:net'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { HostLink, HostRuntime } from '../engine/host.ts'
import { Kind } from '../engine/outcome.ts'
import { rejections } from '../engine/rejection.ts'
import { InmeshError } from '../errors.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { ClusterSpec, EndpointSpec } from '../model/cluster.ts'
import type { Peer } from '../model/peer.ts'
import { type ClusterLoad, loadOf } from '../transport/cluster-load.ts'
import { dial } from '../transport/connect.ts'
import { classifyConnect, type Failure } from '../transport/connect-failure.ts'
import { allowedIds, externalOf, isSecure } from '../transport/peer-rules.ts'
import type { HttpAttempt } from './attempt.ts'
import { Connection } from './connection.ts'

const H2_FIRST = ['h2', 'http/1.1']
const H1_ONLY = ['http/1.1']

const overflow: Failure = { kind: Kind.Local, rejection: rejections.overflow }

/**
 * The connections of one cluster to one host: opened when needed, the most recently used one first. HTTP/1.1 carries one
 * request at a time on each, HTTP/2 many. What finds none waits in a queue that is ours, so that an attempt which is given up leaves no trace.
 *
 * A host that should speak mTLS is never dialled in plaintext; connections are renewed when our own certificate changes,
 * and cut when their peer is no longer trusted.
 */
export class HttpHostLink implements HostLink {
  readonly host: HostRuntime
  readonly cluster: ClusterRuntime
  private readonly identity: IdentityState | null
  private readonly load: ClusterLoad
  private readonly gone: (link: HttpHostLink) => void
  private readonly open = new Set<Connection>()
  private readonly idle: Connection[] = []
  private readonly dialling = new Set<() => void>()
  private first: HttpAttempt | null = null
  private last: HttpAttempt | null = null
  private waiting = 0
  private finishing = 0
  private spec: EndpointSpec
  private clusterSpec: ClusterSpec
  private secure: boolean
  private allowedIds: ReadonlySet<string> | undefined

  constructor(
    host: HostRuntime,
    cluster: ClusterRuntime,
    identity: IdentityState | null,
    gone: (link: HttpHostLink) => void,
  ) {
    this.host = host
    this.cluster = cluster
    this.identity = identity
    this.gone = gone
    this.load = loadOf(cluster)
    this.spec = host.spec
    this.clusterSpec = cluster.spec
    this.secure = isSecure(this.spec, this.clusterSpec)
    this.allowedIds = allowedIds(this.spec, this.clusterSpec)
  }

  /** Puts the attempt on a connection, now or when there is one; reports to it what goes wrong. */
  send(attempt: HttpAttempt): void {
    if (this.host.spec !== this.spec || this.cluster.spec !== this.clusterSpec) this.respecify()
    if (this.sendNow(attempt)) return
    // Those who only wait for undici to let go of a finished answer wait less than a turn of the loop.
    if (this.load.waiting - this.load.finishing >= this.clusterSpec.limits.maxPendingRequests) {
      attempt.failed(overflow, new Error('too many requests wait for a connection'))
      return
    }
    this.enqueue(attempt)
    this.grow()
  }

  /** On a connection that has room. */
  private sendNow(attempt: HttpAttempt): boolean {
    const connection = this.idle.pop()
    if (connection === undefined) return false
    if (connection.running + 1 < connection.capacity) this.idle.push(connection)
    connection.send(attempt)
    return true
  }

  /** Takes a waiting attempt out of the queue. */
  forget(attempt: HttpAttempt): void {
    if (attempt.link !== this) return
    const { before, after } = attempt
    if (before === null) this.first = after
    else before.after = after
    if (after === null) this.last = before
    else after.before = before
    attempt.before = null
    attempt.after = null
    attempt.link = null
    this.waiting--
    this.load.waiting--
  }

  /** The engine's order: the host is gone and nothing is in flight. */
  retire(): void {
    this.giveUpDialling()
    for (const connection of [...this.open]) connection.retire()
    this.gone(this)
  }

  /** At once, whatever is in flight. */
  destroy(): void {
    for (const connection of [...this.open]) connection.destroy()
    this.retire()
  }

  /** Our own certificate is new: connections that show the old one take no more requests. */
  renew(): void {
    for (const connection of [...this.open]) if (connection.peer !== null) connection.retire()
    this.redial()
  }

  /** Trust changed: connections to peers that may not be there any more are cut. */
  recheck(): void {
    this.redial()
    for (const connection of [...this.open]) {
      const { peer } = connection
      if (peer === null || this.identity === null) continue
      if (this.identity.recheckPeer(peer, 'server', this.allowedIds) !== undefined) connection.destroy()
    }
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

  /** @internal HTTP on it is over. */
  disconnected(connection: Connection): void {
    connection.over = true
    this.letGo(connection)
    const at = this.idle.indexOf(connection)
    if (at >= 0) this.idle.splice(at, 1)
    this.grow()
  }

  /** @internal The socket is closed, after an upgrade maybe much later. */
  closed(connection: Connection): void {
    if (!this.open.delete(connection)) return
    this.load.connections--
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

  /** @internal It came back unwritten from a connection that had died: another one, and nobody need know. */
  again(attempt: HttpAttempt, connection: Connection): void {
    connection.running--
    if (this.sendNow(attempt)) return
    this.enqueue(attempt)
    this.grow()
  }

  /** Handshakes under way go by the certificate and the anchors of when they began. */
  private redial(): void {
    if (!this.secure) return
    this.giveUpDialling()
    this.grow()
  }

  private giveUpDialling(): void {
    for (const giveUp of this.dialling) giveUp()
    this.load.connections -= this.dialling.size
    this.dialling.clear()
  }

  private letGo(connection: Connection): void {
    if (!connection.finishing) return
    connection.finishing = false
    this.finishing--
    this.load.finishing--
  }

  private offer(connection: Connection): void {
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

  private enqueue(attempt: HttpAttempt): void {
    attempt.link = this
    attempt.before = this.last
    attempt.after = null
    if (this.last === null) this.first = attempt
    else this.last.after = attempt
    this.last = attempt
    this.waiting++
    this.load.waiting++
  }

  /** Requests that a connection on its way will carry; over HTTP/2 the answer to ALPN may make it one. */
  private get capacity(): number {
    return this.clusterSpec.protocol === 'h2' ? 100 : 1
  }

  /** Opens what the waiting ones need: Envoy's rule lets a host without any connection have one beyond the limit. */
  private grow(): void {
    const { capacity } = this
    while (this.waiting > this.dialling.size * capacity + this.finishing) {
      const none = this.open.size === 0 && this.dialling.size === 0
      if (!none && this.load.connections >= this.clusterSpec.limits.maxConnections) return
      if (!this.dial()) return
    }
  }

  private dial(): boolean {
    if (this.secure && this.identity === null) {
      this.fail(
        new InmeshError('ERR_INMESH_IDENTITY', 'the endpoint speaks mutual TLS and this process has no identity'),
      )
      return false
    }
    let giveUp: () => void
    try {
      giveUp = dial(
        {
          address: this.spec.address,
          port: this.spec.port,
          timeoutMs: this.clusterSpec.connectTimeoutMs,
          identity: this.secure ? this.identity : null,
          allowedIds: this.allowedIds,
          external: externalOf(this.spec, this.clusterSpec, protocolsOf(this.clusterSpec)),
          protocols: protocolsOf(this.clusterSpec),
        },
        (error, socket, peer) => {
          this.dialling.delete(giveUp)
          if (error !== null) {
            this.load.connections--
            this.fail(error)
          } else this.connected(socket!, peer)
        },
      )
    } catch (error) {
      this.fail(error)
      return false
    }
    this.dialling.add(giveUp)
    this.load.connections++
    return true
  }

  private connected(socket: Socket, peer: Peer | null): void {
    // Without TLS nobody negotiates: the cluster's word counts (prior knowledge, RFC 9113 section 3.3).
    if (peer === null && this.clusterSpec.protocol === 'h2' && this.clusterSpec.tls.mode !== 'external')
      Object.defineProperty(socket, 'alpnProtocol', { value: 'h2' })
    const connection = new Connection(this, socket, peer, this.clusterSpec)
    this.open.add(connection)
    this.offer(connection)
  }

  /** One connection could not be made, so one of those who wait is told; all of them when there is no other. */
  private fail(error: unknown): void {
    const failure = classifyConnect(error)
    const alone = this.open.size === 0 && this.dialling.size === 0
    let attempt = this.first
    let left = alone ? this.waiting : 1
    // What an attempt does when it hears of it (try again, here too) comes after those who wait now.
    while (attempt !== null && left-- > 0) {
      this.forget(attempt)
      attempt.failed(failure, error)
      attempt = this.first
    }
    this.grow()
  }

  /** The endpoint or its cluster was described anew; what stands and would not be made any more goes. */
  private respecify(): void {
    const { spec: endpoint } = this.host
    const { spec: cluster } = this.cluster
    const secure = isSecure(endpoint, cluster)
    const before = this.clusterSpec
    const sameProtocol = cluster.protocol === this.clusterSpec.protocol
    const samePeers = endpoint.spiffeId === this.spec.spiffeId && cluster.tls === this.clusterSpec.tls
    this.spec = endpoint
    this.clusterSpec = cluster
    if (secure === this.secure && samePeers && sameProtocol) return
    const ids = allowedIds(endpoint, cluster)
    for (const connection of [...this.open]) {
      if (
        secure !== this.secure ||
        !sameProtocol ||
        cluster.tls.mode !== before.tls.mode ||
        cluster.tls.mode === 'external'
      )
        connection.retire()
      else if (ids !== undefined && connection.peer !== null && !ids.has(connection.peer.spiffeId)) connection.destroy()
    }
    this.secure = secure
    this.allowedIds = ids
    this.giveUpDialling()
    this.grow()
  }
}

/** What ALPN offers, best first. */
export function protocolsOf({ protocol }: ClusterSpec): readonly string[] {
  return protocol === 'h2' ? H2_FIRST : H1_ONLY
}
