import type { InputOf, KindName } from './resources/kinds.ts'

/** `metadata` of a resource in code. */
export interface MetadataInput {
  /** Needed except where the kind has a default (ServicePolicy, TrafficSplit, MeshConfig). */
  readonly name?: string
  /** Default "default"; of MeshConfig: the root namespace. */
  readonly namespace?: string
  readonly labels?: Record<string, string>
  readonly annotations?: Record<string, string>
}

/** One resource, typed by its kind: the same fields, with the same meaning, as in YAML. */
export type ResourceInput = {
  [Name in KindName]: {
    readonly apiVersion: string
    readonly kind: Name
    readonly metadata?: MetadataInput
    readonly spec: InputOf<Name>
  }
}[KindName]

/** A mesh as code. */
export interface MeshDefinition {
  readonly resources: readonly ResourceInput[]
}

/**
 * The configuration of a mesh as code; goes wherever a folder of YAML goes: `inmesh apply -f mesh.ts` (default export) and
 * `createMesh({ controlPlane: { embedded: definition } })`. Nothing is checked here but the types: it is read as YAML is.
 *
 *     export default defineMesh({
 *       resources: [virtualService('payments', { hosts: ['payments'], http: [{ route: [{ destination: { host: 'payments' } }] }] })],
 *     })
 */
export function defineMesh(definition: MeshDefinition): MeshDefinition {
  return definition
}

/** Makes the helper of one kind: `(name, spec, metadata?)`. */
function helper<Name extends KindName>(kind: Name, apiVersion: string) {
  return (name: string, spec: InputOf<Name>, metadata: Omit<MetadataInput, 'name'> = {}) =>
    ({ apiVersion, kind, metadata: { name, ...metadata }, spec }) as Extract<ResourceInput, { kind: Name }>
}

const networking = 'networking.istio.io/v1'
const security = 'security.istio.io/v1'
const own = 'inmesh.dev/v1'
const gateway = 'gateway.networking.k8s.io/v1'

export const virtualService = helper('VirtualService', networking)
export const destinationRule = helper('DestinationRule', networking)
export const sidecar = helper('Sidecar', networking)
export const authorizationPolicy = helper('AuthorizationPolicy', security)
export const peerAuthentication = helper('PeerAuthentication', security)
export const httpRoute = helper('HTTPRoute', gateway)
export const grpcRoute = helper('GRPCRoute', gateway)
export const servicePolicy = helper('ServicePolicy', own)
export const trafficSplit = helper('TrafficSplit', own)
export const rateLimit = helper('RateLimit', own)
export const serviceEntry = helper('ServiceEntry', networking)
export const workloadEntry = helper('WorkloadEntry', networking)
export const workloadGroup = helper('WorkloadGroup', networking)

/** There is one, named "default", in the root namespace. */
export const meshConfig = (spec: InputOf<'MeshConfig'>) =>
  ({ apiVersion: 'mesh.istio.io/v1alpha1', kind: 'MeshConfig', spec }) as const
