import { fromBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import type { ClusterSpec, EndpointSpec } from '../../../src/model/cluster.ts'
import type { InboundSpec } from '../../../src/model/inbound.ts'
import type { RouteTable } from '../../../src/model/route.ts'
import type { TrustBundles } from '../../../src/model/snapshot.ts'
import { TypeUrl } from '../../../src/xds/proto.ts'
import type { ClusterResource } from '../../../src/xds/resources/cluster.ts'
import type { EndpointsResource } from '../../../src/xds/resources/endpoints.ts'
import { resourceTypeOf } from '../../../src/xds/resources/index.ts'
import type { ListenerResource } from '../../../src/xds/resources/listener.ts'
import { parseDocuments, validateBatch } from '../../resources/index.ts'
import type { EndpointRecord, ObjectInput, StoredObject } from '../../store/store.ts'
import { translate } from '../translate.ts'
import type { ClientView, MeshRevision, MeshSettings, Translation } from '../types.ts'

export const settings: MeshSettings = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  domain: 'cluster.local',
  outboundTrafficPolicy: 'ALLOW_ANY',
}

/** "payments v1 10.0.0.1": an endpoint of a service on port 8080, in namespace default or as in "payments.shop". */
export function endpointOf(text: string, more: Partial<EndpointRecord> = {}): EndpointRecord {
  const [name = '', version = 'v1', address = '10.0.0.1'] = text.split(' ')
  const [service = '', namespace = 'default'] = name.split('.')
  return {
    ...{ service, namespace, address, port: 8080, labels: { app: service, version }, locality: '', weight: 1 },
    ...{ spiffeId: `spiffe://cluster.local/ns/${namespace}/sa/${service}`, health: 'HEALTHY' as const },
    ...{ instanceId: `${service}@${address}`, ...more },
  }
}

export function clientOf(name: string, more: Partial<ClientView> = {}): ClientView {
  const [service = '', namespace = 'default'] = name.split('.')
  const labels = { app: service, ...more.labels }
  return { clientClass: 'inmesh', namespace, serviceAccount: service, service, locality: '', ...more, labels }
}

/** Objects as the store would give them back; the first is the oldest. */
export function stored(inputs: readonly ObjectInput[], from = 1): StoredObject[] {
  return inputs.map((input, i) => ({
    ...{ ...input, uid: `uid-${input.kind}-${input.namespace}-${input.name}`, generation: 1, revision: from + i },
    ...{ createdAt: from + i, updatedAt: from + i, updatedBy: 'test' },
  }))
}

/** What `apply` would store of a text; throws when it would refuse it. */
export function objectsOf(yaml: string, endpoints: readonly EndpointRecord[] = []): StoredObject[] {
  const parsed = parseDocuments(yaml)
  const { objects, problems } = validateBatch(parsed.documents, { objects: [], endpoints, services: [] })
  const errors = [...parsed.problems, ...problems].filter((p) => p.severity === 'error')
  if (errors.length > 0) throw new Error(JSON.stringify(errors))
  return stored(objects)
}

export interface MeshParts {
  yaml?: string
  objects?: readonly StoredObject[]
  endpoints?: readonly EndpointRecord[]
  /** Services that have no endpoints now. */
  services?: readonly string[]
  settings?: Partial<MeshSettings>
  trustBundles?: MeshRevision['trustBundles']
  revision?: number
}

export function revisionOf(parts: MeshParts): MeshRevision {
  const endpoints = parts.endpoints ?? []
  return {
    revision: parts.revision ?? 1,
    settings: { ...settings, ...parts.settings },
    objects: parts.objects ?? objectsOf(parts.yaml ?? '', endpoints),
    endpoints,
    services: (parts.services ?? []).map((text) => {
      const [service = '', namespace = 'default'] = text.split('.')
      return { service, namespace, firstSeenAt: 0 }
    }),
    trustBundles: parts.trustBundles ?? new Map(),
  }
}

/** A translation as a client of the data plane sees it: every resource goes through the client's own decoder. */
export class Mesh {
  readonly translation: Translation

  constructor(parts: MeshParts, previous: Mesh | null = null) {
    this.translation = translate(revisionOf(parts), previous?.translation ?? null)
  }

  /** The routes that the client has for a dialled authority; undefined = the name does not exist for it. */
  routes(authority: string, client: ClientView): RouteTable | undefined {
    const listener = this.decode<ListenerResource>(TypeUrl.listener, authority, client)
    if (listener?.kind !== 'client' || !('rds' in listener.routes)) return undefined
    return this.decode<RouteTable>(TypeUrl.route, listener.routes.rds, client)
  }

  cluster(name: string, client: ClientView): ClusterSpec | undefined {
    const resource = this.decode<ClusterResource>(TypeUrl.cluster, name, client)
    if (resource === undefined) return undefined
    const { edsName, inline } = resource
    const found = edsName === null ? inline : this.decode<EndpointsResource>(TypeUrl.endpoints, edsName, client)
    return { ...resource.spec, endpoints: found?.endpoints ?? [] }
  }

  endpoints(name: string, client: ClientView): readonly EndpointSpec[] | undefined {
    return this.decode<EndpointsResource>(TypeUrl.endpoints, name, client)?.endpoints
  }

  inbound(name: string, client: ClientView): InboundSpec {
    const listener = this.decode<ListenerResource>(TypeUrl.listener, name, client)
    if (listener?.kind !== 'inbound') throw new Error(`${name} is not a server's listener`)
    return listener.spec
  }

  bundles(client: ClientView): TrustBundles | undefined {
    return this.decode<TrustBundles>(TypeUrl.secret, 'ROOTCA', client)
  }

  /** Decodes as the client does; warnings say that it would be sent something that has no effect. */
  decode<T>(typeUrl: string, name: string, client: ClientView): T | undefined {
    const resource = this.translation.resolve(typeUrl, name, client)
    if (resource === undefined) return undefined
    const { value } = fromBinary(AnySchema, resource.any)
    const decoded = resourceTypeOf(typeUrl)!.decode(value)
    if (decoded.name !== name) throw new Error(`asked for ${name}, got ${decoded.name}`)
    // Said to foreign clients about what they cannot do.
    const warnings = decoded.warnings.filter(
      (w) => client.clientClass === 'inmesh' || !w.includes('non_forwarding_action'),
    )
    if (warnings.length > 0) throw new Error(`${name}: ${decoded.warnings.join('; ')}`)
    return decoded.value as T
  }
}
