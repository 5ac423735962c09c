import type { RouteSpec } from '../model/route.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { Policy } from './policy.ts'
import type { Rejection } from './rejection.ts'
import type { RetryPolicy } from './retry.ts'

/** A route to one cluster, compiled: what a call needs, and nothing to look up. Immutable. */
export interface Route {
  readonly kind: 'route'
  readonly name: string
  readonly cluster: ClusterRuntime
  /** ms; Infinity = none. */
  readonly timeoutMs: number
  readonly timeoutUntilHeaders: boolean
  /** ms; Infinity = none. */
  readonly tryTimeoutMs: number
  /** null = never retried. */
  readonly retry: RetryPolicy | null
  /** In the order in which they are asked. */
  readonly policies: readonly Policy[]
  /** Those of `policies` that learn. */
  readonly onOutcome: readonly Policy[]
  readonly spec: RouteSpec
}

/** Answered here: a direct response, or there is no route, or its cluster does not exist. */
export interface DirectTarget {
  readonly kind: 'direct'
  readonly name: string
  readonly rejection: Rejection
}

/** Dial what the caller named, without policies. */
export interface PassthroughTarget {
  readonly kind: 'passthrough'
  readonly name: string
}

export type Target = Route | DirectTarget | PassthroughTarget
