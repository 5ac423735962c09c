import { isIP } from 'node:net'
import type { ServiceEntrySpec } from '../resources/service-entry.ts'
import type { WorkloadEntrySpec } from '../resources/workload-entry.ts'
import type { EndpointRecord, StoredObject } from '../store/store.ts'
import { type Rule, rulesOf } from './rule.ts'

/** A service that a ServiceEntry declares. */
export interface Declared {
  readonly rule: Rule<ServiceEntrySpec>
  /** How its endpoints are found: 'eds' = they are known, the others = by the data plane. */
  readonly discovery: 'eds' | 'strict-dns' | 'logical-dns' | 'passthrough'
}

/** One endpoint of a declared service, at one port. */
export interface DeclaredEndpoint {
  readonly address: string
  readonly port: number
  readonly weight: number
  readonly locality: string
  readonly labels: Readonly<Record<string, string>>
  readonly health: EndpointRecord['health']
  /** '' = none. */
  readonly spiffeId: string
  readonly secure: boolean
  readonly hostname: string
}

/** Declared services by host; of several for one host the oldest. */
export function declaredServices(objects: readonly StoredObject[]): ReadonlyMap<string, Declared> {
  const found = new Map<string, Declared>()
  for (const rule of rulesOf(objects, 'ServiceEntry'))
    for (const host of rule.spec.hosts)
      if (!found.has(host)) found.set(host, { rule, discovery: discoveryOf(rule.spec, host) })
  return found
}

/** NONE and a plain name: what the app dials is that name. */
function discoveryOf({ resolution }: ServiceEntrySpec, host: string): Declared['discovery'] {
  switch (resolution) {
    case 'STATIC':
      return 'eds'
    case 'DNS_ROUND_ROBIN':
      return 'logical-dns'
    default:
      return host.includes('*') ? 'passthrough' : 'strict-dns'
  }
}

/** What endpoints of a declared service are made from. */
export interface EndpointSources {
  readonly trustDomain: string
  readonly workloads: readonly Rule<WorkloadEntrySpec>[]
  readonly registered: readonly EndpointRecord[]
}

/** Endpoints at one of its ports; a port that it does not have gives none. */
export function declaredEndpoints(
  { rule: { spec, object } }: Declared,
  host: string,
  port: number,
  sources: EndpointSources,
): DeclaredEndpoint[] {
  const declared = spec.ports.find(({ number }) => number === port)
  if (declared === undefined) return []
  const { namespace } = object
  const internal = spec.location === 'MESH_INTERNAL'
  const of = (entry: WorkloadEntrySpec): DeclaredEndpoint => ({
    address: entry.address,
    port: entry.ports[declared.name] ?? declared.targetPort ?? declared.number,
    weight: entry.weight || 1,
    locality: entry.locality,
    labels: entry.labels,
    health: 'HEALTHY',
    spiffeId:
      internal && entry.serviceAccount !== ''
        ? `spiffe://${sources.trustDomain}/ns/${namespace}/sa/${entry.serviceAccount}`
        : '',
    // Istio: automatic mutual TLS only to workloads of the mesh that say so.
    secure: internal && entry.labels['security.istio.io/tlsMode'] === 'istio',
    hostname: isIP(entry.address) === 0 ? entry.address : host.includes('*') ? '' : host,
  })
  if (spec.workloadSelector !== undefined) {
    const wanted = Object.entries(spec.workloadSelector.labels)
    const selects = (labels: Readonly<Record<string, string>>) => wanted.every(([key, value]) => labels[key] === value)
    return [
      ...sources.workloads
        .filter((entry) => entry.object.namespace === namespace && selects(entry.spec.labels))
        .map((entry) => of(entry.spec)),
      ...sources.registered
        .filter((endpoint) => endpoint.namespace === namespace && selects(endpoint.labels))
        .map((endpoint) => ({ ...endpoint, secure: internal, hostname: '' })),
    ]
  }
  if (spec.endpoints.length > 0) return spec.endpoints.map(of)
  return [of({ address: host, ports: {}, labels: {}, locality: '', weight: 1, serviceAccount: '' })]
}
