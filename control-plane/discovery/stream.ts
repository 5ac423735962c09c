import { TypeUrl } from '../../src/xds/proto.ts'
import type { EncodedResource } from '../translate/types.ts'
import {
  type Lookup,
  type RequestVerdict,
  Subscription,
  type SubscriptionRequest,
  type SubscriptionStatus,
} from './subscription.ts'

/** What a stream reads from: the current content as its client may see it. */
export interface ResourceView {
  /** version_info of responses made now. */
  readonly version: string
  lookup(typeUrl: string, name: string): EncodedResource | undefined
}

export interface StreamResponse {
  readonly typeUrl: string
  readonly version: string
  readonly nonce: string
  readonly resources: readonly EncodedResource[]
}

export interface Poll {
  readonly responses: readonly StreamResponse[]
  /** Clock time at which to poll again even if nothing happens; Infinity = none. */
  readonly wakeAt: number
}

/** Make before break: what is referred to goes first. Types that are not listed come last. */
const order: readonly string[] = [TypeUrl.cluster, TypeUrl.endpoints, TypeUrl.listener, TypeUrl.route, TypeUrl.secret]
const fullState: ReadonlySet<string> = new Set([TypeUrl.listener, TypeUrl.cluster])
const targets = [TypeUrl.cluster, TypeUrl.endpoints]
const referrers = [TypeUrl.listener, TypeUrl.route]

/** A client that asks for more types than this is broken. */
const MAX_TYPES = 32

/**
 * One aggregated stream, state of the world: a Subscription for each type, and the order among them. Within one push
 * clusters go before endpoints, listeners and routes; listeners and routes wait while clusters or endpoints of the same
 * push are held up by an unanswered response; clusters are removed only when the client has ACKed routes without them.
 */
export class DiscoveryStream {
  readonly #view: ResourceView
  readonly #subscriptions = new Map<string, Subscription>()
  #nonces = 0

  constructor(view: ResourceView) {
    this.#view = view
  }

  /** Throws RangeError when the client asks for too many types. */
  onRequest(typeUrl: string, request: SubscriptionRequest, now: number): RequestVerdict {
    let subscription = this.#subscriptions.get(typeUrl)
    if (subscription === undefined) {
      if (this.#subscriptions.size === MAX_TYPES) throw new RangeError(`more than ${MAX_TYPES} types on one stream`)
      subscription = new Subscription({
        fullState: fullState.has(typeUrl),
        nextNonce: () => (++this.#nonces).toString(36),
      })
      this.#subscriptions.set(typeUrl, subscription)
    }
    return subscription.onRequest(request, now)
  }

  names(typeUrl: string): ReadonlySet<string> {
    return this.#subscriptions.get(typeUrl)?.names ?? new Set()
  }

  get types(): Iterable<string> {
    return this.#subscriptions.keys()
  }

  /** The content of `name` may have changed; polls then look at it. */
  suspect(typeUrl: string, name: string): void {
    this.#subscriptions.get(typeUrl)?.suspect(name)
  }

  /** Everything that is due now. */
  poll(now: number): Poll {
    const version = this.#view.version
    const responses: StreamResponse[] = []
    let wakeAt = Number.POSITIVE_INFINITY
    for (const typeUrl of this.#ordered()) {
      if (referrers.includes(typeUrl as never) && this.#targetsHeldUp()) continue
      const subscription = this.#subscriptions.get(typeUrl)!
      const due = subscription.next(this.#lookup(typeUrl), version, now, this.#keepsRemoved(typeUrl))
      if (due === undefined) continue
      if ('at' in due) wakeAt = Math.min(wakeAt, due.at)
      else responses.push({ typeUrl, version, nonce: due.nonce, resources: due.resources })
    }
    return { responses, wakeAt }
  }

  /** When the oldest unanswered response was sent; Infinity = all are answered. */
  get unansweredSince(): number {
    let oldest = Number.POSITIVE_INFINITY
    for (const s of this.#subscriptions.values()) oldest = Math.min(oldest, s.unansweredSince ?? oldest)
    return oldest
  }

  /** The client has answered for all endpoints that it is to have now, or asks for none. */
  get hasCurrentEndpoints(): boolean {
    const s = this.#subscriptions.get(TypeUrl.endpoints)
    return s === undefined || (s.unansweredSince === undefined && !s.pending(this.#lookup(TypeUrl.endpoints), true))
  }

  status(): ReadonlyMap<string, SubscriptionStatus> {
    const result = new Map<string, SubscriptionStatus>()
    for (const typeUrl of this.#ordered())
      result.set(typeUrl, this.#subscriptions.get(typeUrl)!.status(this.#lookup(typeUrl)))
    return result
  }

  #lookup(typeUrl: string): Lookup {
    return (name) => this.#view.lookup(typeUrl, name)
  }

  #ordered(): string[] {
    const rank = (typeUrl: string) => (order.indexOf(typeUrl) + order.length + 1) % (order.length + 1)
    return [...this.#subscriptions.keys()].sort((a, b) => rank(a) - rank(b))
  }

  #targetsHeldUp(): boolean {
    return targets.some((typeUrl) => {
      const s = this.#subscriptions.get(typeUrl)
      return s?.unansweredSince !== undefined && s.pending(this.#lookup(typeUrl), true)
    })
  }

  /** While listeners or routes are on their way, or were refused, the client may still use what has been removed. */
  #keepsRemoved(typeUrl: string): boolean {
    if (!targets.includes(typeUrl as never)) return false
    return referrers.some((other) => {
      const s = this.#subscriptions.get(other)
      return s !== undefined && (s.refused || s.unansweredSince !== undefined || s.pending(this.#lookup(other), false))
    })
  }
}
