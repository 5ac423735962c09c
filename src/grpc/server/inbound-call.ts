import type { Metadata } from '@grpc/grpc-js'
import type { Admitted, Held, InboundRequest } from '../../engine/inbound.ts'
import type { Rejection } from '../../engine/rejection.ts'
import type { Peer } from '../../model/peer.ts'
import type { Priority } from '../../model/route.ts'
import type { Hop } from '../../telemetry/context.ts'
import type { RequestHead, ServerRequest } from '../../telemetry/server-telemetry.ts'
import { headerOf, valuesOf } from './call-metadata.ts'
import type { Connection } from './connections.ts'

/** One call that came in: what policy and telemetry may look at, and what they need when it is over. */
export class InboundCall implements InboundRequest, RequestHead, Hop {
  readonly protocol = 'grpc'
  readonly method = 'POST'
  readonly authority: string
  /** /package.Service/Method; as grpc-js looks it up, letter by letter. */
  readonly path: string
  readonly peer: Peer | null
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
  /** What the way in wants said on the answer: name, value, ...; null = nothing. */
  answerHeaders: string[] | null = null
  seen: ServerRequest | null = null
  flags = ''
  /** For the server's list of what is under way. */
  place = -1
  /** Monotonic ms after which the whole call ends by grpc-timeout. */
  wholeUntil = Number.POSITIVE_INFINITY
  /** Monotonic ms after which nobody waits for an answer to begin. */
  headUntil = Number.POSITIVE_INFINITY
  /** Its answer has begun. */
  answering = false
  /** What failed below was repeated already: a failing answer is to say so. */
  spent = false
  private readonly metadata: Metadata
  readonly connection: Connection

  constructor(metadata: Metadata, connection: Connection, path: string, authority: string) {
    this.metadata = metadata
    this.connection = connection
    this.peer = connection.peer
    this.path = path
    this.authority = authority
  }

  get hop(): Hop {
    return this
  }

  get deadline(): number {
    return this.answering ? this.wholeUntil : Math.min(this.wholeUntil, this.headUntil)
  }

  get remoteAddress(): string {
    return this.connection.remoteAddress
  }

  get localAddress(): string {
    return this.connection.localAddress
  }

  get localPort(): number {
    return this.connection.localPort
  }

  /** Over HTTP/2 there need not be a line of that name; HTTP/1.1 has one always. */
  header(name: string): string | undefined {
    return name === 'host' ? this.authority : headerOf(this.metadata, name)
  }

  values(name: string): readonly string[] {
    return name === 'host' ? [this.authority] : valuesOf(this.metadata, name)
  }

  /** Another spelling would be another method: policies judge the one that runs as well, and refuse where they differ. */
  setPath(): void {}

  setAnswerHeader(name: string, value: string): void {
    this.answerHeaders ??= []
    this.answerHeaders.push(name, value)
  }

  settle(): void {
    this.spent = true
  }

  resume(verdict: Rejection | Admitted): void {
    this.onResume!(verdict)
  }
}
