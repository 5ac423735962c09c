import type { MessageInitShape } from '@bufbuild/protobuf'
import type { NodeSchema } from '../../gen/envoy/config/core/v3/base_pb.js'
import type { Clock, Random } from '../../model/clock.ts'
import type { LoadSource } from '../../model/load-stats.ts'
import type { Logger } from '../../model/logger.ts'
import type { Stream, Transport } from '../../model/transport.ts'
import { type LrsAction, type LrsEvent, LrsState } from './lrs-state.ts'

export const LRS_METHOD = '/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats'

export interface LrsClientOptions {
  readonly node: MessageInitShape<typeof NodeSchema>
  /** Asked for each stream: the server that configuration comes from now. */
  readonly transport: () => Transport
  readonly source: LoadSource
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

/** Reports what is counted to one control plane, while it wants to know. The state machine is LrsState; this is its I/O. */
export class LrsClient {
  readonly #options: LrsClientOptions
  readonly #state: LrsState
  #stream: Stream | null = null
  #timer: NodeJS.Timeout | undefined

  constructor(options: LrsClientOptions) {
    this.#options = options
    this.#state = new LrsState(options.node, options.random)
  }

  /** Opens the stream when the first cluster wants it, closes it with the last. Idempotent. */
  want(wanted: boolean): void {
    this.#step({ kind: 'wanted', wanted })
  }

  reconnect(): void {
    this.#step({ kind: 'reconnect' })
  }

  #step(event: LrsEvent): void {
    for (const action of this.#state.step(event, this.#options.clock.now())) this.#act(action)
    this.#arm()
  }

  #act(action: LrsAction): void {
    switch (action.kind) {
      case 'connect':
        this.#connect()
        return
      case 'disconnect':
        this.#stream?.cancel()
        this.#stream = null
        return
      case 'send':
        this.#stream?.send(action.bytes)
        return
      case 'take':
        this.#step({ kind: 'taken', loads: this.#options.source.takeLoads(action.clusters) })
        return
      case 'lost': {
        const { reason, retryInMs } = action
        this.#options.logger.warn('load reports do not reach the control plane', { reason, retryInMs })
        return
      }
    }
  }

  #connect(): void {
    const stream = this.#options.transport().open(LRS_METHOD, {
      message: (bytes) => {
        if (stream !== this.#stream) return
        this.#step({ kind: 'response', bytes })
        stream.read()
      },
      ended: (end) => {
        if (stream !== this.#stream) return
        this.#stream = null
        this.#step({ kind: 'ended', end })
      },
    })
    this.#stream = stream
    stream.read()
  }

  #arm(): void {
    clearTimeout(this.#timer)
    const { deadline } = this.#state
    if (deadline === Number.POSITIVE_INFINITY) return
    const delay = Math.max(0, Math.ceil(deadline - this.#options.clock.now()))
    // A process that has nothing else to do may end.
    this.#timer = setTimeout(() => this.#step({ kind: 'tick' }), Math.min(delay, 2 ** 31 - 1)).unref()
  }
}
