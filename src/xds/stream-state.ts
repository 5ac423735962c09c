import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { NodeSchema } from '../gen/envoy/config/core/v3/base_pb.js'
import {
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '../gen/envoy/service/discovery/v3/discovery_pb.js'
import type { Random } from '../model/clock.ts'
import type { StreamEnd } from '../model/transport.ts'
import { Backoff, type BackoffOptions, streamBackoff } from './backoff.ts'
import type { CachedResource } from './cache.ts'
import { type DataErrors, ownDataErrors } from './data-errors.ts'
import { readResourceErrors } from './resource-errors.ts'
import type { Dialect } from './resources/dialect.ts'
import { FieldError } from './resources/field.ts'
import { resourceTypes } from './resources/index.ts'
import type { TypeStatus } from './status.ts'
import { type Held, Subscription } from './subscription.ts'

export interface AdsTiming {
  /** A resource that was asked for on a connected stream and did not come in this time does not exist (gRFC A57). */
  readonly absentAfterMs: number
  /** The same, where silence is known to be the server's slowness (A88). */
  readonly slowAfterMs: number
  /** What is on disk is used when the control plane did not answer in this time. */
  readonly cacheAfterMs: number
  /** A refusal of the same content, again, is sent this much later: a server that answers at once cannot loop. */
  readonly repeatedNackMs: number
  readonly backoff: BackoffOptions
}

export const adsTiming: AdsTiming = {
  absentAfterMs: 15_000,
  slowAfterMs: 30_000,
  cacheAfterMs: 500,
  repeatedNackMs: 30_000,
  backoff: streamBackoff,
}

export type AdsEvent =
  | { readonly kind: 'start' | 'flush' | 'tick' | 'reconnect' | 'close' }
  | { readonly kind: 'subscribe' | 'unsubscribe'; readonly typeUrl: string; readonly name: string }
  /** A request left on a connection that stands. */
  | { readonly kind: 'sent'; readonly request: AdsRequest }
  | { readonly kind: 'response'; readonly bytes: Uint8Array }
  | { readonly kind: 'ended'; readonly end: StreamEnd }
  /** Go on with another server: its versions and nonces are its own, what is held stays (gRFC A71). */
  | { readonly kind: 'switch'; readonly errors: DataErrors }

export type AdsAction =
  /** Open a stream; events of the one before must not come any more. */
  | { readonly kind: 'connect' | 'disconnect' | 'read' }
  | { readonly kind: 'send'; readonly request: AdsRequest; readonly bytes: Uint8Array }
  | { readonly kind: 'changed'; readonly typeUrl: string; readonly held: Readonly<Held> }
  | { readonly kind: 'nack'; readonly typeUrl: string; readonly version: string; readonly errors: readonly string[] }
  | { readonly kind: 'connection'; readonly connected: boolean; readonly reason: string }

export interface AdsRequest {
  readonly typeUrl: string
  readonly names: readonly string[]
}

export interface AdsStateOptions {
  readonly node: MessageInitShape<typeof NodeSchema>
  readonly random: Random
  readonly timing?: Partial<AdsTiming>
  /** Whose resources they are; default: those of inmesh's own control plane. */
  readonly dialect?: Dialect | undefined
  /** Of the first server; default: inmesh's own. */
  readonly errors?: DataErrors | undefined
  /** Last good resources of an earlier run. */
  readonly cache?: { get(typeUrl: string, name: string): CachedResource | undefined }
}

const INVALID_ARGUMENT = 3
const MAX_ERROR_TEXT = 8_192

/**
 * The client half of the state-of-the-world ADS protocol without its I/O: (event, now) -> actions. The rules are
 * those of Envoy's xds_protocol document and of gRFCs A27, A46, A53 and A57; names are always explicit, never "all".
 */
export class AdsState {
  readonly #node: MessageInitShape<typeof NodeSchema>
  readonly #timing: AdsTiming
  readonly #backoff: Backoff
  readonly #cache: AdsStateOptions['cache']
  readonly #dialect: Dialect | undefined
  readonly #subscriptions = new Map<string, Subscription>()
  #errors: DataErrors
  #phase: 'new' | 'open' | 'waiting' | 'closed' = 'new'
  /** When the next stream is due while waiting. */
  #connectAt = Number.POSITIVE_INFINITY
  #nodeSent = false
  #answered = false
  /** The stream before had answered. */
  #lastWorked = true
  #lastError = ''
  #lastUpdate = Number.NEGATIVE_INFINITY
  /** Of the event that is handled. */
  #now = 0
  #actions: AdsAction[] = []

  constructor(options: AdsStateOptions) {
    this.#node = options.node
    this.#timing = { ...adsTiming, ...options.timing }
    this.#backoff = new Backoff(this.#timing.backoff, options.random)
    this.#cache = options.cache
    this.#errors = options.errors ?? ownDataErrors
    this.#dialect = options.dialect
    for (const type of resourceTypes) this.#subscriptions.set(type.typeUrl, new Subscription(type, this.#dialect))
  }

  /** When `tick` is due; Infinity = nothing to wait for. */
  get deadline(): number {
    let least = this.#phase === 'waiting' ? this.#connectAt : Number.POSITIVE_INFINITY
    for (const sub of this.#subscriptions.values()) {
      if (sub.parked !== null) least = Math.min(least, sub.parked.at)
      for (const held of sub.resources.values()) least = Math.min(least, held.absentAt, held.cacheAt)
    }
    return least
  }

  /** The current stream has answered. */
  get connected(): boolean {
    return this.#phase === 'open' && this.#answered
  }

  /** The last stream ended, or never came to be, without an answer; the next one is waited for. */
  get unreachable(): boolean {
    return this.#phase === 'waiting' && !this.#lastWorked
  }

  /** Something is subscribed of which nothing is known. */
  get lacks(): boolean {
    for (const sub of this.#subscriptions.values())
      for (const held of sub.resources.values())
        if (held.bytes === null && (held.state === 'REQUESTED' || held.state === 'TIMEOUT')) return true
    return false
  }

  /** A request that any server of the same resources answers: of the first type that is subscribed. undefined = nothing is. */
  firstRequest(): Uint8Array | undefined {
    for (const sub of this.#subscriptions.values()) {
      if (sub.resources.size === 0) continue
      const message = create(DiscoveryRequestSchema, {
        typeUrl: sub.type.typeUrl,
        resourceNames: [...sub.resources.keys()],
        node: this.#node,
      })
      return toBinary(DiscoveryRequestSchema, message)
    }
    return undefined
  }

  get lastError(): string {
    return this.#lastError
  }

  /** Time of the last response that was used; -Infinity = never. */
  get lastUpdate(): number {
    return this.#lastUpdate
  }

  held(typeUrl: string, name: string): Readonly<Held> | undefined {
    return this.#subscriptions.get(typeUrl)?.resources.get(name)
  }

  /** All that is subscribed, with content. */
  *resources(): Generator<{ readonly typeUrl: string; readonly held: Readonly<Held> }> {
    for (const { type, resources } of this.#subscriptions.values())
      for (const held of resources.values()) yield { typeUrl: type.typeUrl, held }
  }

  types(): TypeStatus[] {
    return Array.from(this.#subscriptions.values(), ({ type, version, nonce, resources }) => ({
      typeUrl: type.typeUrl,
      version,
      nonce,
      resources: Array.from(resources.values(), ({ name, state, version, fromCache, error, warnings }) => ({
        name,
        state,
        version,
        fromCache,
        error,
        warnings,
      })),
    }))
  }

  step(event: AdsEvent, now: number): readonly AdsAction[] {
    this.#actions = []
    this.#now = now
    if (this.#phase !== 'closed') this.#handle(event, now)
    return this.#actions
  }

  #handle(event: AdsEvent, now: number): void {
    switch (event.kind) {
      case 'start':
        if (this.#phase === 'new') this.#open()
        return
      case 'subscribe':
        this.#subscribe(event.typeUrl, event.name, now)
        return
      case 'unsubscribe':
        this.#subscriptions.get(event.typeUrl)?.drop(event.name, now)
        return
      case 'flush':
        if (this.#phase === 'open') this.#flush()
        return
      case 'sent':
        this.#startTimers(event.request, now)
        return
      case 'response':
        this.#response(event.bytes, now)
        return
      case 'ended':
        this.#ended(`status ${event.end.code}: ${event.end.details}`, event.end.code === 0, now)
        return
      case 'tick':
        this.#tick(now)
        return
      case 'reconnect':
        if (this.#phase === 'new') return
        if (this.#phase === 'open') this.#actions.push({ kind: 'disconnect' })
        this.#open()
        return
      case 'switch':
        this.#errors = event.errors
        this.#backoff.reset()
        for (const sub of this.#subscriptions.values()) sub.version = ''
        if (this.#phase === 'open') this.#actions.push({ kind: 'disconnect' })
        if (this.#phase !== 'new') this.#open()
        return
      case 'close':
        if (this.#phase === 'open') this.#actions.push({ kind: 'disconnect' })
        this.#phase = 'closed'
        return
    }
  }

  #open(): void {
    this.#phase = 'open'
    this.#connectAt = Number.POSITIVE_INFINITY
    this.#nodeSent = false
    this.#answered = false
    this.#actions.push({ kind: 'connect' }, { kind: 'read' })
    for (const sub of this.#subscriptions.values()) sub.newStream()
    this.#flush()
  }

  #subscribe(typeUrl: string, name: string, now: number): void {
    const sub = this.#subscriptions.get(typeUrl)
    if (sub === undefined || sub.resources.has(name)) return
    const held = sub.add(name, now)
    if (held.bytes !== null) this.#actions.push({ kind: 'changed', typeUrl, held })
    if (held.bytes !== null || this.#cache?.get(typeUrl, name) === undefined) return
    held.cacheAt = now + this.#timing.cacheAfterMs
    if (this.#phase === 'waiting') this.#useCache(sub, held)
  }

  /** Tells the server of every type whose names changed, with the latest nonce. */
  #flush(): void {
    for (const sub of this.#subscriptions.values()) {
      if (!sub.changed) continue
      // Without its error this request would pass for an ACK of what waits to be refused.
      if (sub.parked !== null) this.#unpark(sub)
      else this.#send(sub, sub.nonce, '')
    }
  }

  #send(sub: Subscription, nonce: string, error: string): void {
    this.#sendRaw(sub.type.typeUrl, sub.sent(this.#now), sub.version, nonce, error)
  }

  #sendRaw(typeUrl: string, names: readonly string[], version: string, nonce: string, error: string): void {
    const message = create(DiscoveryRequestSchema, {
      typeUrl,
      resourceNames: [...names],
      versionInfo: version,
      responseNonce: nonce,
    })
    if (!this.#nodeSent) message.node = create(NodeSchema, this.#node)
    this.#nodeSent = true
    if (error !== '')
      message.errorDetail = { $typeName: 'google.rpc.Status', code: INVALID_ARGUMENT, message: error, details: [] }
    this.#actions.push({ kind: 'send', request: { typeUrl, names }, bytes: toBinary(DiscoveryRequestSchema, message) })
  }

  /** The request is on a connected stream: from now on silence means something. */
  #startTimers(request: AdsRequest, now: number): void {
    if (this.#phase !== 'open') return
    const sub = this.#subscriptions.get(request.typeUrl)
    for (const name of request.names) {
      const held = sub?.resources.get(name)
      if (held?.state === 'REQUESTED' && held.absentAt === Number.POSITIVE_INFINITY)
        held.absentAt = now + this.#silenceMs
    }
  }

  get #silenceMs(): number {
    return this.#errors.timerIsTransient ? this.#timing.slowAfterMs : this.#timing.absentAfterMs
  }

  #response(bytes: Uint8Array, now: number): void {
    if (this.#phase !== 'open') return
    let response: DiscoveryResponse
    try {
      response = fromBinary(DiscoveryResponseSchema, bytes)
    } catch (error) {
      // There is no type and no nonce to refuse it with.
      this.#actions.push({ kind: 'disconnect' })
      this.#ended(`the server sent a response that cannot be decoded: ${text(error)}`, false, now)
      return
    }
    if (!this.#answered) {
      this.#answered = true
      this.#backoff.reset()
      this.#actions.push({ kind: 'connection', connected: true, reason: '' })
    }
    this.#receive(response, now)
    this.#actions.push({ kind: 'read' })
  }

  #receive(response: DiscoveryResponse, now: number): void {
    const { typeUrl, versionInfo, nonce } = response
    const sub = this.#subscriptions.get(typeUrl)
    if (sub === undefined || sub.sentNames === null) {
      const reason = sub === undefined ? `type_url "${typeUrl}" is not known` : `${sub.type.label} was not asked for`
      this.#actions.push({ kind: 'nack', typeUrl, version: versionInfo, errors: [reason] })
      this.#sendRaw(typeUrl, [], '', nonce, reason)
      return
    }
    if (sub.parked !== null) this.#unpark(sub)
    const { errors, changed } = sub.receive(response, now, this.#silenceMs, this.#errors)
    changed.push(...sub.serverErrors(readResourceErrors(response), this.#errors))
    this.#lastUpdate = now
    for (const held of changed) {
      // Refused and nothing good in memory: the last good one may be on disk.
      if (held.state === 'NACKED') this.#useCache(sub, held)
      this.#actions.push({ kind: 'changed', typeUrl, held })
    }
    if (errors.length === 0) {
      sub.lastRefused = ''
      this.#send(sub, nonce, '')
      return
    }
    this.#actions.push({ kind: 'nack', typeUrl, version: versionInfo, errors })
    const error = errors.join('; ').slice(0, MAX_ERROR_TEXT)
    const refused = `${versionInfo} ${error}`
    if (refused === sub.lastRefused) sub.parked = { at: now + this.#timing.repeatedNackMs, nonce, error }
    else this.#send(sub, nonce, error)
    sub.lastRefused = refused
  }

  #unpark(sub: Subscription): void {
    const { parked } = sub
    sub.parked = null
    if (parked !== null) this.#send(sub, parked.nonce, parked.error)
  }

  #ended(reason: string, clean: boolean, now: number): void {
    if (this.#phase !== 'open') return
    const worked = this.#answered
    this.#lastWorked = worked
    this.#phase = 'waiting'
    this.#answered = false
    // A stream that answered and was then closed in order is how servers shed load, no error (A57).
    if (!(worked && clean)) this.#lastError = reason
    this.#connectAt = now + this.#backoff.next()
    this.#actions.push({ kind: 'connection', connected: false, reason })
    for (const sub of this.#subscriptions.values()) {
      sub.parked = null
      sub.stopTimers()
      if (!worked) for (const held of sub.resources.values()) this.#useCache(sub, held)
    }
  }

  #tick(now: number): void {
    if (this.#phase === 'waiting' && this.#connectAt <= now) this.#open()
    for (const sub of this.#subscriptions.values()) {
      if (sub.parked !== null && sub.parked.at <= now) this.#unpark(sub)
      for (const held of sub.resources.values()) {
        if (held.cacheAt <= now) this.#useCache(sub, held)
        if (held.absentAt <= now)
          this.#actions.push({ kind: 'changed', typeUrl: sub.type.typeUrl, held: sub.silent(held, this.#errors) })
      }
    }
  }

  /** It passes the same decoder as news from the wire; what no longer passes is left alone. */
  #useCache(sub: Subscription, held: Held): void {
    held.cacheAt = Number.POSITIVE_INFINITY
    if (held.bytes !== null || held.state === 'DOES_NOT_EXIST' || held.dropped) return
    const cached = this.#cache?.get(sub.type.typeUrl, held.name)
    if (cached === undefined) return
    try {
      const decoded = sub.type.decode(cached.value, this.#dialect)
      if (decoded.name !== held.name) return
      held.bytes = cached.value
      held.value = decoded.value
      held.warnings = decoded.warnings
      held.version = cached.version
      held.fromCache = true
      held.updatedAt = this.#now
      this.#actions.push({ kind: 'changed', typeUrl: sub.type.typeUrl, held })
    } catch (error) {
      if (!(error instanceof FieldError)) throw error
      held.error = `the copy on disk cannot be used: ${error.message}`
    }
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
