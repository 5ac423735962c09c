import type { Peer } from '../model/peer.ts'
import type { Priority } from '../model/route.ts'
import type { RequestView } from './exchange.ts'
import type { Rejection } from './rejection.ts'

/** A request as a server's transport shows it. `path` is the target as received, with query. */
export interface InboundRequest extends RequestView {
  /** null = plaintext. */
  readonly peer: Peer | null
  /** Monotonic ms after which nobody waits for the answer; Infinity = not known. */
  readonly deadline: number
  readonly remoteAddress: string
  readonly localAddress: string
  readonly localPort: number
  /** Class of work as its verified caller named it; null = DEFAULT. */
  readonly priority: Priority | null
  /** Path without query as policies compare it; the way in sets it once it is made comparable. */
  policyPath: string
  /** Its answer is on its way and may take long; the way in sets it, see {@link Admitted.streaming}. */
  eased: boolean
  /** Each line of the header by itself; lower-case name. */
  values(name: string): readonly string[]
  /** What the app must see instead: what policy saw is what is handed on. */
  setPath(path: string): void
  /** A header of the answer, whoever gives it; replaces one of that name. */
  setAnswerHeader(name: string, value: string): void
  /** What became of a request that was {@link Held}; called at most once, never after `cancel`. */
  resume(verdict: Rejection | Admitted): void
}

/** A wait that a step asks for, and how it ends. */
export interface Delay {
  readonly ms: number
  /** What the request is refused with afterwards; null = it goes on. */
  readonly refusal: Rejection | null
}

/** One step of the way in; immutable, what it counts lives in the InboundRuntime. */
export interface InboundStep {
  readonly name: string
  /** Why the request ends here, or a wait; undefined = it goes on. */
  admit(request: InboundRequest, now: number): Rejection | Delay | undefined
  /**
   * Once for every request that `admit` let pass, in reverse order, with the status of the answer (0 = none was given).
   * Absent = nothing was taken.
   */
  done?(request: InboundRequest, status: number): void
  /** See {@link Admitted.streaming}; at most once for each request, before `done`. */
  streaming?(request: InboundRequest): void
}

/** A request that may go on. */
export interface Admitted {
  /** When it is over, with the status of its answer (0 = none was given). Idempotent. */
  done(status: number): void
  /** Its answer has begun and may take as long as it likes: it is no work any more by which load is measured. Idempotent. */
  streaming(): void
}

/** A request that waits inside the way in; `InboundRequest.resume` tells how it ended. */
export interface Held {
  /** Its caller is gone: gives back what it had taken. Idempotent, also after `resume`. */
  cancel(): void
}
