import type { DiscoveryResponse } from '../gen/envoy/service/discovery/v3/discovery_pb.js'
import type { DataErrors } from './data-errors.ts'
import type { ResourceError } from './resource-errors.ts'
import type { Dialect } from './resources/dialect.ts'
import type { ResourceType } from './resources/resource-type.ts'
import { readResources } from './response.ts'
import type { ResourceState } from './status.ts'

/** What is held of one subscribed resource. */
export interface Held {
  readonly name: string
  state: ResourceState
  /** Of `value`. */
  version: string
  /** As they came over the wire; null = nothing is held. */
  bytes: Uint8Array | null
  /** Decoded `bytes`; undefined = nothing is held. The same object for as long as the bytes are the same. */
  value: unknown
  warnings: readonly string[]
  error: string
  fromCache: boolean
  /** When `value` came; -Infinity = never. */
  updatedAt: number
  /** The last version that was refused, and when; null = the last one was not. */
  refused: { readonly version: string; readonly at: number } | null
  /** What was held was dropped for an error of the server's data: the copy on disk will not do either. */
  dropped: boolean
  seenOnStream: boolean
  /** When it counts as not existing; Infinity = no such timer. */
  absentAt: number
  /** When what is on disk will do; Infinity = it is not asked. */
  cacheAt: number
}

const NOT_FOUND = 5
const PERMISSION_DENIED = 7

/** Longer than any request or response is under way. */
const LINGER_MS = 30_000

/** The state of one type on the stream: its names, version, nonce and resources. */
export class Subscription {
  readonly type: ResourceType<unknown>
  readonly #dialect: Dialect | undefined
  readonly resources = new Map<string, Held>()
  /** Last version that was accepted whole; outlives streams. */
  version = ''
  /** Last one received on this stream. */
  nonce = ''
  /** Names of the last request on this stream; null = none was sent, so an empty list would mean "all". */
  sentNames: readonly string[] | null = null
  /** Names of the first request on this stream: any response was made in knowledge of them. */
  firstNames = new Set<string>()
  /** A refusal that waits because the same was refused just before; see AdsState. */
  parked: { readonly at: number; readonly nonce: string; readonly error: string } | null = null
  /** Fingerprint of what was refused last; empty = the last response was accepted. */
  lastRefused = ''

  /**
   * Dropped a moment ago, but kept and kept up to date: when a name comes back the server sends it anew only if it knew
   * that it was gone, and a request that crosses a response is ignored as stale.
   */
  readonly #dropped = new Map<string, { readonly held: Held; until: number }>()

  constructor(type: ResourceType<unknown>, dialect?: Dialect) {
    this.type = type
    this.#dialect = dialect
  }

  add(name: string, now: number): Held {
    const dropped = this.#dropped.get(name)
    this.#dropped.delete(name)
    const held = dropped !== undefined && now < dropped.until ? dropped.held : this.#fresh(name)
    this.resources.set(name, held)
    // The server was not told that it was gone: nothing happened.
    if (this.sentNames?.includes(name)) return held
    // Whatever the server says next, it may not know yet that the name is back.
    held.seenOnStream = false
    held.absentAt = Number.POSITIVE_INFINITY
    held.cacheAt = Number.POSITIVE_INFINITY
    this.firstNames.delete(name)
    if (held.bytes === null && held.state !== 'NACKED') held.state = 'REQUESTED'
    if (held.state === 'REQUESTED') held.error = ''
    return held
  }

  drop(name: string, now: number): void {
    const held = this.resources.get(name)
    if (held === undefined) return
    this.resources.delete(name)
    for (const [old, { until }] of this.#dropped) if (until <= now) this.#dropped.delete(old)
    if (this.sentNames === null) return
    this.#dropped.set(name, { held, until: Number.POSITIVE_INFINITY })
  }

  #fresh(name: string): Held {
    return {
      name,
      state: 'REQUESTED',
      version: '',
      bytes: null,
      value: undefined,
      warnings: [],
      error: '',
      fromCache: false,
      updatedAt: Number.NEGATIVE_INFINITY,
      refused: null,
      dropped: false,
      seenOnStream: false,
      absentAt: Number.POSITIVE_INFINITY,
      cacheAt: Number.POSITIVE_INFINITY,
    }
  }

  /** A stream begins: nonces and timers are of the stream, versions and content stay (gRFC A57). */
  newStream(): void {
    this.nonce = ''
    this.sentNames = null
    this.firstNames = new Set()
    this.parked = null
    this.lastRefused = ''
    this.#dropped.clear()
    this.stopTimers()
    for (const held of this.resources.values()) held.seenOnStream = false
  }

  /** No resource can be found not to exist while nobody could send it. */
  stopTimers(): void {
    for (const held of this.resources.values()) held.absentAt = Number.POSITIVE_INFINITY
  }

  /** Names differ from those that the server was told last. */
  get changed(): boolean {
    if (this.sentNames === null) return this.resources.size > 0
    return this.sentNames.length !== this.resources.size || this.sentNames.some((name) => !this.resources.has(name))
  }

  /** A request with the names of now goes out. */
  sent(now: number): readonly string[] {
    for (const dropped of this.#dropped.values()) dropped.until = Math.min(dropped.until, now + LINGER_MS)
    const names = [...this.resources.keys()]
    if (this.sentNames === null) this.firstNames = new Set(names)
    this.sentNames = names
    return names
  }

  /**
   * Takes what can be used of a response.
   * @returns the reasons for a refusal, empty = accept; and whose state or content is another now
   */
  receive(
    response: DiscoveryResponse,
    now: number,
    absentAfterMs: number,
    policy: DataErrors,
  ): { errors: string[]; changed: Held[] } {
    const errors: string[] = []
    const changed: Held[] = []
    const present = new Set<string>()
    let unnamed = false
    const find = (name: string) => this.resources.get(name) ?? this.#dropped.get(name)?.held
    const wanted = { held: (name: string) => find(name)?.bytes, dialect: this.#dialect }
    for (const received of readResources(this.type, response, wanted)) {
      const held = received.name === undefined ? undefined : find(received.name)
      const isWanted = held === undefined || this.resources.has(held.name)
      if (received.kind === 'bad' && isWanted) errors.push(received.error)
      if (held === undefined) {
        unnamed = true
        continue
      }
      present.add(held.name)
      // A heartbeat for what is not held says nothing.
      if (received.kind === 'same' && held.bytes === null) continue
      held.seenOnStream = true
      held.absentAt = Number.POSITIVE_INFINITY
      held.cacheAt = Number.POSITIVE_INFINITY
      if (received.kind === 'bad') {
        if (policy.refusal === 'drop' && held.bytes !== null) drop(held)
        held.state = 'NACKED'
        held.refused = { version: response.versionInfo, at: now }
        held.error = received.error
        if (isWanted) changed.push(held)
      } else {
        const settled = received.kind === 'same' && held.state === 'ACKED' && !held.fromCache
        held.state = 'ACKED'
        held.refused = null
        held.dropped = false
        held.error = ''
        held.fromCache = false
        held.version = received.version
        if (received.kind === 'new') {
          held.bytes = received.bytes
          held.updatedAt = now
          held.value = received.decoded.value
          held.warnings = received.decoded.warnings
        }
        if (!settled && isWanted) changed.push(held)
      }
    }
    // What could not be named might be any of those that seem missing.
    if (this.type.fullState && !unnamed) changed.push(...this.#missing(present, now, absentAfterMs, policy))
    if (errors.length === 0) this.version = response.versionInfo
    this.nonce = response.nonce
    return { errors, changed }
  }

  /** It did not come in time. */
  silent(held: Held, policy: DataErrors): Held {
    if (!policy.timerIsTransient) return gone(held, policy)
    held.absentAt = Number.POSITIVE_INFINITY
    if (held.bytes !== null) return held
    held.state = 'TIMEOUT'
    held.error = `the server did not send ${this.type.label} ${held.name} in time`
    return held
  }

  /** What the server says instead of a resource (xRFC TP3, gRFC A88). @returns those whose state is another now */
  serverErrors(errors: readonly ResourceError[], policy: DataErrors): Held[] {
    return errors.flatMap(({ name, code, message }) => {
      const held = this.resources.get(name)
      if (held === undefined) return []
      const isData = code === NOT_FOUND || code === PERMISSION_DENIED
      if (isData && policy.deletion === 'drop' && held.bytes !== null) drop(held)
      held.absentAt = Number.POSITIVE_INFINITY
      held.cacheAt = Number.POSITIVE_INFINITY
      held.seenOnStream = true
      held.state = 'RECEIVED_ERROR'
      held.error = `${this.type.label} ${name}: the server says ${message || 'nothing'} (status ${code})`
      return [held]
    })
  }

  /**
   * LDS and CDS name everything that exists, so what is held and missing was deleted. If the server may not have
   * known yet that it was asked for (a later request crossed the response), the does-not-exist timer decides.
   */
  *#missing(present: ReadonlySet<string>, now: number, absentAfterMs: number, policy: DataErrors): Generator<Held> {
    for (const held of this.resources.values()) {
      if (present.has(held.name) || held.state === 'DOES_NOT_EXIST' || held.state === 'RECEIVED_ERROR') continue
      if (held.bytes === null && held.state !== 'NACKED') continue
      if (held.seenOnStream || this.firstNames.has(held.name)) yield gone(held, policy)
      else if (held.absentAt === Number.POSITIVE_INFINITY) held.absentAt = now + absentAfterMs
    }
  }
}

function gone(held: Held, policy: DataErrors): Held {
  if (policy.deletion === 'drop' || held.bytes === null) return absent(held)
  held.state = 'DOES_NOT_EXIST'
  held.error = 'the server says that it does not exist; the last version stays in use'
  held.absentAt = Number.POSITIVE_INFINITY
  return held
}

/** The content is not to be used any more, wherever it is. */
function drop(held: Held): void {
  absent(held).dropped = true
}

/** Forgets the content too: the same bytes that come again later are news (and are told as such). */
export function absent(held: Held): Held {
  held.state = 'DOES_NOT_EXIST'
  held.version = ''
  held.bytes = null
  held.value = undefined
  held.warnings = []
  held.error = ''
  held.fromCache = false
  held.updatedAt = Number.NEGATIVE_INFINITY
  held.refused = null
  held.dropped = false
  held.absentAt = Number.POSITIVE_INFINITY
  held.cacheAt = Number.POSITIVE_INFINITY
  return held
}
