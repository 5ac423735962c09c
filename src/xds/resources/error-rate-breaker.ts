import type { ErrorRateBreaker } from '../../gen/inmesh/v1/extensions_pb.js'
import type { BreakerSpec } from '../../model/cluster.ts'
import { positiveMs } from './duration.ts'
import type { Field } from './field.ts'

/** inmesh.v1.ErrorRateBreaker, of a cluster or of a route. */
export function errorRateBreaker(field: Field, message: ErrorRateBreaker): BreakerSpec {
  const { thresholdPercent } = message
  if (!(thresholdPercent > 0 && thresholdPercent <= 100))
    field.at('threshold_percent').fail(`must be more than 0 and at most 100, is ${thresholdPercent}`)
  const recoveryMs = positiveMs(field.at('recovery'), message.recovery, 5_000)
  return {
    thresholdPercent,
    windowMs: positiveMs(field.at('window'), message.window, 30_000),
    minimumRequests: Math.max(1, message.minimumRequests),
    recoveryMs,
    maxRecoveryMs: Math.max(recoveryMs, positiveMs(field.at('max_recovery'), message.maxRecovery, 30_000)),
    halfOpenProbes: Math.max(1, message.halfOpenProbes),
  }
}
