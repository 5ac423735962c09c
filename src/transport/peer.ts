import type { IncomingMessage } from 'node:http'
import type { Peer } from '../model/peer.ts'

/** Where a verified peer is kept: on its socket, once per connection. Shared by all copies of the library in a process. */
const PEER = Symbol.for('inmesh.peer.v1')

interface WithPeer {
  [PEER]?: Peer
}

/**
 * Who made this request, as its TLS certificate proved; undefined for plaintext. No header has a say in it.
 *
 *     mesh.createServer((req, res) => res.end(`hello ${getPeer(req)?.serviceAccount ?? 'stranger'}`))
 */
export function getPeer(request: Pick<IncomingMessage, 'socket'>): Peer | undefined {
  return (request.socket as WithPeer | null)?.[PEER]
}

/** Says that everything that comes over `socket` comes from `peer`. */
export function setPeer(socket: object, peer: Peer): void {
  Object.defineProperty(socket, PEER, { value: peer })
}
