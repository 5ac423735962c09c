import type { EmbeddedControlPlane } from './embedded.ts'
import type { Bootstrap } from './xds/bootstrap/bootstrap.ts'
import { type BootstrapInput, environmentBootstrap, readBootstrap } from './xds/bootstrap/find-bootstrap.ts'

/** `controlPlane` when it is none of inmesh's: gRPC's xDS bootstrap, or the path of a file that holds it. */
export interface ForeignControlPlane {
  bootstrap: BootstrapInput
}

/**
 * The bootstrap to follow; undefined = inmesh's own control plane. What names a control plane in code comes first, then
 * INMESH_CONTROL_PLANE, then gRPC's variables: those may be there for other libraries of the process.
 *
 * @throws InmeshError ERR_INMESH_INVALID_OPTION naming the field
 */
export function foreignSource(
  controlPlane: string | EmbeddedControlPlane | ForeignControlPlane | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Bootstrap | undefined {
  if (typeof controlPlane === 'object' && 'bootstrap' in controlPlane) return readBootstrap(controlPlane.bootstrap)
  if (controlPlane !== undefined || (env.INMESH_CONTROL_PLANE ?? '') !== '') return undefined
  return environmentBootstrap(env)
}
