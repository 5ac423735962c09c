/**
 * What the hops of one request tell each other about repeats, so that they do not multiply: whoever called what failed repeats
 * it, and nobody above (docs/decisions). One per inbound request, shared by the calls that are made in handling it.
 */
export interface RetryTree {
  /** It is a repeat by some hop above: a hop below repeats nothing that may have been executed. */
  readonly repeated: boolean
  /** A call below failed for good though it was repeated, or might have been: a failing answer is to say so. */
  settle(): void
}

/** On requests: this is a repeat of something that may have been executed. Value "1". */
export const REPEAT_HEADER = 'x-inmesh-repeat'
/** On failing answers: hops below have repeated what failed as often as they may. Value "1". */
export const SPENT_HEADER = 'x-inmesh-retries-spent'
