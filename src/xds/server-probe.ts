import type { Random } from '../model/clock.ts'
import type { Stream, Transport } from '../model/transport.ts'
import { Backoff, type BackoffOptions } from './backoff.ts'

export const ADS_METHOD = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources'

export interface ServerProbeOptions {
  readonly transport: Transport
  readonly random: Random
  readonly backoff: BackoffOptions
  /** What to ask; undefined = nothing just now. */
  request(): Uint8Array | undefined
  /** It sent a response. Called once. */
  answered(): void
}

/** Asks a server that is away, again and again, whether it is back (gRFC A71: the first response is what counts). */
export class ServerProbe {
  readonly #options: ServerProbeOptions
  readonly #backoff: Backoff
  #stream: Stream | null = null
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: ServerProbeOptions) {
    this.#options = options
    this.#backoff = new Backoff(options.backoff, options.random)
    this.#wait()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#stream?.cancel()
  }

  #wait(): void {
    this.#timer = setTimeout(() => this.#ask(), this.#backoff.next())
  }

  #ask(): void {
    const request = this.#options.request()
    if (request === undefined) {
      this.#wait()
      return
    }
    this.#stream = this.#options.transport.open(ADS_METHOD, {
      message: () => {
        if (this.#closed) return
        this.close()
        this.#options.answered()
      },
      ended: () => {
        this.#stream = null
        if (!this.#closed) this.#wait()
      },
    })
    this.#stream.send(request)
    this.#stream.read()
  }
}
