import { experimental } from '@grpc/grpc-js'
import { InmeshError } from '../../errors.ts'
import type { OpenChannel } from '../types.ts'
import { BALANCER, currentOpener, MeshBalancer, MeshBalancerConfig, setOpener } from './balancer.ts'
import { MeshResolver } from './resolver.ts'

/** Schemes whose targets are the mesh's; `xds` is what gRPC's own proxyless mesh uses. */
const schemes = ['mesh', 'xds'] as const

let registered = false

/**
 * From now on `mesh:///NAME` and `xds:///NAME` are targets of this process's mesh: for code that makes its channels and
 * clients by itself and is not to be changed. grpc-js has no public interface for this: its `experimental` one is used,
 * which may change in any minor version; so it is looked at before it is touched.
 *
 * @returns takes it back: channels made from then on fail
 * @throws InmeshError ERR_INMESH_GRPC_TARGETS when this version of grpc-js cannot do it, or another mesh has done it
 */
export function registerTargets(open: OpenChannel): () => void {
  for (const name of ['registerResolver', 'registerLoadBalancerType', 'statusOrFromValue', 'PickResultType'] as const)
    if (experimental[name] === undefined)
      throw new InmeshError(
        'ERR_INMESH_GRPC_TARGETS',
        `this version of @grpc/grpc-js has no experimental.${name}: use mesh.grpc.client() or mesh.grpc.channel()`,
      )
  if (currentOpener() !== null)
    throw new InmeshError('ERR_INMESH_GRPC_TARGETS', 'another mesh of this process has registered mesh:/// and xds:///')
  if (!registered) {
    registered = true
    experimental.registerLoadBalancerType(BALANCER, MeshBalancer, MeshBalancerConfig)
    for (const scheme of schemes) experimental.registerResolver(scheme, MeshResolver)
  }
  setOpener(open)
  return () => {
    if (currentOpener() === open) setOpener(null)
  }
}
