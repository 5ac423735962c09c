import type { Call } from './call.ts'
import type { Outcome } from './outcome.ts'
import type { Rejection } from './rejection.ts'
import type { Route } from './route.ts'
import { sharedList } from './shared.ts'

/** An `enter` that has no answer yet: the policy will call `call.resume(refusal)` exactly once, also for a call that ended. */
export const HOLD = Symbol('hold')

/** Gates a call or learns from its attempts. Synchronous; every hook is optional; state lives in the ClusterRuntime. */
export interface Policy {
  /**
   * Before the first attempt. A Rejection ends the call; {@link HOLD} makes it wait until somebody says `call.resume()`. May
   * add to `call.holdMs`: the call then waits that long before its first attempt.
   */
  enter?(call: Call, now: number): Rejection | typeof HOLD | undefined
  /** What `enter` would refuse with at this moment, without letting anybody in; for explain. */
  peek?(now: number): Rejection | undefined
  /**
   * When the head of a response came, or when an attempt ended without one. A body that breaks after its head was
   * delivered is told as a second outcome, of kind Reset or the like.
   */
  outcome?(call: Call, outcome: Outcome, now: number): void
  /** Once for every `enter` that admitted, in reverse order; also for policies without `enter`. */
  leave?(call: Call, now: number): void
}

const listOf = sharedList<Policy>()

/** The policies of a route, and those of them that learn. Routes to one cluster mostly have the same ones: they share the lists. */
export function policyLists(policies: readonly Policy[]): Pick<Route, 'policies' | 'onOutcome'> {
  return { policies: listOf(policies), onOutcome: listOf(policies.filter((p) => p.outcome !== undefined)) }
}
