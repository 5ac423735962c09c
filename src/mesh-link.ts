import type { IdentityState } from './identity/identity-state.ts'
import type { RegistryClient } from './registry/client.ts'
import type { XdsClient } from './xds/client.ts'

interface Endpoint {
  readonly address: string
  readonly port: number
}

/** What a mesh has to do with its control plane, whosever that is. */
export interface MeshLink {
  readonly identity: IdentityState
  readonly xds: XdsClient
  /** null = this control plane learns of servers in ways of its own. */
  readonly registry: RegistryClient | null
  /** False: this process is not meant to have a certificate. */
  readonly needsIdentity: boolean
  /** Why there is no certificate; undefined when there is one or the first attempt is under way. */
  readonly problem: string | undefined
  /** Why there can be no servers; null = there can. */
  readonly refusesServers: string | null
  /** Name of the resource that says what a server must enforce. */
  inboundName(bound: Endpoint, dialled: Endpoint): string
  /** Resolves when the certificate is there; rejects when there can be none. Idempotent. */
  start(): Promise<void>
  close(): Promise<void>
}
