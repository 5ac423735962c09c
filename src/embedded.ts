import type { MeshDefinition } from '../control-plane/definition.ts'
import type { EmbeddedMember } from '../control-plane/embedded.ts'
import { InmeshError } from './errors.ts'
import type { Logger } from './model/logger.ts'
import type { WorkloadInfo } from './model/workload.ts'

export type { EmbeddedMember, MeshDefinition }

/** `controlPlane` when it is a control plane in this process: what it shall say. */
export interface EmbeddedControlPlane {
  /** A definition in code, or the path of a folder or file that is watched for changes. */
  embedded: MeshDefinition | string
}

const prefix = 'embedded:'

/** The source in an option or variable; undefined = it is the address of a control plane elsewhere. */
export function embeddedSource(
  controlPlane: string | EmbeddedControlPlane | undefined,
): MeshDefinition | string | undefined {
  if (typeof controlPlane === 'object') return controlPlane.embedded
  return controlPlane?.startsWith(prefix) === true ? controlPlane.slice(prefix.length) : undefined
}

/**
 * Loads the control plane, which nothing else in a data plane does, and joins the one of this source.
 * @throws ConfigError when what the source says is refused
 */
export async function joinEmbedded(
  source: MeshDefinition | string,
  workload: WorkloadInfo,
  logger: Logger,
): Promise<EmbeddedMember> {
  if (source === '')
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', 'controlPlane is "embedded:": expected a folder after it')
  const embedded = await import('../control-plane/embedded.ts')
  return embedded.joinEmbedded(source, workload, logger)
}
