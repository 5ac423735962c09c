import type { Priority } from '../model/route.ts'
import type { Attempt } from './attempt.ts'
import type { Call } from './call.ts'
import type { HostRuntime } from './host.ts'
import type { Shadow } from './mirror.ts'
import type { Rejection } from './rejection.ts'
import type { RetryTree } from './retry-tree.ts'

/** What matching may look at. */
export interface RequestView {
  readonly method: string
  /** As dialled, lower case, with the port when one was given. */
  readonly authority: string
  /** With query. */
  readonly path: string
  /** `name` in lower case; several lines of one header are joined by ",". */
  header(name: string): string | undefined
  /** Names of all headers, lower case, for those who write down what a request was; absent = they are not known. */
  headerNames?(): readonly string[]
  /** The same, line by line; absent = this transport knows joined values only. */
  headerLines?(name: string): readonly string[]
}

/** One request of a caller: what a transport is to the engine. The transport makes one per call. */
export interface Exchange extends RequestView {
  /** What is written down as its application protocol, where its answers carry a status of gRPC; absent = HTTP. */
  readonly protocol?: 'grpc'
  /** By method (RFC 9110 section 9.2.2) or because of an Idempotency-Key. */
  readonly idempotent: boolean
  /**
   * What may be repeated beside what is idempotent: what ended with a code of gRPC that the policy names, because whoever wrote
   * the policy knows the method (gRFC A6). Absent = nothing.
   */
  readonly repeatsByCode?: boolean
  /** Could it be sent again from its start? May turn false at any time, never true again. */
  readonly replayable: boolean
  /** Monotonic ms of the engine's clock; Infinity = none. Beyond it nobody waits for the answer. */
  readonly callerDeadline: number
  /** IP address of whoever made the request in whose handling this call is made; absent = it is made on nobody's behalf. */
  readonly sourceAddress?: string | undefined
  /** Could it be sent a second time while the first goes on? Absent = no: it is never hedged. */
  readonly hedgeable?: boolean
  /** The head of its answer may come with the answer itself: a route's time until the head is not for it. Absent = no. */
  readonly lateHead?: boolean
  /** It rather waits, until its deadline, than fail because no host is there or none can be connected to. Absent = no. */
  readonly patient?: boolean
  /** The request says for itself how it is retried and timed out; see overrides.ts. Absent = no. */
  readonly overriding?: boolean
  /** The request in whose handling it is made, as far as repeats go; null or absent = it is the first of its tree. */
  readonly tree?: RetryTree | null
  /** Class of work that the call or the request in whose handling it is made names; null or absent = its route does. */
  readonly priority?: Priority | null
  /** Makes the object of one try and does not start it. */
  open(call: Call, host: HostRuntime): Attempt
  /** Starts a copy of the request elsewhere; must not throw, slow or fail the call. Absent = this transport mirrors nothing. */
  shadow?(shadow: Shadow, call: Call): void
  /**
   * No (full) answer of a peer will come. Called at most once, before or after a head was delivered, never after the
   * delivered attempt ended well and never after `Call.cancel`. The call is over: a new one may be started from inside.
   */
  reject(rejection: Rejection, cause: unknown): void
}
