import { Metadata, ServerInterceptingCall, type ServerInterceptingCallInterface } from '@grpc/grpc-js'
import type { Rejection } from '../../engine/rejection.ts'
import { SPENT_HEADER } from '../../engine/retry-tree.ts'
import type { CallContext } from '../../telemetry/context.ts'
import { HELD } from './admission.ts'
import type { Connection } from './connections.ts'
import type { InboundCall } from './inbound-call.ts'
import { type AuthContext, MeshAuthContext } from './peer.ts'
import { statusOf, tellAll } from './refusal.ts'
import type { ServerListener, ServerStatus } from './types.ts'

/**
 * A call between grpc-js and the app (and its own interceptors): judged when its head is there, before anybody above hears of
 * it; what comes in is then handed on within its trace. grpc-js says `onCancel` once at the end of every call, however it
 * ended: that is when the call is over. Its fields are private at run time, too: the class above is not ours and has some.
 */
export class ServerCall extends ServerInterceptingCall implements ServerListener {
  readonly #call: ServerInterceptingCallInterface
  readonly #path: string
  readonly #connection: Connection
  #listener!: ServerListener
  /** null = its head is not there yet. */
  #inbound: InboundCall | null = null
  #context!: CallContext
  /** What it ends with, as far as it is known here. */
  #status: number | null = null
  #admitted = false

  constructor(call: ServerInterceptingCallInterface, path: string, connection: Connection) {
    super(call)
    this.#call = call
    this.#path = path
    this.#connection = connection
  }

  override start(listener: ServerListener): void {
    this.#listener = listener
    this.#call.start(this)
  }

  onReceiveMetadata(metadata: Metadata): void {
    const { admission } = this.#connection
    const inbound = admission.read(this.#call, this.#path, metadata, this.#connection)
    this.#inbound = inbound
    const verdict = admission.judge(inbound, metadata)
    if (verdict === HELD) inbound.onResume = (later) => this.#answer(admission.told(inbound, later), metadata)
    else this.#answer(verdict, metadata)
  }

  #answer(refusal: Rejection | null, metadata: Metadata): void {
    const inbound = this.#inbound!
    const { admission } = this.#connection
    if (refusal !== null) {
      this.#status = refusal.grpcStatus
      this.#call.sendStatus(statusOf(refusal, inbound.answerHeaders))
      return
    }
    this.#admitted = true
    this.#context = admission.contextOf(inbound)
    admission.run(inbound, this.#context, onMetadata, this.#listener, metadata)
  }

  onReceiveMessage(message: unknown): void {
    if (this.#admitted)
      this.#connection.admission.run(this.#inbound!, this.#context, onMessage, this.#listener, message)
  }

  onReceiveHalfClose(): void {
    if (this.#admitted) this.#connection.admission.run(this.#inbound!, this.#context, onHalfClose, this.#listener, null)
  }

  onCancel(): void {
    const { admission } = this.#connection
    if (this.#inbound !== null) admission.over(this.#inbound, this.#status)
    if (this.#admitted) admission.run(this.#inbound!, this.#context, onCancel, this.#listener, null)
    else this.#listener.onCancel()
  }

  override sendMetadata(metadata: Metadata): void {
    const inbound = this.#inbound
    let told = metadata
    if (inbound !== null && !inbound.answering) {
      inbound.answering = true
      if (inbound.answerHeaders !== null) {
        // The app's own object may serve it for other calls.
        told = metadata.clone()
        tellAll(told, inbound.answerHeaders)
      }
    }
    this.#call.sendMetadata(told)
  }

  override sendMessage(message: unknown, callback: () => void): void {
    const inbound = this.#inbound
    if (inbound !== null && !inbound.answering) {
      if (inbound.answerHeaders === null) inbound.answering = true
      else this.sendMetadata(new Metadata())
    }
    this.#call.sendMessage(message, callback)
  }

  override sendStatus(status: ServerStatus): void {
    this.#status ??= status.code
    this.#call.sendStatus(this.#withMarks(status))
  }

  override getAuthContext(): AuthContext {
    const { peer } = this.#connection
    return peer === null ? this.#call.getAuthContext() : new MeshAuthContext(this.#call, peer)
  }

  /** What is said with a status besides: that hops below have repeated enough; of an answer without head, what its head says. */
  #withMarks(status: ServerStatus): ServerStatus {
    const inbound = this.#inbound
    if (inbound === null) return status
    const spent = inbound.spent && status.code !== 0
    const headers = inbound.answering ? null : inbound.answerHeaders
    if (!spent && headers === null) return status
    const metadata = status.metadata?.clone() ?? new Metadata()
    if (spent) metadata.set(SPENT_HEADER, '1')
    if (headers !== null) tellAll(metadata, headers)
    return { ...status, metadata }
  }
}

/** One function each for all calls. */
const onMetadata = (listener: ServerListener, metadata: Metadata) => listener.onReceiveMetadata(metadata)
const onMessage = (listener: ServerListener, message: unknown) => listener.onReceiveMessage(message)
const onHalfClose = (listener: ServerListener) => listener.onReceiveHalfClose()
const onCancel = (listener: ServerListener) => listener.onCancel()
