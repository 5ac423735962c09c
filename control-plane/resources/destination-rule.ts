import * as z from 'zod'
import { duration, host, labels, percent, port, uint32 } from './fields.ts'
import { type Kind, type Report, type UnsupportedField, unsupported } from './kind.ts'

const loadBalancer = z.strictObject({
  /** LEAST_CONN is Istio's old name of LEAST_REQUEST; UNSPECIFIED leaves the choice to the default. */
  simple: z.enum(['UNSPECIFIED', 'ROUND_ROBIN', 'LEAST_REQUEST', 'LEAST_CONN', 'RANDOM']).default('UNSPECIFIED'),
})

/** Envoy's reading of Istio's numbers: per client process and cluster; 0 and absent = no limit. */
export const connectionPool = z.strictObject({
  tcp: z
    .strictObject({
      maxConnections: uint32.optional(),
      connectTimeout: duration(1).optional(),
      idleTimeout: duration(0).optional(),
    })
    .optional(),
  http: z
    .strictObject({
      http1MaxPendingRequests: uint32.optional(),
      http2MaxRequests: uint32.optional(),
      maxRequestsPerConnection: uint32.optional(),
      maxRetries: uint32.optional(),
      idleTimeout: duration(0).optional(),
    })
    .optional(),
})

const outlierDetection = z.strictObject({
  /** 0 = off. */
  consecutive5xxErrors: uint32.default(5),
  /** 0 = off. */
  consecutiveGatewayErrors: uint32.default(0),
  interval: duration(1).default(10_000),
  baseEjectionTime: duration(1).default(30_000),
  /** 0 = unset = 10, as in Istio. */
  maxEjectionPercent: percent.int().default(10),
  minHealthPercent: percent.int().default(0),
})

const tls = z.strictObject({
  /** `tls: {}` means DISABLE (Istio's enum 0). */
  mode: z
    .enum(['DISABLE', 'ISTIO_MUTUAL'], 'is not supported yet: only ISTIO_MUTUAL and DISABLE are')
    .default('DISABLE'),
})

const retryBudget = z.strictObject({
  percent: percent.default(20),
  minRetryConcurrency: uint32.default(3),
})

const blocks = {
  loadBalancer: loadBalancer.optional(),
  connectionPool: connectionPool.optional(),
  outlierDetection: outlierDetection.optional(),
  tls: tls.optional(),
  retryBudget: retryBudget.optional(),
}

const trafficPolicy = z.strictObject({
  ...blocks,
  portLevelSettings: z.array(z.strictObject({ ...blocks, port: z.strictObject({ number: port }) })).default([]),
})

const schema = z.strictObject({
  host,
  trafficPolicy: trafficPolicy.optional(),
  subsets: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[A-Za-z0-9._-]{1,63}$/, 'is not a subset name'),
        labels: labels.default({}),
        trafficPolicy: trafficPolicy.optional(),
      }),
    )
    .default([]),
  exportTo: z.array(z.literal('*', 'only "*" (all namespaces) is supported yet')).max(1).optional(),
})

export type DestinationRuleSpec = z.output<typeof schema>
export type TrafficPolicy = z.output<typeof trafficPolicy>
/** The blocks that overlay each other whole; Istio never merges inside one. */
export type PolicyBlocks = Omit<TrafficPolicy, 'portLevelSettings'>

const policyPaths = ['trafficPolicy', 'subsets[].trafficPolicy'].flatMap((path) => [
  path,
  `${path}.portLevelSettings[]`,
])

function unsupportedInPolicy(prefix: string): UnsupportedField[] {
  return [
    ...unsupported('error', prefix, 'tunnel proxyProtocol'),
    ...unsupported('warning', `${prefix}.loadBalancer`, 'consistentHash localityLbSetting warmupDurationSecs warmup'),
    ...unsupported('warning', `${prefix}.connectionPool.tcp`, 'tcpKeepalive maxConnectionDuration'),
    ...unsupported(
      'warning',
      `${prefix}.connectionPool.http`,
      'h2UpgradePolicy useClientProtocol maxConcurrentStreams',
    ),
    ...unsupported(
      'warning',
      `${prefix}.outlierDetection`,
      'consecutiveErrors splitExternalLocalOriginErrors consecutiveLocalOriginFailures outlierDetectionHttpErrorCodes',
    ),
    ...unsupported(
      'error',
      `${prefix}.tls`,
      'clientCertificate privateKey caCertificates credentialName subjectAltNames sni insecureSkipVerify caCrl',
    ),
    ...unsupported('warning', `${prefix}.retryBudget`, 'budgetInterval'),
  ]
}

export const destinationRule: Kind<'DestinationRule', typeof schema> = {
  kind: 'DestinationRule',
  names: ['destinationrule', 'destinationrules', 'dr'],
  apiVersions: ['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'],
  schema,
  unsupported: [...policyPaths.flatMap(unsupportedInPolicy), ...unsupported('error', '', 'workloadSelector')],
  check(spec, report) {
    const seen = new Set<string>()
    spec.subsets.forEach((subset, index) => {
      if (seen.has(subset.name))
        report('error', ['subsets', index, 'name'], `the subset "${subset.name}" is defined twice`)
      seen.add(subset.name)
      if (Object.keys(subset.labels).length === 0)
        report('warning', ['subsets', index], 'has no labels: it contains every endpoint')
      checkPolicy(subset.trafficPolicy, ['subsets', index, 'trafficPolicy'], report)
    })
    checkPolicy(spec.trafficPolicy, ['trafficPolicy'], report)
  },
  docs: 'How calls reach the endpoints of a host once routed there: load balancing, connection limits, outlier ejection, TLS mode, and named subsets of the endpoints by label.',
  columns: [
    { title: 'HOST', value: (spec) => spec.host },
    { title: 'SUBSETS', value: (spec) => spec.subsets.map((subset) => subset.name).join(',') || '-' },
  ],
}

function checkPolicy(policy: TrafficPolicy | undefined, path: (string | number)[], report: Report): void {
  if (policy === undefined) return
  const ports = new Set<number>()
  for (const [where, blocks] of [
    [path, policy] as const,
    ...policy.portLevelSettings.map((setting, i) => [[...path, 'portLevelSettings', i], setting] as const),
  ]) {
    const outlier = blocks.outlierDetection
    if (
      outlier !== undefined &&
      outlier.consecutiveGatewayErrors >= outlier.consecutive5xxErrors &&
      outlier.consecutive5xxErrors > 0 &&
      outlier.consecutiveGatewayErrors > 0
    )
      report(
        'warning',
        [...where, 'outlierDetection', 'consecutiveGatewayErrors'],
        'has no effect: consecutive5xxErrors ejects first',
      )
  }
  policy.portLevelSettings.forEach(({ port }, i) => {
    if (ports.has(port.number))
      report('error', [...path, 'portLevelSettings', i, 'port'], `port ${port.number} is set twice`)
    ports.add(port.number)
  })
}
