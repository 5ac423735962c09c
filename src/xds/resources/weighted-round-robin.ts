import {
  type ClientSideWeightedRoundRobin,
  ClientSideWeightedRoundRobinSchema,
} from '../../gen/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin_pb.js'
import { type WeightedRoundRobinSpec, weightedRoundRobinDefaults } from '../../model/cluster.ts'
import { durationMs, positiveMs } from './duration.ts'
import { type Field, names } from './field.ts'

const LEAST_UPDATE_MS = 100

const fields = names(`enable_oob_load_report oob_reporting_period blackout_period weight_expiration_period
  weight_update_period error_utilization_penalty`)

/** gRFC A58, whose defaults these are; updates more often than each 100 ms become that, a negative penalty is refused. */
export function weightedRoundRobin(field: Field, message: ClientSideWeightedRoundRobin): WeightedRoundRobinSpec {
  field.onlyReads(ClientSideWeightedRoundRobinSchema, message, fields)
  const { blackoutMs, expirationMs, updateMs } = weightedRoundRobinDefaults
  const errorPenalty = message.errorUtilizationPenalty ?? weightedRoundRobinDefaults.errorPenalty
  if (!(errorPenalty >= 0 && Number.isFinite(errorPenalty)))
    field.at('error_utilization_penalty').fail(`must not be negative, is ${errorPenalty}`)
  const period = positiveMs(field.at('oob_reporting_period'), message.oobReportingPeriod, 10_000)
  return {
    policy: 'WEIGHTED_ROUND_ROBIN',
    oobReportingMs: message.enableOobLoadReport === true ? period : null,
    blackoutMs: durationMs(field.at('blackout_period'), message.blackoutPeriod, blackoutMs),
    expirationMs: durationMs(field.at('weight_expiration_period'), message.weightExpirationPeriod, expirationMs),
    updateMs: Math.max(
      LEAST_UPDATE_MS,
      durationMs(field.at('weight_update_period'), message.weightUpdatePeriod, updateMs),
    ),
    errorPenalty,
  }
}
