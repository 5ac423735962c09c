import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Admitted, InboundRequest } from '../engine/inbound.ts'
import type { Peer } from '../model/peer.ts'
import type { RequestHead, ServerRequest } from '../telemetry/server-telemetry.ts'

/** One request that came in: what policy and telemetry may look at, and what they need when it is over. */
export class InboundExchange implements InboundRequest, RequestHead {
  readonly request: IncomingMessage
  readonly response: ServerResponse | null
  readonly peer: Peer | null
  readonly method: string
  readonly authority: string
  path: string
  deadline = Number.POSITIVE_INFINITY
  admitted: Admitted | null = null
  seen: ServerRequest | null = null
  flags = ''
  /** For the server's list of what is under way. */
  place = -1

  constructor(request: IncomingMessage, response: ServerResponse | null, peer: Peer | null) {
    this.request = request
    this.response = response
    this.peer = peer
    this.method = request.method!
    this.authority = request.headers.host!.toLowerCase()
    this.path = request.url!
  }

  get remoteAddress(): string {
    return this.request.socket.remoteAddress ?? ''
  }

  get localAddress(): string {
    return this.request.socket.localAddress ?? ''
  }

  get localPort(): number {
    return this.request.socket.localPort ?? 0
  }

  header(name: string): string | undefined {
    const value = this.request.headers[name]
    return typeof value === 'object' ? value.join(',') : value
  }

  values(name: string): readonly string[] {
    return this.request.headersDistinct[name] ?? []
  }

  /** The app gets the path that policy decided about. */
  setPath(path: string): void {
    this.path = path
    this.request.url = path
  }
}
