import {
  type BreakerSpec,
  type ClusterSpec,
  clusterDefaults,
  type HealthCheckSpec,
  type LbSpec,
  type OutlierSpec,
  type RetryBudgetSpec,
  weightedRoundRobinDefaults,
} from '../../model/cluster.ts'
import {
  type FaultSpec,
  type HedgeSpec,
  type MirrorSpec,
  type RetrySpec,
  type RouteSpec,
  retryOnWords,
} from '../../model/route.ts'
import type { Dice } from './dice.ts'
import { breakerSpec, clusterSpec, noLimits, outlierSpec, retrySpec, routeSpec } from './specs.ts'

/** The configuration of a simulated world: each seed has another, with every feature in some. */

const Never = Number.POSITIVE_INFINITY

export function drawLb(dice: Dice): LbSpec {
  const slowStart = { windowMs: dice.between(100, 5_000), aggression: dice.oneOf([1, 2]), minWeightPercent: 10 }
  const slow = dice.chance(0.2) ? { slowStart } : {}
  const hashing = { balanceFactorPercent: dice.oneOf([0, 0, 120]), useHostname: false }
  switch (dice.int(0, 6)) {
    case 6:
      return { ...weightedRoundRobinDefaults, blackoutMs: dice.oneOf([0, 1_000]) }
    case 0:
      return { policy: 'ROUND_ROBIN', ...slow }
    case 1:
      return { policy: 'RANDOM' }
    case 2:
      return {
        policy: 'LEAST_REQUEST',
        choiceCount: dice.int(2, 3),
        activeRequestBias: dice.oneOf([0, 1, 2]),
        ...slow,
      }
    case 3:
      return { policy: 'PEAK_EWMA', decayMs: 10_000, ...slow }
    case 4:
      return {
        policy: 'RING_HASH',
        minimumRingSize: 16,
        maximumRingSize: 64,
        hashFunction: dice.oneOf(['XX_HASH', 'MURMUR_HASH_2']),
        ...hashing,
      }
    default:
      return { policy: 'MAGLEV', tableSize: 31, ...hashing }
  }
}

/** Without endpoints. */
export function drawCluster(dice: Dice, name: string): ClusterSpec {
  return clusterSpec(name, {
    lb: drawLb(dice),
    limits: {
      ...noLimits,
      maxRequests: dice.chance(0.3) ? dice.int(2, 20) : Never,
      maxRetries: dice.chance(0.3) ? dice.int(1, 4) : Never,
    },
    outlier: dice.chance(0.5) ? drawOutlier(dice) : null,
    healthChecks: dice.chance(0.2) ? [drawCheck(dice)] : [],
    breaker: dice.chance(0.5) ? drawBreaker(dice) : null,
    retryBudget: dice.chance(0.7) ? drawBudget(dice) : null,
    panicThresholdPercent: dice.chance(0.2) ? 50 : 0,
    priorities: { ...clusterDefaults.priorities, locality: dice.chance(0.2) ? 'weighted' : 'none' },
  })
}

function drawCheck(dice: Dice): HealthCheckSpec {
  return {
    timeoutMs: dice.between(100, 400),
    intervalMs: dice.between(50, 1_000),
    intervalJitterPercent: dice.oneOf([0, 20]),
    noTrafficIntervalMs: dice.between(50, 2_000),
    unhealthyThreshold: dice.int(1, 3),
    healthyThreshold: dice.int(1, 3),
    how: { kind: 'tcp' },
  }
}

function drawOutlier(dice: Dice): OutlierSpec {
  return outlierSpec({
    consecutive5xx: dice.chance(0.8) ? dice.int(1, 5) : 0,
    consecutiveGatewayErrors: dice.chance(0.4) ? dice.int(1, 5) : 0,
    intervalMs: dice.between(50, 1_000),
    baseEjectionTimeMs: dice.between(50, 2_000),
    maxEjectionTimeMs: dice.between(100, 4_000),
    maxEjectionPercent: dice.oneOf([10, 50, 100]),
  })
}

function drawBreaker(dice: Dice): BreakerSpec {
  const recoveryMs = dice.between(50, 1_000)
  return breakerSpec({
    thresholdPercent: dice.int(10, 90),
    windowMs: dice.oneOf([200, 1_000, 10_000]),
    minimumRequests: dice.int(1, 10),
    recoveryMs,
    maxRecoveryMs: recoveryMs * dice.int(1, 5),
    halfOpenProbes: dice.chance(0.7) ? 1 : dice.int(1, 3),
  })
}

function drawBudget(dice: Dice): RetryBudgetSpec {
  const percent = dice.oneOf([0, 5, 20, 100])
  if (dice.chance(0.5)) return { kind: 'concurrency', percent, minConcurrency: dice.int(1, 3) }
  return { kind: 'window', percent, windowMs: dice.oneOf([1_000, 10_000]), floorPerSecond: dice.oneOf([0.1, 1, 10]) }
}

function drawFault(dice: Dice): FaultSpec {
  const share = () => dice.oneOf([0, 100_000, 500_000, 1_000_000])
  return {
    delay: dice.chance(0.7) ? { ms: dice.between(1, 1_000), perMillion: share() } : null,
    abort: dice.chance(0.7) ? { perMillion: share(), how: { kind: 'http', status: 503 } } : null,
    headers: [],
    maxActive: dice.oneOf([1, 5, Never]),
  }
}

function drawMirror(dice: Dice): MirrorSpec {
  const cluster = dice.oneOf(['a', 'b'])
  return {
    cluster,
    perMillion: dice.oneOf([100_000, 1_000_000]),
    shadowSuffix: true,
    compare: false,
    maxBodyBytes: 0,
  }
}

function drawRetry(dice: Dice): RetrySpec {
  return retrySpec({
    retryOn: retryOnWords.filter(() => dice.chance(0.3)),
    statusCodes: [503, 500, 429].filter(() => dice.chance(0.3)),
    numRetries: dice.int(0, 4),
    perTryTimeoutMs: dice.chance(0.4) ? dice.between(20, 500) : Never,
    baseIntervalMs: dice.oneOf([1, 25, 200]),
    maxIntervalMs: dice.oneOf([250, 2_000]),
    avoidPreviousHosts: dice.chance(0.9),
    retryNonIdempotent: dice.chance(0.1),
  })
}

function drawHedge(dice: Dice): HedgeSpec {
  const fixed = dice.chance(0.6)
  return {
    delayMs: fixed ? dice.oneOf([0, 10, 50, 300]) : null,
    percentile: fixed ? null : dice.oneOf([50, 95]),
    maxHedges: dice.int(1, 3),
    onTryTimeout: dice.chance(0.4),
  }
}

/** To all of the clusters that there are. */
export function drawRoute(dice: Dice, names: Iterable<string>): RouteSpec {
  const clusters = [...names].map((name) => ({ name, weight: dice.int(1, 3) }))
  return routeSpec('a', {
    action: { kind: 'forward', clusters },
    timeoutMs: dice.chance(0.7) ? dice.between(50, 3_000) : Never,
    timeoutUntilHeaders: dice.chance(0.5),
    hash: dice.chance(0.5) ? [{ kind: 'header', name: 'x-key', terminal: false }] : [],
    retry: dice.chance(0.85) ? drawRetry(dice) : null,
    fault: dice.chance(0.25) ? drawFault(dice) : null,
    mirrors: dice.chance(0.25) ? [drawMirror(dice)] : [],
    hedge: dice.chance(0.4) ? drawHedge(dice) : null,
  })
}
