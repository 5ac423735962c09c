import type { ApplyOptions, ApplyOutcome } from '../apply.ts'
import type { ClientStatus } from '../discovery/status.ts'
import type { LoadRow } from '../loads/load-table.ts'
import type { RevisionStatus } from '../revisions.ts'
import type { Store } from '../store/store.ts'
import type { MeshSettings, Translation } from '../translate/types.ts'

export interface TokenRequest {
  readonly service: string
  /** Default "default". */
  readonly namespace?: string | undefined
  /** Default: the service. */
  readonly serviceAccount?: string | undefined
  /** ms; default 10 minutes. */
  readonly ttlMs?: number | undefined
}

export interface CreatedToken {
  /** Shown once; the store keeps a hash. */
  readonly token: string
  readonly id: string
  readonly spiffeId: string
  /** Wall clock ms. */
  readonly expiresAt: number
}

/** What the admin API does its work with. */
export interface AdminContext {
  readonly store: Store
  readonly apply: (text: string, options: ApplyOptions) => Promise<ApplyOutcome>
  readonly createToken: (request: TokenRequest, actor: string) => Promise<CreatedToken>
  readonly clients: () => readonly ClientStatus[]
  /** Latest load reports. @param cluster text in the name of the cluster; undefined = all */
  readonly loads: (cluster: string | undefined) => readonly LoadRow[]
  readonly revision: () => RevisionStatus
  /** Before MeshConfig. */
  readonly settings: MeshSettings
  /** What is being served. */
  readonly translation: () => Translation
  /** Problems of what is being served. */
  readonly faults: () => readonly string[]
  readonly trustBundlePem: string
  readonly metrics: { readonly contentType: string; text(): Promise<string> }
}
