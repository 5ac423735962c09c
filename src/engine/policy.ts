import type { Call } from './call.ts'
import type { Outcome } from './outcome.ts'
import type { Rejection } from './rejection.ts'

/** Gates a call or learns from its attempts. Synchronous; every hook is optional; state lives in the ClusterRuntime. */
export interface Policy {
  /** Before the first attempt; a Rejection ends the call. */
  enter?(call: Call, now: number): Rejection | undefined
  /**
   * When the head of a response came, or when an attempt ended without one. A body that breaks after its head was
   * delivered is told as a second outcome, of kind Reset or the like.
   */
  outcome?(call: Call, outcome: Outcome, now: number): void
  /** Once for every `enter` that admitted, in reverse order; also for policies without `enter`. */
  leave?(call: Call, now: number): void
}
