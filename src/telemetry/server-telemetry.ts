import type { Peer } from '../model/peer.ts'
import type { CallContext } from './context.ts'

/** What telemetry reads of an inbound request, before anything was decided about it. */
export interface RequestHead {
  readonly method: string
  readonly authority: string
  /** With query. */
  readonly path: string
  /** null = plaintext. */
  readonly peer: Peer | null
  /** IP address of the socket's peer. */
  readonly remoteAddress: string
  /** Lower-case name. */
  header(name: string): string | undefined
}

/** An inbound request in flight: the context of its handler's calls, and what its end needs. Opaque but for `requestId`. */
export interface ServerRequest extends CallContext {
  /** To be set on the request: its own x-request-id when a mesh peer sent one, else a new one. */
  readonly requestId: string
}

/**
 * What a server tells telemetry, whichever its protocol. null in its place = telemetry is off.
 *
 *     const seen = telemetry.start(head)
 *     telemetry.run(seen, listener, req, res)   // or a local reply, without run
 *     telemetry.end(seen, res.statusCode, '')   // exactly once, when the response is finished or its connection is gone
 */
export interface ServerTelemetry {
  start(head: RequestHead): ServerRequest
  /** Calls `handler(a, b)` such that the calls which it makes, now and later, carry the trace. */
  run<A, B>(request: ServerRequest, handler: (a: A, b: B) => void, a: A, b: B): void
  /** `status` 0 = the client went away before the head. `flags`: Envoy's response flags, '' = none. */
  end(request: ServerRequest, status: number, flags: string): void
}
