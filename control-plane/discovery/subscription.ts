import type { EncodedResource } from '../translate/types.ts'

/** The part of a DiscoveryRequest that a subscription looks at. */
export interface SubscriptionRequest {
  /** '' = not an answer to a response, only a change of the names. */
  readonly nonce: string
  /** The full list, each time; an empty list subscribes to nothing (gRPC never means "everything" by it). */
  readonly names: readonly string[]
  /** Present = NACK, and nothing else makes one. */
  readonly error: { readonly code: number; readonly message: string } | null
}

/** What a request was. 'stale' = an answer to an older response, ignored whole (envoy#10363). */
export type RequestVerdict = 'first' | 'ack' | 'nack' | 'change' | 'stale'

/** A response that is due; `resources` share their bytes with every other stream. */
export interface DueResponse {
  readonly nonce: string
  readonly resources: readonly EncodedResource[]
}

/** The current content of a name for this client. */
export type Lookup = (name: string) => EncodedResource | undefined

export interface SubscriptionPolicy {
  /** Responses carry everything subscribed, absence means deletion (LDS, CDS); else only what changed (RDS, EDS, SDS). */
  readonly fullState: boolean
  /** Makes nonces that are unique within the stream. */
  readonly nextNonce: () => string
}

export interface SubscriptionStatus {
  readonly state: 'SYNCED' | 'STALE' | 'NACK' | 'NOT_SENT'
  readonly names: number
  /** version_info of the last response that was ACKed; '' = none yet. */
  readonly ackedVersion: string
  readonly sentVersion: string
  /** Text of the last NACK while its content is still refused. */
  readonly reason: string
  /** Clock time since when it is in this state. */
  readonly since: number
}

/** Names that the client has been told do not exist, or that could not be told in this type. */
const ABSENT = ''

const FIRST_BACKOFF = 1_000
const MAX_BACKOFF = 30_000

/**
 * State of the world, server side: one client stream and one resource type. Decides what is sent and when; knows neither
 * sockets nor timers. At most one response is unanswered; what changes meanwhile is found by comparing versions when the
 * answer has come, so a slow client costs no memory.
 *
 * A NACK parks the refused versions: they are not sent again until they change, the client subscribes anew, or a response
 * that must be complete (LDS, CDS) goes out for another reason. (A complete response is not sent with the refused names
 * at their last good version: the client has applied the good part of what it refused, gRFC A46, and that would undo it.)
 * When new versions of refused names are refused too, the next ones wait 1 s, 2 s ... 30 s.
 */
export class Subscription {
  readonly #policy: SubscriptionPolicy
  readonly #names = new Set<string>()
  /** Version that the client ACKed, by name. */
  readonly #confirmed = new Map<string, string>()
  /** Version that the client refused, by name. */
  readonly #rejected = new Map<string, string>()
  /** Content last sent and not refused, by name: what a removal that must wait keeps on the wire. */
  readonly #sent = new Map<string, EncodedResource>()
  #inflight: { nonce: string; version: string; sentAt: number; contents: Map<string, string> } | null = null
  #lastNonce = ''
  #started = false
  #owesAnswer = false
  #nacksInRow = 0
  #notBefore = 0
  #reason = ''
  #sentVersion = ''
  #ackedVersion = ''
  #since = 0
  /** Names that may differ from what the client has; saves looking at every name on each push. */
  #suspects = new Set<string>()

  constructor(policy: SubscriptionPolicy) {
    this.#policy = policy
  }

  get names(): ReadonlySet<string> {
    return this.#names
  }

  /** When the unanswered response was sent; undefined = none is out. */
  get unansweredSince(): number | undefined {
    return this.#inflight?.sentAt
  }

  /** True while the client has refused something and has not got anything better since. */
  get refused(): boolean {
    return this.#rejected.size > 0
  }

  onRequest(request: SubscriptionRequest, now: number): RequestVerdict {
    if (!this.#started) {
      this.#started = true
      this.#owesAnswer = true
      this.#since = now
      this.#setNames(request.names)
      return 'first'
    }
    if (request.nonce !== '' && request.nonce !== this.#lastNonce) return 'stale'
    const answered = request.nonce !== '' && request.nonce === this.#inflight?.nonce ? this.#inflight : null
    const verdict = answered === null ? 'change' : request.error === null ? 'ack' : 'nack'
    if (answered !== null) {
      this.#inflight = null
      this.#since = now
      if (request.error === null) this.#ack(answered)
      else this.#nack(answered, request.error.message, now)
    }
    this.#setNames(request.names)
    return verdict
  }

  /** `name` may have changed. */
  suspect(name: string): void {
    if (this.#names.has(name)) this.#suspects.add(name)
  }

  /** Whether something is waiting to be sent, were nothing unanswered. `keepRemoved` as in `next`. */
  pending(lookup: Lookup, keepRemoved: boolean): boolean {
    return this.#owesAnswer || this.#differing(lookup, keepRemoved).length > 0
  }

  /**
   * The response to send now, or the time from which to ask again, or undefined when there is nothing to send (or the
   * last response is unanswered). `version` becomes its version_info. With `keepRemoved` names that exist no more stay
   * as they were sent: something else that the client has may still refer to them.
   */
  next(lookup: Lookup, version: string, now: number, keepRemoved: boolean): DueResponse | { at: number } | undefined {
    if (this.#inflight !== null || !this.#started) return undefined
    let due = this.#differing(lookup, keepRemoved)
    if (now < this.#notBefore) {
      const fresh = due.filter((name) => !this.#rejected.has(name))
      if (fresh.length === 0 && due.length > 0 && !this.#owesAnswer) return { at: this.#notBefore }
      due = fresh
    }
    if (due.length === 0 && !this.#owesAnswer) return undefined
    const contents = new Map<string, string>()
    const resources: EncodedResource[] = []
    for (const name of this.#policy.fullState ? this.#names : due) {
      const current = lookup(name)
      const resource = current ?? (keepRemoved ? this.#sent.get(name) : undefined)
      contents.set(name, resource?.version ?? ABSENT)
      // A removal that had to wait is still to be looked at.
      if (current !== undefined || resource === undefined) this.#suspects.delete(name)
      if (resource === undefined) this.#sent.delete(name)
      else {
        resources.push(resource)
        this.#sent.set(name, resource)
      }
    }
    this.#owesAnswer = false
    this.#lastNonce = this.#policy.nextNonce()
    this.#inflight = { nonce: this.#lastNonce, version, sentAt: now, contents }
    this.#sentVersion = version
    this.#since = now
    return { nonce: this.#lastNonce, resources }
  }

  status(lookup: Lookup): SubscriptionStatus {
    const unsent = this.#differing(lookup, false).length > 0
    return {
      state:
        this.#sentVersion === ''
          ? 'NOT_SENT'
          : this.refused
            ? 'NACK'
            : this.#inflight !== null || unsent
              ? 'STALE'
              : 'SYNCED',
      names: this.#names.size,
      ackedVersion: this.#ackedVersion,
      sentVersion: this.#sentVersion,
      reason: this.refused ? this.#reason : '',
      since: this.#since,
    }
  }

  #setNames(list: readonly string[]): void {
    const wanted = new Set(list)
    for (const name of this.#names) {
      if (wanted.has(name)) continue
      // Forgotten wholly, so that the same name asked for again is sent again (go-control-plane#431).
      this.#names.delete(name)
      this.#confirmed.delete(name)
      this.#rejected.delete(name)
      this.#sent.delete(name)
      this.#suspects.delete(name)
      this.#inflight?.contents.delete(name)
    }
    for (const name of wanted) {
      if (this.#names.has(name)) continue
      this.#names.add(name)
      this.#suspects.add(name)
    }
  }

  #ack(answered: { version: string; contents: Map<string, string> }): void {
    for (const [name, version] of answered.contents) {
      this.#confirmed.set(name, version)
      this.#rejected.delete(name)
    }
    this.#ackedVersion = answered.version
    this.#nacksInRow = 0
    this.#notBefore = 0
  }

  #nack(answered: { contents: Map<string, string> }, message: string, now: number): void {
    for (const [name, version] of answered.contents) {
      // What was left out is gone for the client, whatever it thinks of the rest.
      if (version === ABSENT) this.#confirmed.set(name, ABSENT)
      else if (this.#confirmed.get(name) !== version) this.#rejected.set(name, version)
    }
    this.#reason = message
    this.#nacksInRow++
    const steps = this.#nacksInRow - 2
    this.#notBefore = steps < 0 ? 0 : now + Math.min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** steps)
  }

  /** Names whose current content the client neither has nor refused. */
  #differing(lookup: Lookup, keepRemoved: boolean): string[] {
    const result: string[] = []
    for (const name of this.#suspects) {
      const version = lookup(name)?.version ?? ABSENT
      const unanswered = this.#inflight?.contents.get(name)
      if (version === (unanswered ?? this.#confirmed.get(name))) {
        // Back to what the client has: what it refused is of the past.
        if (unanswered === undefined) this.#rejected.delete(name)
      } else if (version === this.#rejected.get(name)) {
        // Parked.
      } else if (version !== ABSENT || this.#tellsAbsence(name, keepRemoved)) result.push(name)
      // Nothing can be said of it any more, so nothing is refused any more.
      else if (!this.#policy.fullState) this.#rejected.delete(name)
    }
    return result
  }

  /** Only complete responses can say that something does not exist: by leaving it out. */
  #tellsAbsence(name: string, keepRemoved: boolean): boolean {
    return this.#policy.fullState && !(keepRemoved && this.#sent.has(name))
  }
}
