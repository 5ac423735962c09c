import { isIP } from 'node:net'
import { Health, Protocol, type RegisterRequest, type WorkloadEndpoint } from '../../src/gen/inmesh/v1/registry_pb.js'
import type { ConnectionIdentity } from '../discovery/client-view.ts'
import type { EndpointRecord } from '../store/store.ts'

/** Why a registration is refused. */
export interface RegistrationRefusal {
  readonly code: 'INVALID_ARGUMENT' | 'PERMISSION_DENIED'
  /** For the workload and for the audit log. */
  readonly message: string
  /** What it asked for. */
  readonly subject: string
}

const MAX_ENDPOINTS = 64
const MAX_LABELS = 64
const MAX_LABEL_LENGTH = 256
const MAX_INSTANCE_ID = 256
const MAX_LOCALITY = 256
const MAX_WEIGHT = 1_000_000

const healthOf = {
  [Health.UNSPECIFIED]: 'HEALTHY',
  [Health.HEALTHY]: 'HEALTHY',
  [Health.UNHEALTHY]: 'UNHEALTHY',
  [Health.DRAINING]: 'DRAINING',
} as const satisfies Record<Health, EndpointRecord['health']>

/**
 * What a workload may register: endpoints of the service that its certificate was issued for, in the namespace of its
 * id, under its own id. The request cannot choose any of the three.
 */
export function readRegistration(
  request: RegisterRequest,
  identity: ConnectionIdentity,
  domain: string,
): readonly EndpointRecord[] | RegistrationRefusal {
  const { peer } = identity
  // Certificates of other authorities may have no common name; then the service account is all that is proved.
  const service = identity.service === '' ? peer.serviceAccount : identity.service
  const invalid = (message: string, subject = service): RegistrationRefusal => ({
    code: 'INVALID_ARGUMENT',
    message,
    subject: `${peer.namespace}/${subject}`.slice(0, 512),
  })
  if (peer.namespace === '' || service === '') {
    const message = `${peer.spiffeId} is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>`
    return { code: 'PERMISSION_DENIED', message, subject: service }
  }
  const { instanceId, endpoints } = request
  if (instanceId === '' || instanceId.length > MAX_INSTANCE_ID)
    return invalid(`instance_id must have 1 to ${MAX_INSTANCE_ID} characters`)
  if (endpoints.length > MAX_ENDPOINTS) return invalid(`more than ${MAX_ENDPOINTS} endpoints`)
  const records: EndpointRecord[] = []
  for (const [index, endpoint] of endpoints.entries()) {
    const fqdn = `${service}.${peer.namespace}.svc.${domain}`
    if (!['', service, `${service}.${peer.namespace}`, fqdn].includes(endpoint.service)) {
      const message = `${peer.spiffeId} may register ${service} only, not ${endpoint.service.slice(0, 256)}`
      const subject = `${peer.namespace}/${endpoint.service}`.slice(0, 512)
      return { code: 'PERMISSION_DENIED', message, subject }
    }
    const problem = problemOf(endpoint)
    if (problem !== undefined) return invalid(`endpoints[${index}].${problem}`)
    if (records.some((r) => r.address === endpoint.address && r.port === endpoint.port))
      return invalid(`endpoints[${index}]: ${endpoint.address}:${endpoint.port} is there twice`)
    records.push({
      service,
      namespace: peer.namespace,
      address: endpoint.address,
      port: endpoint.port,
      labels: { ...endpoint.labels, app: service },
      locality: endpoint.locality,
      weight: Math.max(1, endpoint.weight),
      spiffeId: peer.spiffeId,
      health: healthOf[endpoint.health],
      instanceId,
      ...(endpoint.protocol === Protocol.GRPC ? { protocol: 'GRPC' as const } : {}),
    })
  }
  return records
}

function problemOf(endpoint: WorkloadEndpoint): string | undefined {
  if (isIP(endpoint.address) === 0 || endpoint.address.includes('%')) return 'address must be an IP address'
  if (/^(0\.0\.0\.0|::)$/.test(endpoint.address)) return 'address must be one that can be dialled'
  if (endpoint.port < 1 || endpoint.port > 65_535) return 'port must be 1 to 65535'
  if (endpoint.weight > MAX_WEIGHT) return `weight must be at most ${MAX_WEIGHT}`
  if (endpoint.locality.length > MAX_LOCALITY) return `locality is longer than ${MAX_LOCALITY} characters`
  if (!(endpoint.health in healthOf)) return `health ${endpoint.health} is not known`
  if (!(endpoint.protocol in Protocol)) return `protocol ${endpoint.protocol} is not known`
  const labels = Object.entries(endpoint.labels)
  if (labels.length > MAX_LABELS) return `labels: more than ${MAX_LABELS}`
  const long = labels.find(
    ([key, value]) => key === '' || key.length > MAX_LABEL_LENGTH || value.length > MAX_LABEL_LENGTH,
  )
  return long === undefined
    ? undefined
    : `labels: keys must have 1 to ${MAX_LABEL_LENGTH} characters, values at most as many`
}
