import type { ClientClass } from '../translate/types.ts'
import type { DiscoveryStream } from './stream.ts'

/** One type on one stream, as `inmesh status` and GET /v1/clients show it. */
export interface ClientTypeStatus {
  readonly typeUrl: string
  /**
   * SYNCED: the client ACKed the current content of all its names; STALE: something is unsent or unanswered;
   * NACK: it refused content that is still current; NOT_SENT: it asked and nothing went out yet.
   */
  readonly state: 'SYNCED' | 'STALE' | 'NACK' | 'NOT_SENT'
  /** Names subscribed. */
  readonly names: number
  /** version_info that the client ACKed last; '' = none. */
  readonly ackedVersion: string
  readonly sentVersion: string
  /** The client's own words when the state is NACK, else ''. */
  readonly reason: string
  /** How long it is in this state, ms. */
  readonly ageMs: number
}

/** One stream of one client; a process may have several. */
export interface ClientStatus {
  /** Counts up with every stream of this control plane. */
  readonly stream: number
  readonly nodeId: string
  /** '' on the plaintext port. */
  readonly spiffeId: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly service: string
  readonly clientClass: ClientClass
  readonly userAgent: string
  /** Remote "address:port". */
  readonly address: string
  /** Wall clock ms. */
  readonly connectedAt: number
  readonly types: readonly ClientTypeStatus[]
}

export type ClientFacts = Omit<ClientStatus, 'types' | 'stream'>

/** The streams that are open now. */
export class ConnectedClients {
  readonly #clients = new Map<number, { facts: ClientFacts; stream: DiscoveryStream }>()
  #streams = 0

  /** Returns the function that takes it out again. */
  add(facts: ClientFacts, stream: DiscoveryStream): () => void {
    const id = ++this.#streams
    this.#clients.set(id, { facts, stream })
    return () => this.#clients.delete(id)
  }

  get size(): number {
    return this.#clients.size
  }

  /** `now` is the clock that the streams were given. */
  list(now: number): ClientStatus[] {
    return [...this.#clients].map(([id, { facts, stream }]) => ({
      stream: id,
      ...facts,
      types: [...stream.status()].map(([typeUrl, s]) => ({
        typeUrl,
        state: s.state,
        names: s.names,
        ackedVersion: s.ackedVersion,
        sentVersion: s.sentVersion,
        reason: s.reason,
        ageMs: Math.max(0, Math.round(now - s.since)),
      })),
    }))
  }
}
