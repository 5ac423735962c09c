import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Admitted, Held, InboundRequest } from '../engine/inbound.ts'
import type { Rejection } from '../engine/rejection.ts'
import { SPENT_HEADER } from '../engine/retry-tree.ts'
import type { Peer } from '../model/peer.ts'
import type { Priority } from '../model/route.ts'
import type { Hop } from '../telemetry/context.ts'
import type { RequestHead, ServerRequest } from '../telemetry/server-telemetry.ts'

/** One request that came in: what policy and telemetry may look at, and what they need when it is over. */
export class InboundExchange implements InboundRequest, RequestHead, Hop {
  readonly request: IncomingMessage
  readonly response: ServerResponse | null
  readonly peer: Peer | null
  readonly method: string
  readonly authority: string
  path: string
  /** It is a repeat by its sender. */
  repeated = false
  priority: Priority | null = null
  policyPath = ''
  eased = false
  admitted: Admitted | null = null
  /** It waits inside the way in. */
  held: Held | null = null
  /** How it goes on after it was held. */
  onResume: ((verdict: Rejection | Admitted) => void) | null = null
  /** Of an answer without a ServerResponse: name, value, ...; null = none. */
  answerHeaders: string[] | null = null
  seen: ServerRequest | null = null
  flags = ''
  /** For the server's list of what is under way. */
  place = -1
  private until = Number.POSITIVE_INFINITY
  private spent = false

  constructor(request: IncomingMessage, response: ServerResponse | null, peer: Peer | null) {
    this.request = request
    this.response = response
    this.peer = peer
    this.method = request.method!
    this.authority = request.headers.host!.toLowerCase()
    this.path = request.url!
  }

  get hop(): Hop {
    return this
  }

  /** Once its head is on its way, an answer takes the time that it takes: it may be a stream. */
  get deadline(): number {
    return this.response?.headersSent === true ? Number.POSITIVE_INFINITY : this.until
  }

  set deadline(until: number) {
    this.until = until
  }

  /** A failing answer is to say that what failed below was repeated already. */
  settle(): void {
    const { response } = this
    if (this.spent || response === null || response.headersSent) return
    this.spent = true
    // When the head goes out, and not now: frameworks throw away what was set before an error.
    const writeHead = response.writeHead as (this: ServerResponse, ...args: unknown[]) => ServerResponse
    response.writeHead = function (this: ServerResponse, ...args: unknown[]) {
      if ((args[0] as number) >= 400) this.setHeader(SPENT_HEADER, '1')
      return writeHead.apply(this, args)
    }
    // Over HTTP/2 an answer without a body never comes by writeHead.
    const end = response.end as (this: ServerResponse, ...args: unknown[]) => ServerResponse
    response.end = function (this: ServerResponse, ...args: unknown[]) {
      if (!this.headersSent && this.statusCode >= 400) this.setHeader(SPENT_HEADER, '1')
      return end.apply(this, args)
    }
  }

  setAnswerHeader(name: string, value: string): void {
    if (this.response !== null) {
      this.response.setHeader(name, value)
      return
    }
    this.answerHeaders ??= []
    this.answerHeaders.push(name, value)
  }

  resume(verdict: Rejection | Admitted): void {
    this.onResume!(verdict)
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
