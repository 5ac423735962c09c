import {
  Channel,
  type ChannelCredentials,
  type ChannelOptions,
  connectivityState,
  Metadata,
  status,
} from '@grpc/grpc-js'
import type { Stream, StreamHandlers, Transport } from '../model/transport.ts'

/** Where and as whom to connect. */
export interface GrpcTarget {
  /** gRPC target, usually "host:port". */
  readonly target: string
  readonly credentials: ChannelCredentials
  /** Over the defaults below. */
  readonly options?: ChannelOptions
}

/**
 * A silent peer is found after 10 s + 5 s. Reconnecting is the caller's: each stream has a subchannel of its own, so
 * that neither grpc-js's back-off nor the credentials of an earlier stream play a part.
 */
const defaults: ChannelOptions = {
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_retries': 0,
  // One resource may be 4 MiB; a response with several, and with one that is refused for its size, must still be read.
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
}

/** @param target asked once per stream, so that rotated credentials count from the next stream on. */
export function grpcTransport(target: () => GrpcTarget): Transport {
  return {
    open(method, handlers) {
      try {
        return new GrpcStream(target(), method, handlers)
      } catch (error) {
        const details = error instanceof Error ? error.message : String(error)
        queueMicrotask(() => handlers.ended({ code: status.UNAVAILABLE, details }))
        return deadStream
      }
    },
  }
}

const deadStream: Stream = { send() {}, read() {}, halfClose() {}, cancel() {} }

type RawCall = ReturnType<Channel['createCall']>

/**
 * grpc-js's low-level call, because only it reads message by message: its stream objects read 16 ahead. Until it has
 * a connection it keeps one message only, so the next is written when the one before has left.
 */
class GrpcStream implements Stream {
  readonly #channel: Channel
  readonly #call: RawCall
  readonly #queue: { message: Uint8Array; sent: (() => void) | undefined }[] = []
  /** Callbacks of messages that grpc-js took before it had a connection; null = it has one. */
  #unsent: (() => void)[] | null = []
  #writing = false
  #closing = false
  #over = false

  constructor(target: GrpcTarget, method: string, handlers: StreamHandlers) {
    this.#channel = new Channel(target.target, target.credentials, { ...defaults, ...target.options })
    this.#call = this.#channel.createCall(method, Number.POSITIVE_INFINITY, null, null, null)
    this.#call.start(new Metadata(), {
      onReceiveMetadata: () => undefined,
      onReceiveMessage: (message: Buffer) => {
        if (!this.#over) handlers.message(message)
      },
      onReceiveStatus: (end) => {
        if (this.#over) return
        this.#finish()
        handlers.ended({ code: end.code, details: end.details })
      },
    })
    this.#watchConnection()
  }

  send(message: Uint8Array, sent?: () => void): void {
    this.#queue.push({ message, sent })
    this.#write()
  }

  read(): void {
    if (!this.#over) this.#call.startRead()
  }

  halfClose(): void {
    this.#closing = true
    this.#write()
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#call.cancelWithStatus(status.CANCELLED, 'closed by this client')
    this.#channel.close()
  }

  #write(): void {
    if (this.#writing || this.#over) return
    const next = this.#queue.shift()
    if (next === undefined) {
      if (this.#closing) this.#call.halfClose()
      return
    }
    this.#writing = true
    const callback = (error?: Error | null) => {
      this.#writing = false
      if (this.#over) return
      if (error == null && next.sent !== undefined) this.#wasSent(next.sent)
      this.#write()
    }
    this.#call.sendMessageWithContext({ callback }, Buffer.from(next.message))
  }

  /** A write is reported as done when grpc-js buffered it; it counts as sent when the channel stands. */
  #wasSent(sent: () => void): void {
    if (this.#unsent === null) sent()
    else this.#unsent.push(sent)
  }

  #watchConnection(): void {
    if (this.#over) return
    const state = this.#channel.getConnectivityState(false)
    if (state === connectivityState.READY) {
      const unsent = this.#unsent ?? []
      this.#unsent = null
      for (const sent of unsent) sent()
    } else if (state !== connectivityState.SHUTDOWN) {
      this.#channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, () => this.#watchConnection())
    }
  }

  /** grpc-js reports the status from within its channel; closing it must wait for the next turn. */
  #finish(): void {
    this.#over = true
    setImmediate(() => this.#channel.close())
  }
}
