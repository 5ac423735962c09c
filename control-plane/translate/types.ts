import type { EndpointRecord, ServiceRecord, StoredObject } from '../store/store.ts'

/**
 * What a client can read decides what it is given: one bad value makes a gRPC client reject a whole resource.
 * Taken from node.user_agent_name and metadata, never guessed from the names that it asks for.
 * 'inmesh' = our library; 'grpc-js' = grpc-js-xds with its known faults; 'grpc' = any other gRPC client.
 */
export type ClientClass = 'inmesh' | 'grpc-js' | 'grpc'

/** All that a translation may know of a client. */
export interface ClientView {
  readonly clientClass: ClientClass
  readonly namespace: string
  readonly serviceAccount: string
  readonly service: string
  readonly labels: Readonly<Record<string, string>>
  readonly locality: string
}

/** A resource, encoded once; every stream that needs it shares the bytes. */
export interface EncodedResource {
  readonly typeUrl: string
  readonly name: string
  /** Hash of the content: equal bytes have equal versions on every replica and after every restart. */
  readonly version: string
  /** An encoded google.protobuf.Any. */
  readonly any: Uint8Array
}

export interface MeshSettings {
  readonly trustDomain: string
  readonly rootNamespace: string
  /** Cluster domain of service names, "cluster.local". */
  readonly domain: string
  /** What becomes of hosts that nobody knows: dial them as they are, or answer 502. */
  readonly outboundTrafficPolicy: 'ALLOW_ANY' | 'REGISTRY_ONLY'
  /** inmesh's own clients are asked for load reports, too. Default false. */
  readonly loadReports?: boolean
}

/** One consistent state of the store with all that a translation needs; immutable. */
export interface MeshRevision {
  readonly revision: number
  readonly settings: MeshSettings
  readonly objects: readonly StoredObject[]
  readonly endpoints: readonly EndpointRecord[]
  readonly services: readonly ServiceRecord[]
  /** Root certificates in PEM by trust domain. */
  readonly trustBundles: ReadonlyMap<string, readonly string[]>
}

/** All resources of one revision, made when asked for and kept. */
export interface Translation {
  readonly revision: number
  /** undefined = this client has no resource of that name. */
  resolve(typeUrl: string, name: string, client: ClientView): EncodedResource | undefined
  /**
   * Names of the resources that `resource` refers to, by type URL: what must exist before it is sent (make before
   * break). Empty for leaves.
   */
  references(typeUrl: string, name: string, client: ClientView): readonly { typeUrl: string; name: string }[]
}

export type Translate = (revision: MeshRevision, previous: Translation | null) => Translation
