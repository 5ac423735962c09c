import * as z from 'zod'
import { connectionPool } from './connection-pool.ts'
import { host, labels, namespaceName, port } from './fields.ts'
import { type Kind, type Report, unsupported } from './kind.ts'

const sidecarPort = z.strictObject({
  number: port,
  protocol: z.string().optional().describe('Has no effect: what a connection speaks is seen in its first bytes.'),
  name: z.string().optional(),
})

/** `namespace/dnsName`, with an exclusion mark. */
export interface EgressHost {
  readonly exclude: boolean
  /** "*", "." or a namespace; "~" = none. */
  readonly namespace: string
  /** "*", "*.suffix" or a name. */
  readonly name: string
}

const egressHost = z
  .string()
  .describe(
    '"namespace/dnsName". Namespace: a name, "." (own), "*" (all), "~" (none). Name: full, "*.suffix" or "*". A "~" before it takes hosts out again.',
  )
  .transform((text, context): EgressHost => {
    const slash = text.indexOf('/')
    const exclude = text.startsWith('~') && slash > 1
    const namespace = text.slice(exclude ? 1 : 0, slash)
    const name = text.slice(slash + 1).toLowerCase()
    const knownNamespace = ['*', '.'].includes(namespace) || namespaceName.safeParse(namespace).success
    const valid = name === '*' || host.safeParse(name).success
    if (slash > 0 && valid && (knownNamespace || (namespace === '~' && name === '*')))
      return { exclude, namespace, name }
    context.issues.push({
      code: 'custom',
      message: 'is not "namespace/dnsName" (like "./*", "shop/payments.shop.svc.cluster.local", "*/*.example.com")',
      input: text,
    })
    return z.NEVER
  })

const schema = z.strictObject({
  workloadSelector: z
    .strictObject({ labels: labels.default({}) })
    .optional()
    .describe('Workloads of the namespace that it is for; absent or empty = all that no selector picks.'),
  egress: z
    .array(
      z.strictObject({
        port: sidecarPort.optional().describe('As dialled; absent = all ports that no other entry names.'),
        hosts: z.array(egressHost).min(1, 'must name at least one host'),
      }),
    )
    .default([])
    .describe('What these workloads may see. Absent = everything. What they do not see is unknown to them.'),
  ingress: z
    .array(z.strictObject({ port: sidecarPort, connectionPool: connectionPool.optional() }))
    .default([])
    .describe('Limits of single ports of the workload.'),
  inboundConnectionPool: connectionPool
    .optional()
    .describe('tcp.maxConnections and http.http2MaxRequests limit what a server takes at one time.'),
  outboundTrafficPolicy: z
    .strictObject({ mode: z.enum(['REGISTRY_ONLY', 'ALLOW_ANY']).default('REGISTRY_ONLY') })
    .optional()
    .describe('Unknown hosts of these workloads. Absent = what the mesh says; `{}` means REGISTRY_ONLY, as in Istio.'),
})

export type SidecarSpec = z.output<typeof schema>

const noListener = 'has no effect: there is no listener of a proxy, calls are taken inside the process'

export const sidecar: Kind<'Sidecar', typeof schema> = {
  kind: 'Sidecar',
  names: ['sidecar', 'sidecars'],
  apiVersions: ['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'],
  schema,
  unsupported: [
    ...unsupported('warning', 'egress[]', 'bind captureMode', noListener),
    ...unsupported('warning', 'ingress[]', 'bind captureMode defaultEndpoint tls', noListener),
    ...unsupported('error', 'outboundTrafficPolicy', 'egressProxy'),
  ],
  check(spec, report, { namespace, rootNamespace }) {
    if (namespace === rootNamespace && hasSelector(spec))
      report(
        'warning',
        ['workloadSelector'],
        'in the root namespace, a Sidecar with a selector is for its own workloads only',
      )
    checkPorts(spec, report)
    spec.egress.forEach(({ hosts }, index) => {
      checkHosts(hosts, namespace, ['egress', index, 'hosts'], report)
    })
  },
  docs: 'What the workloads of a namespace may see of the mesh, what becomes of their calls to other hosts, and how much their servers take at one time. A Sidecar with a matching selector comes first, then the one without selector of the namespace, then that of the root namespace.',
  columns: [
    {
      title: 'SELECTOR',
      value: (spec) =>
        Object.entries(spec.workloadSelector?.labels ?? {})
          .map((e) => e.join('='))
          .join(',') || '-',
    },
    { title: 'EGRESS', value: (spec) => spec.egress.flatMap((e) => e.hosts.map(formatHost)).join(',') || '*/*' },
    { title: 'OUTBOUND', value: (spec) => spec.outboundTrafficPolicy?.mode ?? '-' },
  ],
}

export function hasSelector(spec: SidecarSpec): boolean {
  return Object.keys(spec.workloadSelector?.labels ?? {}).length > 0
}

function formatHost({ exclude, namespace, name }: EgressHost): string {
  return `${exclude ? '~' : ''}${namespace}/${name}`
}

function checkPorts({ egress, ingress }: SidecarSpec, report: Report): void {
  const seen = new Set<number>()
  egress.forEach((entry, index) => {
    if (entry.port === undefined) {
      if (index < egress.length - 1) report('error', ['egress', index], 'has no port and must be the last')
      return
    }
    if (seen.has(entry.port.number))
      report('error', ['egress', index, 'port', 'number'], `port ${entry.port.number} is listed twice`)
    seen.add(entry.port.number)
  })
  const inbound = new Set<number>()
  ingress.forEach(({ port: { number } }, index) => {
    if (inbound.has(number)) report('error', ['ingress', index, 'port', 'number'], `port ${number} is listed twice`)
    inbound.add(number)
  })
}

function checkHosts(
  hosts: readonly EgressHost[],
  namespace: string,
  path: readonly (string | number)[],
  report: Report,
): void {
  const included = hosts.filter((host) => !host.exclude)
  hosts.forEach((entry, index) => {
    if (!entry.exclude && entry.namespace === '*' && entry.name === '*' && included.length > 1)
      report('error', [...path, index], '"*/*" is everything, no other host can stand beside it')
    if (entry.name === '*' || entry.name.includes('.')) return
    const home = entry.namespace === '.' ? namespace : entry.namespace
    const full = home === '*' || home === '~' ? undefined : `${formatHost(entry)}.${home}.svc.cluster.local`
    report('warning', [...path, index], 'matches nothing: hosts are full names here', full)
  })
}
