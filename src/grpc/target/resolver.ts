import { experimental, status } from '@grpc/grpc-js'
import { BALANCER } from './balancer.ts'

type GrpcUri = experimental.GrpcUri
type Listener = experimental.ResolverListener

/**
 * Answers every name of the mesh with "ask the mesh": which hosts there are is the mesh's business and changes without
 * this resolver. It answers at once, inside `updateResolution`, so that the call which woke the channel goes on in its own
 * async context (its trace and its deadline hang on that).
 */
export class MeshResolver implements experimental.Resolver {
  private readonly target: GrpcUri
  private readonly listener: Listener
  private told = false

  constructor(target: GrpcUri, listener: Listener) {
    this.target = target
    this.listener = listener
  }

  static getDefaultAuthority(target: GrpcUri): string {
    return pathOf(target)
  }

  updateResolution(): void {
    if (this.told) return
    this.told = true
    const name = nameOf(this.target)
    if (name === '') {
      const details = `${experimental.uriToString(this.target)} names no service: expected ${this.target.scheme}:///SERVICE`
      this.listener(experimental.statusOrFromError({ code: status.UNAVAILABLE, details }), {}, null, '')
      return
    }
    const serviceConfig = experimental.statusOrFromValue({
      loadBalancingConfig: [{ [BALANCER]: { name } }],
      methodConfig: [],
    })
    this.listener(experimental.statusOrFromValue([]), {}, serviceConfig, '')
  }

  destroy(): void {
    this.told = false
  }
}

/** xds://authority/name asks an authority of its own (gRFC A47). */
function nameOf(target: GrpcUri): string {
  const { scheme, authority } = target
  const name = pathOf(target)
  return authority === undefined || authority === '' || name === '' ? name : `${scheme}://${authority}/${name}`
}

/** What the peer is told as :authority. */
function pathOf({ path }: GrpcUri): string {
  return path.replace(/^\/+/, '')
}
