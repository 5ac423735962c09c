import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import {
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from '../../src/gen/envoy/service/discovery/v3/discovery_pb.js'
import type { ResourceState } from '../../src/xds/status.ts'
import { type AdsAction, type AdsEvent, AdsState, type AdsStateOptions } from '../../src/xds/stream-state.ts'
import { AdsRules } from './ads-rules.ts'

/** An AdsState with a clock, and a wire of which the test is the other end. */
export class AdsHarness {
  readonly state: AdsState
  now = 0
  /** Requests of the current stream, as the server saw them. */
  requests: DiscoveryRequest[] = []
  actions: AdsAction[] = []
  rules = new AdsRules()
  streams = 0
  /** false = requests stay in the queue of a connection that does not stand yet. */
  connected = true
  #nonce = 0

  constructor(options: Partial<AdsStateOptions> = {}) {
    this.state = new AdsState({ node: { id: 'node-1' }, random: { u32: () => 2 ** 31 }, ...options })
  }

  step(event: AdsEvent): readonly AdsAction[] {
    const actions = this.state.step(event, this.now)
    this.actions.push(...actions)
    for (const action of actions) {
      if (action.kind === 'connect') {
        this.streams++
        this.requests = []
        this.rules = new AdsRules()
      } else if (action.kind === 'send') {
        const request = fromBinary(DiscoveryRequestSchema, action.bytes)
        this.requests.push(request)
        this.rules.requestSeen(request)
        if (this.connected) this.step({ kind: 'sent', request: action.request })
      }
    }
    return actions
  }

  subscribe(typeUrl: string, ...names: string[]): void {
    for (const name of names) this.step({ kind: 'subscribe', typeUrl, name })
    this.step({ kind: 'flush' })
  }

  unsubscribe(typeUrl: string, ...names: string[]): void {
    for (const name of names) this.step({ kind: 'unsubscribe', typeUrl, name })
    this.step({ kind: 'flush' })
  }

  respond(typeUrl: string, versionInfo: string, resources: readonly Any[], nonce = `n${++this.#nonce}`): string {
    this.rules.responseSent(typeUrl, versionInfo, nonce)
    const response = create(DiscoveryResponseSchema, { typeUrl, versionInfo, nonce, resources: [...resources] })
    this.step({ kind: 'response', bytes: toBinary(DiscoveryResponseSchema, response) })
    return nonce
  }

  end(code = 14, details = 'gone'): void {
    this.step({ kind: 'ended', end: { code, details } })
  }

  /** Lets time pass, with a tick at every deadline on the way. */
  wait(ms: number): void {
    const until = this.now + ms
    while (this.state.deadline <= until) {
      this.now = Math.max(this.now, this.state.deadline)
      this.step({ kind: 'tick' })
    }
    this.now = until
  }

  get last(): DiscoveryRequest {
    const last = this.requests.at(-1)
    if (last === undefined) throw new Error('no request was sent on this stream')
    return last
  }

  stateOf(typeUrl: string, name: string): ResourceState | undefined {
    return this.state.held(typeUrl, name)?.state
  }
}
