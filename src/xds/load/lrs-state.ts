import type { MessageInitShape } from '@bufbuild/protobuf'
import type { NodeSchema } from '../../gen/envoy/config/core/v3/base_pb.js'
import type { Random } from '../../model/clock.ts'
import type { ClusterLoad } from '../../model/load-stats.ts'
import type { StreamEnd } from '../../model/transport.ts'
import { Backoff, streamBackoff } from '../backoff.ts'
import { helloMessage, type LoadOrder, readOrder, reportMessage } from './messages.ts'

export type LrsEvent =
  /** Whether any cluster asks for reports. */
  | { readonly kind: 'wanted'; readonly wanted: boolean }
  | { readonly kind: 'response'; readonly bytes: Uint8Array }
  | { readonly kind: 'ended'; readonly end: StreamEnd }
  /** A new stream with the credentials of now. */
  | { readonly kind: 'reconnect' }
  /** What was taken for a 'take'. */
  | { readonly kind: 'taken'; readonly loads: readonly ClusterLoad[] }
  | { readonly kind: 'tick' }

export type LrsAction =
  | { readonly kind: 'connect' }
  | { readonly kind: 'disconnect' }
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  /** To be answered with 'taken'. */
  | { readonly kind: 'take'; readonly clusters: ReadonlySet<string> | null }
  | { readonly kind: 'lost'; readonly reason: string; readonly retryInMs: number }

type State =
  | { readonly kind: 'off' }
  | { readonly kind: 'waiting'; readonly until: number }
  | { readonly kind: 'open'; readonly order: LoadOrder | null; readonly due: number }

/** gRPC status: the server has no such service, so it is not asked again before something changes. */
const UNIMPLEMENTED = 12

/**
 * One stream of LoadReportingService (gRFC A27): hello, then a report each interval that the server names. There is one while a
 * cluster wants it. Reports with nothing in them are left out, but for the first after one that had something.
 */
export class LrsState {
  readonly #node: MessageInitShape<typeof NodeSchema>
  readonly #backoff: Backoff
  #state: State = { kind: 'off' }
  /** What is counted now is counted since then. */
  #since = 0
  #quiet = true

  constructor(node: MessageInitShape<typeof NodeSchema>, random: Random) {
    this.#node = node
    this.#backoff = new Backoff(streamBackoff, random)
  }

  /** When a 'tick' is due; Infinity = never. */
  get deadline(): number {
    const state = this.#state
    return state.kind === 'off' ? Number.POSITIVE_INFINITY : state.kind === 'waiting' ? state.until : state.due
  }

  step(event: LrsEvent, now: number): LrsAction[] {
    switch (event.kind) {
      case 'wanted':
        return this.#wanted(event.wanted, now)
      case 'response':
        return this.#response(event.bytes, now)
      case 'ended':
        return this.#ended(event.end, now)
      case 'reconnect':
        return this.#state.kind === 'off' ? [] : [{ kind: 'disconnect' }, ...this.#connect()]
      case 'taken':
        return this.#taken(event.loads, now)
      case 'tick':
        return this.#tick(now)
    }
  }

  #wanted(wanted: boolean, now: number): LrsAction[] {
    const isOff = this.#state.kind === 'off'
    if (wanted && isOff) {
      this.#since = now
      this.#backoff.reset()
      return this.#connect()
    }
    if (wanted || isOff) return []
    this.#state = { kind: 'off' }
    return [{ kind: 'disconnect' }]
  }

  #connect(): LrsAction[] {
    this.#state = { kind: 'open', order: null, due: Number.POSITIVE_INFINITY }
    return [{ kind: 'connect' }, { kind: 'send', bytes: helloMessage(this.#node) }]
  }

  #response(bytes: Uint8Array, now: number): LrsAction[] {
    if (this.#state.kind !== 'open') return []
    const order = readOrder(bytes)
    if (typeof order === 'string') return [{ kind: 'disconnect' }, ...this.#lost(order, now)]
    this.#backoff.reset()
    this.#state = { kind: 'open', order, due: now + order.intervalMs }
    return []
  }

  #ended({ code, details }: StreamEnd, now: number): LrsAction[] {
    if (this.#state.kind !== 'open') return []
    if (code === UNIMPLEMENTED) {
      this.#state = { kind: 'waiting', until: Number.POSITIVE_INFINITY }
      return [{ kind: 'lost', reason: 'the server takes no load reports', retryInMs: Number.POSITIVE_INFINITY }]
    }
    return this.#lost(details || `the stream ended with status ${code}`, now)
  }

  #lost(reason: string, now: number): LrsAction[] {
    const retryInMs = this.#backoff.next()
    this.#state = { kind: 'waiting', until: now + retryInMs }
    return [{ kind: 'lost', reason, retryInMs }]
  }

  #tick(now: number): LrsAction[] {
    const state = this.#state
    if (now < this.deadline || state.kind === 'off') return []
    if (state.kind === 'waiting') return this.#connect()
    // A loop that stood still reports once, not once for each interval that it missed.
    this.#state = { ...state, due: now + state.order!.intervalMs }
    return [{ kind: 'take', clusters: state.order!.clusters }]
  }

  #taken(loads: readonly ClusterLoad[], now: number): LrsAction[] {
    const intervalMs = now - this.#since
    this.#since = now
    const quiet = loads.length === 0
    if (quiet && this.#quiet) return []
    this.#quiet = quiet
    return [{ kind: 'send', bytes: reportMessage(loads, intervalMs) }]
  }
}
