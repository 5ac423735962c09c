import type { TrustBundles } from '../../model/snapshot.ts'
import type { WorkloadIdentity } from '../workload-identity.ts'

export interface IssuedIdentity {
  readonly identity: WorkloadIdentity
  /** All bundles, whole. */
  readonly bundles: TrustBundles
}

/** Where certificates come from; one file per kind. Rotation is somebody else's: a source gets one certificate per call. */
export interface CertificateSource {
  /**
   * @throws InmeshError ERR_INMESH_CONTROL_PLANE when it may work later, RefusedError when it will not
   */
  obtain(): Promise<IssuedIdentity>
}
