import type { Clock, Random } from '../model/clock.ts'
import type { Logger } from '../model/logger.ts'
import type { Transport } from '../model/transport.ts'

/** One address at which this process serves. */
export interface RegisteredEndpoint {
  readonly service: string
  readonly address: string
  readonly port: number
  readonly labels: Readonly<Record<string, string>>
  readonly locality: string
  readonly weight: number
}

export interface RegistryClientOptions {
  /** Unique to this process, stable over reconnects. */
  readonly instanceId: string
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

/** Keeps this process registered: the registration lives as long as the stream. */
export interface RegistryClientApi {
  /** Registers these endpoints in place of those before. */
  update(endpoints: readonly RegisteredEndpoint[]): void
  /** Settles when the control plane has stored what was last given to `update`. */
  registered(): Promise<void>
  /** Says HEALTH_DRAINING of all endpoints; settles when it is stored or `timeoutMs` (5 s) passed. */
  drain(timeoutMs?: number): Promise<void>
  /** A new stream with the transport's credentials of now, without back-off. */
  reconnect(): void
  /** Says goodbye (half-close) and waits for the server's end, at most `timeoutMs` (2 s). */
  close(timeoutMs?: number): Promise<void>
}
