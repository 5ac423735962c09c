import { ChannelCredentials, credentials, type experimental } from '@grpc/grpc-js'

type Connector = experimental.SecureConnector

/**
 * Credentials for channels whose target is the mesh's (`mesh:///payments`): the mesh encrypts and verifies by itself, and call
 * credentials may be added. A channel to any other target never connects with them: it would be unprotected.
 */
export class MeshCredentials extends ChannelCredentials {
  _isSecure(): boolean {
    return true
  }

  _equals(other: ChannelCredentials): boolean {
    return other === this
  }

  _createSecureConnector(
    target: experimental.GrpcUri,
    _options: object,
    own?: Parameters<this['compose']>[0],
  ): Connector {
    const text = `credentials of the mesh are for its targets only (mesh:///SERVICE or xds:///SERVICE, after mesh.grpc.register()), not for ${target.scheme ?? 'dns'}:${target.path}`
    return {
      connect: () => Promise.reject(new Error(text)),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => own ?? credentials.createEmpty(),
      destroy: () => undefined,
    }
  }
}
