import type { InterceptorOptions, Metadata, StatusObject } from '@grpc/grpc-js'
import { Metadata as EmptyMetadata, status as Status } from '@grpc/grpc-js'
import type { GrpcCall, GrpcListener } from './types.ts'

type Definition = InterceptorOptions['method_definition']
type MessageContext = Parameters<GrpcCall['sendMessageWithContext']>[0]

/** Listeners as interceptors of grpc-js give them: any of it may be left out. */
interface Listener {
  onReceiveMetadata?: (metadata: Metadata) => void
  onReceiveMessage?: (message: unknown) => void
  onReceiveStatus?: (status: StatusObject) => void
}

/** The lowest call of a chain of interceptors, which turns messages into bytes and back; grpc-js does not export its own. */
export class BottomCall {
  private readonly call: GrpcCall
  private readonly definition: Definition

  constructor(call: GrpcCall, definition: Definition) {
    this.call = call
    this.definition = definition
  }

  start(metadata: Metadata, listener: Listener = {}): void {
    this.call.start(metadata, new Deserializing(this.call, this.definition, listener))
    // Nobody reads the one answer of a unary call.
    if (!this.definition.responseStream) this.call.startRead()
  }

  sendMessageWithContext(context: MessageContext, message: unknown): void {
    let bytes: Buffer
    try {
      bytes = this.definition.requestSerialize(message)
    } catch (error) {
      this.call.cancelWithStatus(Status.INTERNAL, `Request message serialization failure: ${(error as Error).message}`)
      return
    }
    this.call.sendMessageWithContext(context, bytes)
  }

  sendMessage(message: unknown): void {
    this.sendMessageWithContext({}, message)
  }

  startRead(): void {
    this.call.startRead()
  }

  halfClose(): void {
    this.call.halfClose()
  }

  cancelWithStatus(code: Status, details: string): void {
    this.call.cancelWithStatus(code, details)
  }

  getPeer(): string {
    return this.call.getPeer()
  }

  getAuthContext(): ReturnType<GrpcCall['getAuthContext']> {
    return this.call.getAuthContext()
  }
}

class Deserializing implements GrpcListener {
  private readonly call: GrpcCall
  private readonly definition: Definition
  private readonly listener: Listener
  private failure: StatusObject | null = null
  private received = false

  constructor(call: GrpcCall, definition: Definition, listener: Listener) {
    this.call = call
    this.definition = definition
    this.listener = listener
  }

  onReceiveMetadata(metadata: Metadata): void {
    this.listener.onReceiveMetadata?.(metadata)
  }

  onReceiveMessage(bytes: Buffer): void {
    let message: unknown
    try {
      message = this.definition.responseDeserialize(bytes)
    } catch (error) {
      const details = `Response message parsing error: ${(error as Error).message}`
      this.failure = { code: Status.INTERNAL, details, metadata: new EmptyMetadata() }
      this.call.cancelWithStatus(Status.INTERNAL, details)
      return
    }
    this.received = true
    this.listener.onReceiveMessage?.(message)
  }

  onReceiveStatus(status: StatusObject): void {
    // What grpc-js does: whoever waits for the one answer of a unary call is told that there is none.
    if (!this.received && !this.definition.responseStream) this.listener.onReceiveMessage?.(null)
    this.listener.onReceiveStatus?.(this.failure ?? status)
  }
}
