import type { CertificateFiles } from '../../model/certificate-files.ts'

/** What the decoders must know of the control plane that speaks. */
export interface Dialect {
  /**
   * Certificate provider instances of the bootstrap (gRFC A29); null = inmesh's own control plane, or istiod's names for it: every
   * instance means this workload's own certificate and the mesh's roots.
   */
  readonly providers: ReadonlyMap<string, CertificateFiles> | null
  /** Instance whose certificate this process shows as a server; null = it has none. */
  readonly serverIdentity: string | null
  /** Instance whose roots judge the callers of this process's servers. */
  readonly serverRoots: string | null
}

export const ownDialect: Dialect = { providers: null, serverIdentity: null, serverRoots: null }
