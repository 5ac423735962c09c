import type { Server } from 'node:http'
import type { AddressInfo, Server as NetServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { CloseOptions, MeshServer } from './http/server.ts'

interface Endpoint {
  readonly address: string
  readonly port: number
}

/** What a mesh wants to know of its servers. */
export interface ServerHost {
  /** It listens; from now on it is to be registered and needs policy. */
  opened(server: ServedPort): void
  closed(server: ServedPort): void
  /** Name of the resource that says what to enforce, by the address that is listened on and the one that others dial. */
  inboundName(bound: Endpoint, dialled: Endpoint): string
  /** Address that others dial, where the listening one says nothing. */
  readonly advertise: string | null
}

/** What stands behind a port: of HTTP or of gRPC. */
export interface PortServer {
  /** The server that listens. */
  readonly server: NetServer
  address(): AddressInfo | string | null
  drain(spreadMs?: number): void
  close(options?: CloseOptions): Promise<void>
}

/** A port of this process that takes part in the mesh: registered while it listens. */
export class ServedPort {
  /** Address and port that other workloads dial; null before it listens. */
  endpoint: Endpoint | null = null
  /** Resource that says what to enforce; '' before it listens. */
  inboundName = ''
  /** What is spoken there. */
  readonly protocol: 'http' | 'grpc'
  readonly #server: PortServer
  readonly #host: ServerHost

  constructor(server: PortServer, host: ServerHost, protocol: 'http' | 'grpc') {
    this.#server = server
    this.#host = host
    this.protocol = protocol
    server.server.on('listening', () => {
      const bound = server.address()
      // A Unix socket cannot be dialled by other workloads.
      if (bound === null || typeof bound === 'string') return
      this.endpoint = { address: host.advertise ?? dialable(bound), port: bound.port }
      this.inboundName = host.inboundName(bound, this.endpoint)
      host.opened(this)
    })
  }

  address(): AddressInfo | string | null {
    return this.#server.address()
  }

  /** Clients are asked to leave, more and more of them over `spreadMs`; served as before. See MeshServer.drain, GrpcPort.drain. */
  drain(spreadMs = 0): void {
    this.#server.drain(spreadMs)
  }

  /**
   * Ends gracefully; see MeshServer.close, GrpcPort.close. `mesh.close()` does it for all servers, in the right order.
   */
  async close(options?: CloseOptions): Promise<void> {
    this.#host.closed(this)
    await this.#server.close(options)
  }
}

/** A server of HTTP. */
export class ServedServer extends ServedPort {
  readonly #server: MeshServer

  constructor(server: MeshServer, host: ServerHost) {
    super(server, host, 'http')
    this.#server = server
  }

  /** The node:http server that listens, for `setTimeout` and the like. */
  get server(): Server {
    return this.#server.server
  }

  /**
   * Listens, as node:http does. Connections wait until identity and policy are there. Registered as soon as the control plane can be reached.
   * @param port 0 = any free one
   * @param host default: all addresses
   * @throws the error of node:net, e.g. EADDRINUSE
   */
  listen(port = 0, host?: string): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      const { server } = this.#server
      server.once('error', reject)
      server.listen(port, host, () => {
        server.off('error', reject)
        resolve(server.address() as AddressInfo)
      })
    })
  }
}

/** An unspecified address is dialled by one of the machine's own. */
function dialable(bound: AddressInfo): string {
  if (bound.address !== '0.0.0.0' && bound.address !== '::') return bound.address
  for (const addresses of Object.values(networkInterfaces()))
    for (const { family, internal, address } of addresses ?? []) if (family === 'IPv4' && !internal) return address
  return '127.0.0.1'
}
