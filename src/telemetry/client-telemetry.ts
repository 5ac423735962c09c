import type { Span } from '@opentelemetry/api'
import type { CallContext } from './context.ts'

/** What telemetry reads of an outbound call. */
export interface CallHead {
  readonly method: string
  /** As dialled. */
  readonly authority: string
  /** With query. */
  readonly path: string
}

/**
 * What a client transport asks of tracing. Metrics come from the engine's CallEvents instead. null in its place = off.
 *
 *     const context = telemetry.begin(present)                                   // once per call, in the caller's context
 *     const span = telemetry.attempt(context, head, ip, port, 0, present, headers)  // per attempt: appends to `headers`
 *     telemetry.quietly(span, () => pool.dispatch(...))
 *     telemetry.end(span, 200, '')                                               // once per attempt
 */
export interface ClientTelemetry {
  /** The context that the call belongs to. `present`: `carriedBit`s of the caller's own headers, or-ed. */
  begin(present: number): CallContext
  /**
   * Appends the propagation headers of one attempt. `resend` counts the attempts before it.
   * @returns the attempt's span, or null when nothing is recorded (the usual case)
   */
  attempt(
    context: CallContext,
    head: CallHead,
    address: string,
    port: number,
    resend: number,
    present: number,
    headers: string[],
  ): Span | null
  /** Runs `send` such that other instrumentation of the same HTTP client neither adds a span nor a second traceparent. */
  quietly<T>(span: Span | null, send: () => T): T
  /** `status` 0 = no response; `error`: low-cardinality reason, '' = none. Takes null so that callers need no branch. */
  end(span: Span | null, status: number, error: string): void
}
