import { type ServerDuplexStream, type ServiceDefinition, status } from '@grpc/grpc-js'
import type { Translation } from '../translate/types.ts'
import { type AdsOptions, AdsStream } from './ads-stream.ts'
import { type Caller, callerKey, type Quota } from './caller.ts'
import { Interest } from './interest.ts'
import type { DiscoveryStream } from './stream.ts'

const bytes = (value: Buffer) => value

/** envoy.service.discovery.v3.AggregatedDiscoveryService; messages pass as bytes in both directions. */
export const aggregatedDiscoveryService: ServiceDefinition = {
  StreamAggregatedResources: {
    path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
    requestStream: true,
    responseStream: true,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  },
}

/** Streams polled in one turn of the event loop: ACKs and health checks stay served during a push to all. */
const SLICE = 500

/** ms between two looks at who has answered. */
const ANSWER_LOOK = 10

/** Aggregated discovery over gRPC. */
export class AdsServer {
  readonly #options: AdsOptions
  readonly #quota: Quota
  readonly #interest: Interest
  readonly #open = new Map<DiscoveryStream, AdsStream>()

  constructor(options: AdsOptions & { readonly quota: Quota }) {
    this.#options = options
    this.#quota = options.quota
    this.#interest = new Interest(options.logger)
  }

  /** What the current translation cannot give; for status. */
  get faults(): readonly string[] {
    return this.#interest.faults
  }

  /** Takes a new translation and sends what changed to those who asked for it; settles when all of it is written. */
  async push(translation: Translation): Promise<void> {
    let inSlice = 0
    for (const stream of this.#interest.advance(translation)) {
      if (inSlice++ === SLICE) {
        inSlice = 1
        await new Promise((resolve) => setImmediate(resolve))
      }
      this.#open.get(stream)?.poll()
    }
  }

  /**
   * Resolves when every client that is connected now has answered for the endpoints of now, or after `timeoutMs`. For those
   * who leave: from then on nobody calls them any more.
   */
  async endpointsAnswered(timeoutMs: number): Promise<void> {
    const { clock } = this.#options
    const until = clock.now() + timeoutMs
    let behind = [...this.#open.keys()]
    for (;;) {
      behind = behind.filter((stream) => this.#open.has(stream) && !stream.hasCurrentEndpoints)
      if (behind.length === 0 || clock.now() >= until) return
      await new Promise((resolve) => setTimeout(resolve, ANSWER_LOOK))
    }
  }

  /** Ends all streams; clients come back by their own back-off. */
  close(): void {
    for (const stream of this.#open.values()) stream.end(status.UNAVAILABLE, 'the control plane is shutting down')
  }

  /** Handler of StreamAggregatedResources. */
  serve(call: ServerDuplexStream<Buffer, Buffer>, caller: Caller): void {
    if (caller.kind === 'anonymous') {
      const details = 'discovery needs a client certificate; ask the certificate authority first'
      call.emit('error', { code: status.UNAUTHENTICATED, details })
      return
    }
    const giveBack = this.#quota.take(callerKey(caller))
    if (giveBack === undefined) {
      const details = `too many streams of ${callerKey(caller)}`
      call.emit('error', { code: status.RESOURCE_EXHAUSTED, details })
      return
    }
    const stream: AdsStream = new AdsStream(call, caller, this.#interest, this.#options, {
      onOpen: (opened) => this.#open.set(opened, stream),
      onFinish: (opened) => {
        giveBack()
        if (opened !== undefined) this.#open.delete(opened)
      },
    })
  }
}
