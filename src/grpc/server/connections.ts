import type { Socket } from 'node:net'
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js'
import type { Peer } from '../../model/peer.ts'
import { getPeer } from '../../transport/peer.ts'
import type { GrpcAdmission } from './admission.ts'

/** Where a call came from, as grpc-js tells it. */
export type ConnectionInfo = ReturnType<ServerInterceptingCallInterface['getConnectionInfo']>

/** ms for the last answer of a connection to reach the other side. */
const FLUSH_MS = 50

/** A connection that was let in. */
export class Connection {
  /** null = plaintext. */
  readonly peer: Peer | null
  /** Judges its calls. */
  readonly admission: GrpcAdmission
  /** Its calls are judged by an interceptor of the port: those of the server have nothing to do. */
  readonly judgedByPort: boolean
  readonly remoteAddress: string
  readonly localAddress: string
  readonly localPort: number
  private readonly socket: Socket
  private calls = 0
  private leaving = false

  constructor(socket: Socket, admission: GrpcAdmission, judgedByPort: boolean) {
    this.socket = socket
    this.admission = admission
    this.judgedByPort = judgedByPort
    this.peer = getPeer({ socket }) ?? null
    this.remoteAddress = socket.remoteAddress!
    this.localAddress = socket.localAddress!
    this.localPort = socket.localPort!
  }

  begin(): void {
    this.calls++
  }

  end(): void {
    if (--this.calls > 0 || !this.leaving) return
    setTimeout(() => {
      if (this.calls === 0) this.socket.destroy()
    }, FLUSH_MS).unref()
  }

  /** It is of no more use to its client, who does not know: it is closed when its calls are over. */
  leave(): void {
    this.leaving = true
  }
}

/**
 * The connections that the ports of one mesh let in. grpc-js tells interceptors the two addresses of a call's connection and not
 * the connection: while it stands no other has the same.
 */
export class Connections {
  /** By the port of the other side, where there is seldom more than one. */
  private readonly byPort = new Map<number, Connection[]>()

  /** Knows the connection until it is closed; undefined = it is closed already. */
  add(socket: Socket, admission: GrpcAdmission, judgedByPort: boolean): Connection | undefined {
    const { remoteAddress, remotePort, localAddress, localPort } = socket
    if (
      remoteAddress === undefined ||
      remotePort === undefined ||
      localAddress === undefined ||
      localPort === undefined
    )
      return undefined
    const connection = new Connection(socket, admission, judgedByPort)
    const others = this.byPort.get(remotePort)
    if (others === undefined) this.byPort.set(remotePort, [connection])
    else others.push(connection)
    socket.once('close', () => this.remove(remotePort, connection))
    return connection
  }

  /** undefined = it did not come in by a port of the mesh, or is gone. */
  of({ remotePort, remoteAddress, localPort, localAddress }: ConnectionInfo): Connection | undefined {
    const candidates = remotePort === undefined ? undefined : this.byPort.get(remotePort)
    if (candidates === undefined) return undefined
    // The newest first: one that is gone may not have been removed yet.
    for (let i = candidates.length - 1; i >= 0; i--) {
      const one = candidates[i]!
      if (one.remoteAddress === remoteAddress && one.localPort === localPort && one.localAddress === localAddress)
        return one
    }
    return undefined
  }

  private remove(remotePort: number, connection: Connection): void {
    const left = this.byPort.get(remotePort)!.filter((one) => one !== connection)
    if (left.length === 0) this.byPort.delete(remotePort)
    else this.byPort.set(remotePort, left)
  }
}
