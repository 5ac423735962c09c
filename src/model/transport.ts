/**
 * A way to the control plane, in bytes. What speaks over it (xDS, registration) knows no gRPC library; what connects
 * (src/xds/transport.ts, tests in memory) knows no message.
 */
export interface Transport {
  /**
   * Opens one bidirectional stream on a connection of its own, with the credentials of this moment. Never throws:
   * what goes wrong is reported to `handlers.ended`, asynchronously.
   */
  open(method: string, handlers: StreamHandlers): Stream
}

export interface Stream {
  /** Queues a message; `sent` is called once it went to a connection that stands. Nothing after `halfClose`. */
  send(message: Uint8Array, sent?: () => void): void
  /** Asks for exactly one more message. */
  read(): void
  /** No more messages from us; the server may go on. */
  halfClose(): void
  /** Ends the stream at once, in both directions; `ended` is not called any more. */
  cancel(): void
}

export interface StreamHandlers {
  message(message: Uint8Array): void
  /** Once, at last. */
  ended(end: StreamEnd): void
}

/** How a stream ended: a gRPC status. Code 0 is a clean end. */
export interface StreamEnd {
  readonly code: number
  readonly details: string
}
