import * as z from 'zod'
import { ownBalancers } from '../../src/model/cluster.ts'
import { checkConsistentHash, consistentHash } from './consistent-hash.ts'
import { duration, percent } from './fields.ts'
import type { Report } from './kind.ts'
import { checkLocalityLb, localityLbSetting } from './locality-lb.ts'

const warmup = z.strictObject({
  duration: duration(1).describe('How long a new host takes to its full share.'),
  minimumPercent: percent.default(10).describe('Share that it begins with.'),
  aggression: z.number().min(1).default(1).describe('1 = linear; more = faster at first.'),
})

/** Values of `simple` that start hosts slowly; by default it is ROUND_ROBIN or LEAST_REQUEST. */
const slowStarters: readonly string[] = ['UNSPECIFIED', 'ROUND_ROBIN', 'LEAST_REQUEST', 'LEAST_CONN', 'PEAK_EWMA']

/** Istio's LoadBalancerSettings, and inmesh's own policies. */
export const loadBalancer = z.strictObject({
  simple: z
    .enum([
      ...(['UNSPECIFIED', 'ROUND_ROBIN', 'LEAST_REQUEST', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH'] as const),
      'WEIGHTED_ROUND_ROBIN',
      ...ownBalancers,
    ])
    .default('UNSPECIFIED')
    .describe(
      `LEAST_CONN is Istio's old name of LEAST_REQUEST; UNSPECIFIED leaves it to the default; PASSTHROUGH dials what the caller named, outside of the mesh. Not Istio's: WEIGHTED_ROUND_ROBIN, by reported load, and ${ownBalancers.join(', ')} (docs/traffic/load-balancing.md).`,
    ),
  consistentHash: consistentHash.optional().describe('Equal keys go to equal hosts. Not together with `simple`.'),
  localityLbSetting: localityLbSetting
    .optional()
    .describe("Replaces the mesh's whole. Failover counts only where outlierDetection is set."),
  warmupDurationSecs: duration(1).optional().describe('Older spelling of warmup.duration.'),
  warmup: warmup.optional().describe('Slow start of new hosts; ROUND_ROBIN and LEAST_REQUEST only.'),
})

export type LoadBalancer = z.output<typeof loadBalancer>

/** What Istio refuses in it, and what has no effect. */
export function checkLoadBalancer(lb: LoadBalancer, path: readonly (string | number)[], report: Report): void {
  if (lb.consistentHash !== undefined) {
    if (lb.simple !== 'UNSPECIFIED') report('error', [...path, 'simple'], 'cannot stand beside consistentHash')
    checkConsistentHash(lb.consistentHash, [...path, 'consistentHash'], report)
  }
  if (lb.localityLbSetting !== undefined) checkLocalityLb(lb.localityLbSetting, [...path, 'localityLbSetting'], report)
  const slow = lb.warmup !== undefined ? 'warmup' : lb.warmupDurationSecs !== undefined ? 'warmupDurationSecs' : null
  if (lb.warmup !== undefined && lb.warmupDurationSecs !== undefined)
    report('error', [...path, 'warmupDurationSecs'], 'cannot stand beside warmup')
  if (slow !== null && (lb.consistentHash !== undefined || !slowStarters.includes(lb.simple)))
    report(
      'warning',
      [...path, slow],
      'has no effect: only ROUND_ROBIN, LEAST_REQUEST and PEAK_EWMA start hosts slowly',
    )
  if (lb.simple === 'PASSTHROUGH')
    report('warning', [...path, 'simple'], 'such calls leave the mesh: no policy, no mutual TLS, no retries')
}
