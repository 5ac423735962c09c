import { readFileSync } from 'node:fs'
import { InmeshError } from '../../errors.ts'
import { type Bootstrap, parseBootstrap } from './bootstrap.ts'

/** Where a bootstrap is: the content itself, or the path of a JSON file. */
export type BootstrapInput = string | Readonly<Record<string, unknown>>

/** @throws InmeshError ERR_INMESH_INVALID_OPTION for one that cannot be read or used */
export function readBootstrap(input: BootstrapInput, option = 'controlPlane.bootstrap'): Bootstrap {
  if (typeof input !== 'string') return parseBootstrap(input, option)
  const source = `${option} ${input}`
  let text: string
  try {
    text = readFileSync(input, 'utf8')
  } catch (cause) {
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${source}: cannot be read`, { cause })
  }
  return parseBootstrap(fromJson(text, source), source)
}

/**
 * What gRPC's own variables say: GRPC_XDS_BOOTSTRAP, the path of a file, comes before GRPC_XDS_BOOTSTRAP_CONFIG, the text itself
 * (gRFC A27). undefined = neither is set.
 */
export function environmentBootstrap(env: Readonly<Record<string, string | undefined>>): Bootstrap | undefined {
  const { GRPC_XDS_BOOTSTRAP: path, GRPC_XDS_BOOTSTRAP_CONFIG: text } = env
  if (path !== undefined && path !== '') return readBootstrap(path, 'GRPC_XDS_BOOTSTRAP')
  if (text === undefined || text === '') return undefined
  return parseBootstrap(fromJson(text, 'GRPC_XDS_BOOTSTRAP_CONFIG'), 'GRPC_XDS_BOOTSTRAP_CONFIG')
}

function fromJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${source}: is not JSON: ${reason}`, { cause })
  }
}
