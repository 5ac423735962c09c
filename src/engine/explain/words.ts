import type { BreakerSpec, LbSpec, LimitsSpec, OutlierSpec, RetryBudgetSpec } from '../../model/cluster.ts'
import type { FaultSpec, HashSpec, HedgeSpec, MirrorSpec, RetrySpec } from '../../model/route.ts'

// Policies in words, with units.

export function duration(ms: number): string {
  if (ms === Number.POSITIVE_INFINITY) return 'none'
  if (ms >= 1_000 && ms % 100 === 0) return `${ms / 1_000} s`
  return `${Math.round(ms * 100) / 100} ms`
}

/** 0.25 is "25 %". */
export function percent(share: number): string {
  return `${Math.round(share * 1_000_000) / 10_000} %`
}

export function retryWords(spec: RetrySpec): string {
  const on = [...spec.retryOn.filter((word) => word !== 'retriable-status-codes'), ...spec.statusCodes].join(', ')
  const parts = [`at most ${spec.numRetries} on ${on === '' ? 'nothing' : on}`]
  if (spec.perTryTimeoutMs !== Number.POSITIVE_INFINITY) parts.push(`${duration(spec.perTryTimeoutMs)} per try`)
  parts.push(`back-off ${duration(spec.baseIntervalMs)} to ${duration(spec.maxIntervalMs)}`)
  parts.push(
    spec.retryNonIdempotent ? 'also of what is not idempotent' : 'not of what may have run and is not idempotent',
  )
  return parts.join('; ')
}

export function hedgeWords(spec: HedgeSpec): string {
  const more = `at most ${spec.maxHedges} more`
  if (spec.delayMs !== null) return `${more} after ${duration(spec.delayMs)}`
  if (spec.percentile !== null) return `${more} after the p${spec.percentile} of latencies`
  return `${more} at a per-try timeout`
}

export function faultWords({ delay, abort }: FaultSpec): string {
  const parts: string[] = []
  if (delay !== null) {
    const how = delay.ms === null ? 'as the request says' : duration(delay.ms)
    parts.push(`delay ${how} for ${percent(delay.perMillion / 1_000_000)}`)
  }
  if (abort !== null) {
    const { how } = abort
    const what =
      how.kind === 'http' ? `HTTP ${how.status}` : how.kind === 'grpc' ? `gRPC ${how.code}` : 'as the request says'
    parts.push(`abort ${what} for ${percent(abort.perMillion / 1_000_000)}`)
  }
  return parts.join('; ')
}

export function mirrorWords(spec: MirrorSpec): string {
  return `${percent(spec.perMillion / 1_000_000)} to ${spec.cluster}${spec.compare ? ', answers compared' : ''}`
}

export function hashWords(spec: HashSpec): string {
  switch (spec.kind) {
    case 'header':
      return `header ${spec.name}`
    case 'cookie':
      return `cookie ${spec.name}${spec.ttlMs === null ? '' : ', made when absent'}`
    case 'query':
      return `query parameter ${spec.name}`
    case 'process':
      return 'this process'
    case 'source-ip':
      return 'source IP'
  }
}

export function balancerWords(lb: LbSpec): string {
  switch (lb.policy) {
    case 'LEAST_REQUEST':
      return `LEAST_REQUEST of ${lb.choiceCount}`
    case 'WEIGHTED_ROUND_ROBIN':
      return `WEIGHTED_ROUND_ROBIN by reported load${lb.oobReportingMs === null ? '' : `, asked for every ${duration(lb.oobReportingMs)}`}`
    case 'PEAK_EWMA':
      return `PEAK_EWMA over ${duration(lb.decayMs)}`
    case 'RING_HASH':
      return `RING_HASH, ring of ${lb.minimumRingSize} to ${lb.maximumRingSize}`
    case 'MAGLEV':
      return `MAGLEV, table of ${lb.tableSize}`
    default:
      return lb.policy
  }
}

export function outlierWords(spec: OutlierSpec): string {
  const parts: string[] = []
  if (spec.consecutive5xx > 0) parts.push(`${spec.consecutive5xx} errors in a row`)
  if (spec.consecutiveGatewayErrors > 0) parts.push(`${spec.consecutiveGatewayErrors} gateway errors in a row`)
  if (spec.splitLocalOrigin && spec.consecutiveLocalOrigin > 0)
    parts.push(`${spec.consecutiveLocalOrigin} connect failures, resets or timeouts in a row`)
  if (spec.successRate !== null) parts.push('success rate')
  if (spec.failurePercentage !== null) parts.push(`${spec.failurePercentage.thresholdPercent} % failed`)
  const cause = parts.length === 0 ? 'nothing' : parts.join(' or ')
  return `ejects on ${cause} for ${duration(spec.baseEjectionTimeMs)} and more, at most ${spec.maxEjectionPercent} % of the hosts`
}

export function breakerWords(spec: BreakerSpec): string {
  const { thresholdPercent, minimumRequests, windowMs, recoveryMs, maxRecoveryMs } = spec
  return `opens above ${thresholdPercent} % failed of ${minimumRequests} or more calls in ${duration(windowMs)}, for ${duration(recoveryMs)} to ${duration(maxRecoveryMs)}`
}

export function budgetWords(spec: RetryBudgetSpec): string {
  return spec.kind === 'window'
    ? `${spec.percent} % of the calls of ${duration(spec.windowMs)}, and ${spec.floorPerSecond} a second`
    : `${spec.percent} % of the calls under way, at least ${spec.minConcurrency}`
}

/** '' = no limit. */
export function limitsWords(limits: LimitsSpec): string {
  const names: readonly (readonly [keyof LimitsSpec, string])[] = [
    ['maxRequests', 'requests'],
    ['maxPendingRequests', 'waiting for a connection'],
    ['maxConnections', 'connections per host'],
    ['maxRetries', 'retries at one time'],
    ['maxRequestsPerConnection', 'requests per connection'],
  ]
  return names
    .filter(([key]) => limits[key] !== Number.POSITIVE_INFINITY)
    .map(([key, name]) => `${limits[key]} ${name}`)
    .join(', ')
}
