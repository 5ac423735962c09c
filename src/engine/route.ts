import type { Hash64 } from '../match/hash64.ts'
import type { CoalesceSpec, Priority, RouteSpec } from '../model/route.ts'
import type { Classifier } from './app-hooks.ts'
import type { Call } from './call.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { RequestView } from './exchange.ts'
import type { FormatView, ResponseHeaders } from './format.ts'
import type { Hedge } from './hedge.ts'
import type { Policy } from './policy.ts'
import type { Rejection } from './rejection.ts'
import type { RetryPolicy } from './retry-policy.ts'
import type { Session } from './session.ts'

/** A route to one cluster, compiled: what a call needs, and nothing to look up. Immutable. */
export interface Route {
  readonly kind: 'route'
  readonly name: string
  /** Its calls are copies of others: nobody waits for them, and they are not counted as requests. */
  readonly shadow: boolean
  readonly cluster: ClusterRuntime
  /** ms; Infinity = none. */
  readonly timeoutMs: number
  readonly timeoutUntilHeaders: boolean
  /** ms; Infinity = none. */
  readonly tryTimeoutMs: number
  /** null = never retried. */
  readonly retry: RetryPolicy | null
  /** null = never more than one try at a time. */
  readonly hedge: Hedge | null
  /** What makes `call.hash`; null = the cluster asks for none. */
  readonly hash: HashPolicy | null
  /** Finds the host that a call's session belongs to; null = calls have no sessions. */
  readonly session: Session | null
  /** Copies that go elsewhere; told after the gates, before the first attempt. null = none. */
  readonly mirror: Mirror | null
  /** What transports change in requests and answers; null = nothing. */
  readonly edits: RouteEdits | null
  /** The app's own judgement of answers; null = their status says it. */
  readonly classifier: Classifier | null
  /** As {@link RouteSpec} has them: what every call asks for stands here, in what is in the processor's cache anyway. */
  readonly idleTimeoutMs: RouteSpec['idleTimeoutMs']
  readonly priority: Priority | null
  readonly coalesce: CoalesceSpec | null
  /** In the order in which they are asked. */
  readonly policies: readonly Policy[]
  /** Those of `policies` that learn. */
  readonly onOutcome: readonly Policy[]
  readonly spec: RouteSpec
}

/** Computes the hash of a call (Envoy hash_policy): a new object, kept by the call; null = nothing to hash, any host. */
export interface HashPolicy {
  hash(call: Call): Hash64 | null
}

/** Starts the shadows of a call; must not throw, slow or fail it. */
export interface Mirror {
  start(call: Call, now: number): void
}

/** Path, authority and header changes, compiled. */
export interface RouteEdits {
  /** Path with query as it goes out; the same text when nothing changes. */
  path(path: string): string
  /** What the peer sees as authority; the same text when nothing changes. */
  authority(authority: string): string
  /** Edits the request's headers, flat name, value, in place; a request that leaves the mesh has no call. */
  request(headers: string[], request: RequestView, call: Call | null): void
  /** Of a peer's answer; null = none. */
  readonly response: ResponseEdits | null
  /** Of an answer made here in its place; null = none. */
  readonly local: ResponseEdits | null
}

/** Changes of the headers of an answer. */
export interface ResponseEdits {
  /** Every header that they may touch, lower case. */
  readonly names: readonly string[]
  /** In place. @returns something may have changed */
  apply(headers: ResponseHeaders, view: FormatView): boolean
}

/** Answered here: a direct response or redirect, or there is no route, or its cluster does not exist. */
export interface DirectTarget {
  readonly kind: 'direct'
  readonly name: string
  readonly rejection: Rejection
  /** null = none. */
  readonly edits: ResponseEdits | null
}

/** Dial what the caller named, without policies. */
export interface PassthroughTarget {
  readonly kind: 'passthrough'
  readonly name: string
  /** null = none. */
  readonly edits: RouteEdits | null
}

export type Target = Route | DirectTarget | PassthroughTarget
