import { type HedgePolicy, HedgePolicySchema } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import type { Hedge } from '../../gen/inmesh/v1/extensions_pb.js'
import type { HedgeSpec, RetrySpec } from '../../model/route.ts'
import { positiveMs } from './duration.ts'
import { type Field, names } from './field.ts'

/**
 * Envoy's hedge_policy (only hedge_on_per_try_timeout does something there) and inmesh's own, which adds tries after a delay or
 * a percentile of latencies. Envoy's needs a retry policy: its tries are retries that do not cancel the one before.
 */
export function hedgeSpec(
  field: Field,
  policy: HedgePolicy | undefined,
  ours: Hedge | undefined,
  retry: RetrySpec | null,
): HedgeSpec | null {
  if (policy !== undefined) {
    field.onlyReads(HedgePolicySchema, policy, names('hedge_on_per_try_timeout initial_requests'))
    if (policy.initialRequests !== undefined && policy.initialRequests !== 1)
      field.at('initial_requests').warn('not supported, has no effect: one try begins')
  }
  const onTryTimeout = policy?.hedgeOnPerTryTimeout === true && retry !== null
  if (ours === undefined)
    return onTryTimeout ? { delayMs: null, percentile: null, maxHedges: retry?.numRetries ?? 1, onTryTimeout } : null
  const { percentile } = ours
  const both = (ours.delay !== undefined) === (percentile !== 0)
  if (both) field.at('inmesh.hedge').fail('needs either delay or percentile')
  if (!(percentile >= 0 && percentile < 100))
    field.at('inmesh.hedge.percentile').fail(`must be below 100, is ${percentile}`)
  return {
    delayMs: ours.delay === undefined ? null : positiveMs(field.at('inmesh.hedge.delay'), ours.delay, 0),
    percentile: percentile === 0 ? null : percentile,
    maxHedges: Math.max(1, ours.maxHedges),
    onTryTimeout,
  }
}
