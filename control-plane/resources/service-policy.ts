import * as z from 'zod'
import { ownBalancers } from '../../src/model/cluster.ts'
import { priorities } from '../../src/model/route.ts'
import { destinationHost, headerName, percent } from './fields.ts'
import type { Kind } from './kind.ts'

const seconds = z.number().positive().max(86_400)
const ms = z.int().min(1).max(86_400_000)
const wait = z.int().min(0).max(86_400_000)
const bytes = z
  .int()
  .min(0)
  .max(64 * 1024 * 1024)

const hedging = z
  .strictObject({
    delayMs: ms.optional().describe('ms until the next try is added.'),
    percentile: z
      .number()
      .min(1)
      .max(99.9)
      .optional()
      .describe('Added when a call takes longer than this share of the recent ones, percent.'),
    maxHedges: z.int().min(1).max(10).default(1).describe('Tries besides the first.'),
  })
  .refine(
    (hedge) => (hedge.delayMs === undefined) !== (hedge.percentile === undefined),
    'must have exactly one of delayMs, percentile',
  )

const healthCheck = z
  .strictObject({
    path: z.string().regex(/^\//, 'must begin with "/"').optional().describe('GET; 200 is healthy.'),
    tcp: z.literal(true).optional().describe('A connection is all that is asked for.'),
    grpc: z
      .union([z.literal(true), z.string()])
      .optional()
      .describe('grpc.health.v1; text = the service that is asked for.'),
    intervalMs: ms.default(10_000),
    timeoutMs: ms.default(1_000),
    healthyThreshold: z.int().min(1).max(100).default(2),
    unhealthyThreshold: z.int().min(1).max(100).default(3),
  })
  .refine(
    ({ path, tcp, grpc }) => [path, tcp, grpc].filter((how) => how !== undefined).length === 1,
    'must have exactly one of path, tcp, grpc',
  )

const loadShedding = z.strictObject({
  enabled: z.boolean().default(true),
  initialLimit: z.int().min(1).max(1_000_000).optional().describe('Requests under way at the start.'),
  minLimit: z.int().min(1).max(1_000_000).optional(),
  maxLimit: z.int().min(1).max(1_000_000).optional(),
  lagMs: ms.optional().describe('Event-loop lag above which the limit shrinks, ms.'),
  emergencyLagMs: ms.optional().describe('Lag above which everything but CRITICAL is refused, ms.'),
})

const weightedRoundRobin = z.strictObject({
  oobReportingMs: ms
    .optional()
    .describe(
      'Hosts are asked to report so often over streams of their own (OpenRcaService). Default: answers report.',
    ),
  blackoutMs: wait.optional().describe('So long a host must have reported before it is believed. Default 10000.'),
  expirationMs: ms.optional().describe('What a host reported counts for so long. Default 180000.'),
  updateMs: z.int().min(100).max(86_400_000).optional().describe('How often weights are worked out. Default 1000.'),
  errorPenalty: z
    .number()
    .min(0)
    .max(1_000)
    .optional()
    .describe('Utilization that errors per request count as. Default 1.'),
})

const stickySession = z.strictObject({
  cookie: z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/, 'is not a name of a cookie')
    .describe('Its value names the host.'),
  ttlMs: wait.default(0).describe('0 = until the caller forgets it.'),
  path: z
    .string()
    .regex(/^\/[ -:<-~]*$/, 'must begin with "/", without ";"')
    .optional()
    .describe('Default: every path.'),
})

const coalesce = z.strictObject({
  varyHeaders: z
    .array(headerName)
    .default([])
    .describe('Headers that must be equal besides method, authority and path.'),
  maxBodyBytes: bytes.default(65_536).describe('Larger answers are not shared.'),
})

const schema = z.strictObject({
  service: destinationHost.refine((name) => name.length <= 128, 'may have at most 128 characters'),
  /** Retries, so at most 1 + this many tries; 0 = none. */
  retryAttempts: z.int().min(0).max(100).optional(),
  /** Until the response headers; 0 = none. */
  timeoutMs: z.int().min(0).max(86_400_000).optional(),
  /** Error rate in percent above which the circuit opens; 100 = never. */
  cbThreshold: z.number().min(1).max(100).optional(),
  cbWindowSec: seconds.optional(),
  /** First open time; doubles with each failed probe. */
  cbRecoverySec: seconds.optional(),
  breakerScope: z
    .enum(['service', 'route', 'host'])
    .optional()
    .describe('What the circuit breaker opens for: the whole service (default), a single route, a single host.'),
  hedging: hedging.optional().describe('A further try beside one that is late. Off by default.'),
  retryNonIdempotent: z
    .boolean()
    .optional()
    .describe('Repeat also what is neither idempotent nor known to be unprocessed. Default false.'),
  retryBudgetPercent: percent.optional().describe('Retries per calls of the last 10 s. Default 20.'),
  coalesce: coalesce.optional().describe('Identical GETs under way at one time share one answer. Off by default.'),
  priority: z.enum(priorities).optional().describe('Class of calls that say none themselves. Default DEFAULT.'),
  loadShedding: loadShedding.optional().describe('How servers of this service refuse work when they are overloaded.'),
  healthCheck: healthCheck
    .optional()
    .describe('Active checks by every client, besides what calls show. Off by default.'),
  loadBalancer: z
    .enum(['ROUND_ROBIN', 'LEAST_REQUEST', 'RANDOM', 'WEIGHTED_ROUND_ROBIN', ...ownBalancers])
    .optional()
    .describe('Where no DestinationRule chooses. Default ROUND_ROBIN.'),
  weightedRoundRobin: weightedRoundRobin
    .optional()
    .describe('Numbers of WEIGHTED_ROUND_ROBIN, whoever chooses it (docs/load-reports.md).'),
  stickySession: stickySession
    .optional()
    .describe(
      'Callers that send back a cookie stay with the host that answered first, while it is well. Off by default.',
    ),
  http2: z.boolean().optional().describe('HTTP/2 to this service. Default false: it costs more CPU.'),
  maxReplayBytes: bytes.optional().describe('Request bodies up to this size are kept to be sent again. Default 65536.'),
  mirrorCompare: z
    .boolean()
    .optional()
    .describe('Compare the answers of mirrored calls with the real ones. Default false.'),
})

export type ServicePolicySpec = z.output<typeof schema>

/** The defaults of the mission's columns. */
export const servicePolicyDefaults = {
  retryAttempts: 3,
  timeoutMs: 5_000,
  cbThreshold: 50,
  cbWindowSec: 30,
  cbRecoverySec: 5,
} as const

const or = (value: number | undefined, fallback: number) => String(value ?? fallback)

export const servicePolicy: Kind<'ServicePolicy', typeof schema> = {
  kind: 'ServicePolicy',
  names: ['servicepolicy', 'servicepolicies', 'sp'],
  apiVersions: ['inmesh.dev/v1'],
  schema,
  unsupported: [],
  aliases: {
    service_name: 'service',
    serviceName: 'service',
    retry_attempts: 'retryAttempts',
    timeout_ms: 'timeoutMs',
    cb_threshold: 'cbThreshold',
    cb_window_sec: 'cbWindowSec',
    cb_recovery_sec: 'cbRecoverySec',
  },
  defaultName: (spec) => spec.service,
  check({ loadShedding: shed, healthCheck: check, loadBalancer, weightedRoundRobin: weights }, report) {
    if (weights !== undefined && loadBalancer !== undefined && loadBalancer !== 'WEIGHTED_ROUND_ROBIN')
      report('warning', ['weightedRoundRobin'], `has no effect with loadBalancer ${loadBalancer}`)
    const { minLimit = 1, maxLimit = 1_000_000, initialLimit } = shed ?? {}
    if (minLimit > maxLimit) report('error', ['loadShedding', 'minLimit'], 'is larger than maxLimit')
    else if (initialLimit !== undefined && (initialLimit < minLimit || initialLimit > maxLimit))
      report('error', ['loadShedding', 'initialLimit'], 'is not between minLimit and maxLimit')
    if (shed?.lagMs !== undefined && shed.emergencyLagMs !== undefined && shed.lagMs > shed.emergencyLagMs)
      report('error', ['loadShedding', 'lagMs'], 'is longer than emergencyLagMs')
    if (check !== undefined && check.timeoutMs > check.intervalMs)
      report('warning', ['healthCheck', 'timeoutMs'], 'is longer than intervalMs: checks overlap')
  },
  docs: 'Retries, timeout and error-rate circuit breaker of one service, in a few numbers. Istio resources that speak about the same field win.',
  columns: [
    { title: 'SERVICE', value: (spec) => spec.service },
    { title: 'RETRIES', value: (spec) => or(spec.retryAttempts, servicePolicyDefaults.retryAttempts) },
    { title: 'TIMEOUT MS', value: (spec) => or(spec.timeoutMs, servicePolicyDefaults.timeoutMs) },
    { title: 'CB %', value: (spec) => or(spec.cbThreshold, servicePolicyDefaults.cbThreshold) },
    { title: 'CB WINDOW S', value: (spec) => or(spec.cbWindowSec, servicePolicyDefaults.cbWindowSec) },
  ],
}
