import type { Socket } from 'node:net'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { HostLink, HostRuntime } from '../engine/host.ts'
import { Kind } from '../engine/outcome.ts'
import { rejections } from '../engine/rejection.ts'
import { InmeshError } from '../errors.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { ClusterSpec, EndpointSpec } from '../model/cluster.ts'
import type { Peer } from '../model/peer.ts'
import { type ClusterLoad, loadOf } from './cluster-load.ts'
import { dial } from './connect.ts'
import { classifyConnect, type Failure } from './connect-failure.ts'
import { allowedIds, externalOf, isSecure } from './peer-rules.ts'

/** One connection to a host, whatever is spoken on it. */
export interface HostConnection {
  /** null = plaintext. */
  readonly peer: Peer | null
  /** No new requests; closes when those in flight are done. */
  retire(): void
  /** At once, whatever is in flight. */
  destroy(): void
}

/** An attempt that can wait for a connection: it is an element of the list of those who wait. */
export interface Waiting<A> {
  /** Where it waits; null = it does not. */
  link: unknown
  before: A | null
  after: A | null
  /** It never got to a connection. */
  failed(failure: Failure, cause: unknown): void
}

const overflow: Failure = { kind: Kind.Local, rejection: rejections.overflow }

/**
 * The connections of one cluster to one host, and who waits for one: opened when needed, within the cluster's limits. What
 * finds none waits in a queue that is ours, so that an attempt which is given up leaves no trace.
 *
 * A host that should speak mTLS is never dialled in plaintext; connections are renewed when our own certificate changes,
 * and cut when their peer is no longer trusted.
 */
export abstract class HostConnections<C extends HostConnection, A extends Waiting<A>> implements HostLink {
  readonly host: HostRuntime
  readonly cluster: ClusterRuntime
  protected readonly identity: IdentityState | null
  protected readonly load: ClusterLoad
  protected readonly open: Set<C> = new Set<C>()
  protected first: A | null = null
  protected waiting = 0
  protected spec: EndpointSpec
  protected clusterSpec: ClusterSpec
  private readonly dialling = new Set<() => void>()
  private last: A | null = null
  private secure: boolean
  private allowedIds: ReadonlySet<string> | undefined

  constructor(host: HostRuntime, cluster: ClusterRuntime, identity: IdentityState | null) {
    this.host = host
    this.cluster = cluster
    this.identity = identity
    this.load = loadOf(cluster)
    this.spec = host.spec
    this.clusterSpec = cluster.spec
    this.secure = isSecure(this.spec, this.clusterSpec)
    this.allowedIds = allowedIds(this.spec, this.clusterSpec)
  }

  /** On a connection that has room. @returns false = there is none */
  protected abstract sendNow(attempt: A): boolean

  /** Requests that a connection on its way will carry. */
  protected abstract get capacity(): number

  /** What ALPN offers, best first. */
  protected abstract get protocols(): readonly string[]

  /** Connections that will take one of those who wait without being asked. */
  protected get promised(): number {
    return 0
  }

  /** Is it another protocol that the cluster wants spoken now? Its connections then are of no use. */
  protected speaksOtherwise(_before: ClusterSpec, _now: ClusterSpec): boolean {
    return false
  }

  /** Makes a connection of what stands. @throws Error when it cannot be used */
  protected abstract connectionOn(socket: Socket, peer: Peer | null): C

  /** A connection may take more. */
  protected abstract offer(connection: C): void

  /** It takes no more attempts: the host is gone, or all are. */
  protected abstract gone(): void

  /** Puts the attempt on a connection, now or when there is one; reports to it what goes wrong. */
  send(attempt: A): void {
    if (this.host.spec !== this.spec || this.cluster.spec !== this.clusterSpec) this.respecify()
    if (this.sendNow(attempt)) return
    // Those who only wait for a finished answer to be let go of wait less than a turn of the loop.
    if (this.load.waiting - this.load.finishing >= this.clusterSpec.limits.maxPendingRequests) {
      attempt.failed(overflow, new Error('too many requests wait for a connection'))
      return
    }
    this.enqueue(attempt)
    this.grow()
  }

  /** Takes a waiting attempt out of the queue. */
  forget(attempt: A): void {
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
    this.gone()
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

  /** @internal The connection is closed. */
  closed(connection: C): void {
    if (!this.open.delete(connection)) return
    this.load.connections--
    this.grow()
  }

  /** @internal It came back unwritten from a connection that had died: another one, and nobody need know. */
  again(attempt: A): void {
    if (this.sendNow(attempt)) return
    this.enqueue(attempt)
    this.grow()
  }

  protected enqueue(attempt: A): void {
    attempt.link = this
    attempt.before = this.last
    attempt.after = null
    if (this.last === null) this.first = attempt
    else this.last.after = attempt
    this.last = attempt
    this.waiting++
    this.load.waiting++
  }

  /** Opens what the waiting ones need: Envoy's rule lets a host without any connection have one beyond the limit. */
  protected grow(): void {
    const { capacity } = this
    while (this.waiting > this.dialling.size * capacity + this.promised) {
      const none = this.open.size === 0 && this.dialling.size === 0
      if (!none && this.load.connections >= this.clusterSpec.limits.maxConnections) return
      if (!this.dial()) return
    }
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

  private dial(): boolean {
    if (this.secure && this.identity === null) {
      this.fail(
        new InmeshError('ERR_INMESH_IDENTITY', 'the endpoint speaks mutual TLS and this process has no identity'),
      )
      return false
    }
    const { spec, clusterSpec, protocols } = this
    let giveUp: () => void
    try {
      giveUp = dial(
        {
          address: spec.address,
          port: spec.port,
          timeoutMs: clusterSpec.connectTimeoutMs,
          identity: this.secure ? this.identity : null,
          allowedIds: this.allowedIds,
          external: externalOf(spec, clusterSpec, protocols),
          protocols,
        },
        (error, socket, peer) => {
          this.dialling.delete(giveUp)
          if (error === null) this.connected(socket!, peer)
          else {
            this.load.connections--
            this.fail(error)
          }
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
    let connection: C
    try {
      connection = this.connectionOn(socket, peer)
    } catch (error) {
      socket.destroy()
      this.load.connections--
      this.fail(error)
      return
    }
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
    const before = this.clusterSpec
    const secure = isSecure(endpoint, cluster)
    const otherwise = this.speaksOtherwise(before, cluster)
    const samePeers = endpoint.spiffeId === this.spec.spiffeId && cluster.tls === before.tls
    this.spec = endpoint
    this.clusterSpec = cluster
    if (secure === this.secure && samePeers && !otherwise) return
    const ids = allowedIds(endpoint, cluster)
    const { mode } = cluster.tls
    const useless = secure !== this.secure || otherwise || mode !== before.tls.mode || mode === 'external'
    for (const connection of [...this.open]) {
      if (useless) connection.retire()
      else if (ids !== undefined && connection.peer !== null && !ids.has(connection.peer.spiffeId)) connection.destroy()
    }
    this.secure = secure
    this.allowedIds = ids
    this.giveUpDialling()
    this.grow()
  }
}
