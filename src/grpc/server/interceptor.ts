import { ServerInterceptingCall, type ServerInterceptingCallInterface, type ServerInterceptor } from '@grpc/grpc-js'
import { rejections } from '../../engine/rejection.ts'
import type { Connections } from './connections.ts'
import { statusOf } from './refusal.ts'
import { ServerCall } from './server-call.ts'
import type { ServerListener } from './types.ts'

/**
 * Judges the calls that come in by ports of the mesh, and refuses all others: of those nobody knows who they are from. To be
 * the first of a server's interceptors, so that no other sees a call before it is judged.
 */
export function meshInterceptor(connections: Connections): ServerInterceptor {
  return ({ path }, call) => {
    const connection = connections.of(call.getConnectionInfo())
    if (connection === undefined) return new StrayCall(call)
    return connection.judgedByPort ? new ServerInterceptingCall(call) : new ServerCall(call, path, connection)
  }
}

/** The same for the ports of servers that were made without it. */
export function portInterceptor(connections: Connections): ServerInterceptor {
  return ({ path }, call) => {
    const connection = connections.of(call.getConnectionInfo())
    return connection === undefined ? new StrayCall(call) : new ServerCall(call, path, connection)
  }
}

/** A call that did not come in by the mesh, or whose connection is gone. */
class StrayCall extends ServerInterceptingCall {
  readonly #call: ServerInterceptingCallInterface

  constructor(call: ServerInterceptingCallInterface) {
    super(call)
    this.#call = call
  }

  override start(listener: ServerListener): void {
    this.#call.start({
      onReceiveMetadata: () => this.#call.sendStatus(statusOf(rejections.strayPort, null)),
      onReceiveMessage: () => undefined,
      onReceiveHalfClose: () => undefined,
      onCancel: () => listener.onCancel(),
    })
  }
}
