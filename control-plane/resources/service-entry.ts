import { isIP } from 'node:net'
import * as z from 'zod'
import { checkExportTo, exportTo } from './export-to.ts'
import { host, labels, port } from './fields.ts'
import { type Kind, type Report, unsupported } from './kind.ts'
import { checkLocality, workloadEntrySpec } from './workload-entry.ts'

const protocols = [
  'HTTP',
  'HTTPS',
  'GRPC',
  'GRPC-WEB',
  'HTTP2',
  'TLS',
  'TCP',
  'MONGO',
  'MYSQL',
  'REDIS',
  'UDP',
] as const

const schema = z.strictObject({
  hosts: z.array(host).min(1, 'must name at least one host'),
  addresses: z.array(z.string()).default([]),
  ports: z
    .array(
      z.strictObject({
        number: port.describe('As dialled.'),
        name: z.string().min(1).describe('For the ports of endpoints.'),
        protocol: z
          .string()
          .transform((text) => text.toUpperCase())
          .refine((text) => (protocols as readonly string[]).includes(text), `must be one of ${protocols.join(', ')}`)
          .default('TCP'),
        targetPort: port.optional().describe('At the endpoints. Default: the number.'),
      }),
    )
    .default([]),
  location: z
    .enum(['MESH_EXTERNAL', 'MESH_INTERNAL'])
    .default('MESH_EXTERNAL')
    .describe('MESH_EXTERNAL: no automatic mutual TLS.'),
  resolution: z
    .enum(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'])
    .default('NONE')
    .describe(
      'STATIC: the endpoints have IP addresses. DNS: all addresses of the names are endpoints. DNS_ROUND_ROBIN: one host.',
    ),
  endpoints: z.array(workloadEntrySpec).default([]),
  workloadSelector: z.strictObject({ labels: labels.default({}) }).optional(),
  subjectAltNames: z.array(z.string().min(1)).default([]).describe("Who may answer. A DestinationRule's list wins."),
  exportTo,
})

export type ServiceEntrySpec = z.output<typeof schema>

export const serviceEntry: Kind<'ServiceEntry', typeof schema> = {
  kind: 'ServiceEntry',
  names: ['serviceentry', 'serviceentries', 'se'],
  apiVersions: ['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'],
  schema,
  unsupported: unsupported('warning', 'endpoints[]', 'network', 'has no effect: there is one network'),
  check(spec, report, { namespace }) {
    checkExportTo(spec.exportTo, namespace, report)
    checkHosts(spec, report)
    checkPorts(spec, report)
    checkEndpoints(spec, report)
    if (spec.addresses.length > 0)
      report('warning', ['addresses'], 'has no effect: calls inside the mesh go by name, not by virtual address')
  },
  docs: 'A service that does not register itself: outside the mesh, or inside it by WorkloadEntries. Its hosts are known afterwards, with routing, limits and, where a DestinationRule says so, TLS. Defaults are those of Istio: LEAST_REQUEST, two retries on connection failures, no timeout, no breaker.',
  columns: [
    { title: 'HOSTS', value: (spec) => spec.hosts.join(',') },
    { title: 'LOCATION', value: (spec) => spec.location },
    { title: 'RESOLUTION', value: (spec) => spec.resolution },
  ],
}

function checkHosts({ hosts, resolution }: ServiceEntrySpec, report: Report): void {
  hosts.forEach((name, index) => {
    if (hosts.indexOf(name) !== index) report('error', ['hosts', index], `"${name}" is listed twice`)
    if (!name.includes('*')) return
    if (resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN')
      report(
        'error',
        ['hosts', index],
        `a name with a wildcard cannot be resolved: use NONE or DYNAMIC_DNS, or name endpoints with STATIC`,
      )
  })
  if (resolution === 'DYNAMIC_DNS' && hosts.some((name) => !name.includes('*')))
    report('error', ['resolution'], 'DYNAMIC_DNS is for hosts with a wildcard')
  if (resolution === 'NONE' && hosts.some((name) => !name.includes('*')))
    report(
      'warning',
      ['resolution'],
      'NONE is taken as DNS: a process has no original destination but the name that it dials',
    )
}

function checkPorts({ ports, addresses }: ServiceEntrySpec, report: Report): void {
  if (ports.length === 0) report('error', ['ports'], 'must name at least one port')
  ports.forEach(({ number, name, protocol }, index) => {
    const twin = ports.findIndex((other) => other.number === number)
    if (twin !== index) report('error', ['ports', index, 'number'], `port ${number} is listed twice`)
    if (ports.findIndex((other) => other.name === name) !== index)
      report('error', ['ports', index, 'name'], `"${name}" is listed twice`)
    if (!/^(HTTP|HTTPS|GRPC|GRPC-WEB|HTTP2|TLS)$/.test(protocol))
      report(
        'warning',
        ['ports', index, 'protocol'],
        `${protocol} does not go through the mesh: it is for HTTP`,
        undefined,
        addresses.length === 0 ? 'IST0134' : undefined,
      )
  })
}

function checkEndpoints(spec: ServiceEntrySpec, report: Report): void {
  const { endpoints, resolution, workloadSelector, ports } = spec
  if (endpoints.length > 0 && workloadSelector !== undefined)
    report('error', ['workloadSelector'], 'cannot stand beside endpoints')
  if (resolution === 'STATIC' && endpoints.length === 0 && workloadSelector === undefined)
    report('error', ['endpoints'], 'STATIC needs endpoints or a workloadSelector')
  if ((resolution === 'NONE' || resolution === 'DYNAMIC_DNS') && endpoints.length > 0)
    report('error', ['endpoints'], `cannot stand beside resolution ${resolution}`)
  if (resolution === 'DNS_ROUND_ROBIN' && endpoints.length > 1)
    report('error', ['endpoints'], 'DNS_ROUND_ROBIN takes one endpoint')
  endpoints.forEach((endpoint, index) => {
    checkLocality(endpoint.locality, ['endpoints', index, 'locality'], report)
    if (resolution === 'STATIC' && isIP(endpoint.address) === 0)
      report('error', ['endpoints', index, 'address'], 'must be an IP address with resolution STATIC')
    for (const name of Object.keys(endpoint.ports))
      if (!ports.some((p) => p.name === name))
        report('error', ['endpoints', index, 'ports', name], 'is the name of no port of this service')
  })
}
