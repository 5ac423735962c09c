import type { ServerInterceptingCallInterface } from '@grpc/grpc-js'
import type { Peer } from '../../model/peer.ts'

/** What grpc-js tells of who called. */
export type AuthContext = ReturnType<ServerInterceptingCallInterface['getAuthContext']>

/** Shared by all copies of the library in a process. */
const PEER = Symbol.for('inmesh.peer.v1')

interface WithPeer {
  [PEER]?: Peer
}

/**
 * Who made this call, as its TLS certificate proved; undefined for plaintext. No metadata has a say in it.
 *
 *     sayHello(call, done) { done(null, { text: `hello ${getGrpcPeer(call)?.serviceAccount ?? 'stranger'}` }) }
 */
export function getGrpcPeer(call: { getAuthContext(): AuthContext }): Peer | undefined {
  return (call.getAuthContext() as WithPeer)[PEER]
}

/**
 * What handlers and other interceptors are told of a caller: as grpc-js tells it, and the verified peer besides. Is an AuthContext without
 * saying so: with exactOptionalPropertyTypes, which apps may have, it would not be one.
 */
export class MeshAuthContext implements WithPeer {
  readonly [PEER]: Peer
  private readonly call: ServerInterceptingCallInterface

  constructor(call: ServerInterceptingCallInterface, peer: Peer) {
    this.call = call
    this[PEER] = peer
  }

  get transportSecurityType(): string {
    return 'ssl'
  }

  /** Read from the connection when it is asked for: Node parses the certificate each time. */
  get sslPeerCertificate(): AuthContext['sslPeerCertificate'] {
    return this.call.getAuthContext().sslPeerCertificate
  }
}
