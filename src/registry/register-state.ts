import type { Random } from '../model/clock.ts'
import type { StreamEnd } from '../model/transport.ts'

/** One address at which this process serves. */
export interface RegisteredEndpoint {
  readonly service: string
  readonly address: string
  readonly port: number
  readonly labels: Readonly<Record<string, string>>
  /** "region/zone/subzone", parts may be missing. */
  readonly locality: string
  /** >= 1 */
  readonly weight: number
  /** What is spoken there; absent = HTTP. */
  readonly protocol?: 'grpc'
}

/** What the control plane is told: a whole, never a difference. */
export interface Registration {
  readonly endpoints: readonly RegisteredEndpoint[]
  readonly draining: boolean
}

export type RegisterEvent =
  | { readonly kind: 'update'; readonly endpoints: readonly RegisteredEndpoint[] }
  | { readonly kind: 'drain' | 'confirmed' | 'tick' | 'reconnect' | 'goodbye' | 'close' }
  | { readonly kind: 'ended'; readonly end: StreamEnd }

export type RegisterAction =
  /** Open a stream, in place of the one before if there is one. */
  | { readonly kind: 'connect' }
  | { readonly kind: 'send'; readonly registration: Registration }
  /** The server has stored everything that was sent. */
  | { readonly kind: 'settled' }
  | { readonly kind: 'lost'; readonly reason: string; readonly retryInMs: number }
  | { readonly kind: 'halfClose' | 'cancel' | 'gone' }

const INITIAL_MS = 1_000
const MAX_MS = 30_000
const FACTOR = 1.6

/**
 * Keeps one registration true: (event, now) -> actions. The server answers requests in order, so it has stored the
 * last one when as many answers as requests came; after a broken stream everything is said again.
 */
export class RegisterState {
  readonly #random: Random
  #phase: 'idle' | 'open' | 'waiting' | 'leaving' | 'closed' = 'idle'
  #registration: Registration = { endpoints: [], draining: false }
  /** Requests of this stream that were not answered. */
  #unanswered = 0
  #attempt = 0
  #connectAt = Number.POSITIVE_INFINITY
  #lastError = ''

  constructor(random: Random) {
    this.#random = random
  }

  /** When `tick` is due; Infinity = never. */
  get deadline(): number {
    return this.#phase === 'waiting' ? this.#connectAt : Number.POSITIVE_INFINITY
  }

  /** What was said last is stored, or nothing was said yet. */
  get settled(): boolean {
    return this.#phase === 'idle' || (this.#phase === 'open' && this.#unanswered === 0)
  }

  get lastError(): string {
    return this.#lastError
  }

  step(event: RegisterEvent, now: number): RegisterAction[] {
    if (this.#phase === 'closed') return []
    switch (event.kind) {
      case 'update':
        return this.#say({ ...this.#registration, endpoints: event.endpoints })
      case 'drain':
        // Who never registered has nothing to drain.
        return this.#phase === 'idle' ? [] : this.#say({ ...this.#registration, draining: true })
      case 'confirmed':
        return this.#confirmed()
      case 'tick':
        return this.#phase === 'waiting' && this.#connectAt <= now ? this.#open() : []
      case 'reconnect':
        return this.#phase === 'open' || this.#phase === 'waiting' ? this.#open() : []
      case 'ended':
        return this.#ended(event.end, now)
      case 'goodbye':
        return this.#goodbye()
      case 'close':
        this.#phase = 'closed'
        return [{ kind: 'cancel' }]
    }
  }

  #say(registration: Registration): RegisterAction[] {
    this.#registration = registration
    if (this.#phase === 'idle') return this.#open()
    if (this.#phase !== 'open') return []
    this.#unanswered++
    return [{ kind: 'send', registration }]
  }

  #open(): RegisterAction[] {
    this.#phase = 'open'
    this.#connectAt = Number.POSITIVE_INFINITY
    this.#unanswered = 1
    return [{ kind: 'connect' }, { kind: 'send', registration: this.#registration }]
  }

  #confirmed(): RegisterAction[] {
    if (this.#phase !== 'open' || this.#unanswered === 0) return []
    this.#attempt = 0
    this.#lastError = ''
    this.#unanswered--
    return this.#unanswered === 0 ? [{ kind: 'settled' }] : []
  }

  #ended(end: StreamEnd, now: number): RegisterAction[] {
    if (this.#phase === 'leaving') {
      this.#phase = 'closed'
      return [{ kind: 'gone' }]
    }
    if (this.#phase !== 'open') return []
    this.#phase = 'waiting'
    this.#lastError = `status ${end.code}: ${end.details}`
    const retryInMs = this.#delay()
    this.#connectAt = now + retryInMs
    return [{ kind: 'lost', reason: this.#lastError, retryInMs }]
  }

  /** Full jitter at first, because all workloads of a restarted control plane come back together. */
  #delay(): number {
    const ceiling = Math.min(MAX_MS, INITIAL_MS * FACTOR ** this.#attempt)
    const least = this.#attempt === 0 ? 0.1 : 0.7
    this.#attempt++
    return ceiling * (least + (1 - least) * (this.#random.u32() / 2 ** 32))
  }

  #goodbye(): RegisterAction[] {
    if (this.#phase !== 'open') {
      this.#phase = 'closed'
      return [{ kind: 'gone' }]
    }
    this.#phase = 'leaving'
    return [{ kind: 'send', registration: { ...this.#registration, endpoints: [] } }, { kind: 'halfClose' }]
  }
}
