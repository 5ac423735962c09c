import type { Clock, Random } from '../model/clock.ts'
import type { Logger } from '../model/logger.ts'
import type { Snapshot } from '../model/snapshot.ts'
import type { Transport } from '../model/transport.ts'
import type { ResourceCache } from './cache.ts'
import type { XdsNode } from './node.ts'
import type { XdsStatus } from './status.ts'

/** What may be watched while it happens; every callback is optional and must not throw. */
export interface XdsEvents {
  /** The stream delivered its first response, or was lost. */
  connected?(connected: boolean, reason: string): void
  /** A response was refused, in whole or in part; `errors` name resource, field and reason. */
  nack?(nack: { typeUrl: string; version: string; errors: readonly string[] }): void
  /** Something was accepted that this version of inmesh does not act on, or looks like an accident. */
  warning?(warning: { typeUrl: string; name: string; message: string }): void
}

export interface XdsClientOptions {
  readonly node: XdsNode
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly cache?: ResourceCache
  readonly events?: XdsEvents
  /** A new snapshot; at most one per turn of the event loop. */
  onSnapshot(snapshot: Snapshot): void
}

/** Keeps configuration from the control plane up to date for what the process dials and serves. */
export interface XdsClientApi {
  /** The last one published. */
  readonly snapshot: Snapshot
  start(): void
  /** Ends the stream and writes the cache. */
  close(): Promise<void>
  /** Opens a new stream with the transport's credentials of now, without back-off; configuration stays in force. */
  reconnect(): void
  /** `name` as dialled, lower case. Idempotent. */
  watchAuthority(name: string): void
  unwatchAuthority(name: string): void
  /** Why nothing can be said about an authority (refused, does not exist, not connected), or undefined when it is in the snapshot. */
  authorityProblem(name: string): string | undefined
  watchInbound(listenerName: string): void
  unwatchInbound(listenerName: string): void
  watchTrustBundle(): void
  status(): XdsStatus
}
