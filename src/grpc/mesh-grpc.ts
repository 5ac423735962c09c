import type { Server, ServerInterceptor, ServerOptions } from '@grpc/grpc-js'
import { type GrpcServerHost, GrpcServers, type ServedGrpc } from './server/grpc-servers.ts'

/** What gRPC needs of its mesh. */
export interface MeshGrpcOptions {
  readonly servers: GrpcServerHost
  addAdminServices(server: Server): void
}

/** gRPC in the mesh of this process, with @grpc/grpc-js as it is. */
export class MeshGrpc {
  readonly #servers: GrpcServers
  readonly #options: MeshGrpcOptions

  /** @internal Use `mesh.grpc`. */
  constructor(options: MeshGrpcOptions) {
    this.#options = options
    this.#servers = new GrpcServers(options.servers)
  }

  /**
   * A server of grpc-js that judges its calls by the policy of the mesh; services are added as usual, `listen` opens its port.
   *
   *     const server = mesh.grpc.server()
   *     server.addService(PaymentsService, handlers)
   *     await mesh.grpc.listen(server, '0.0.0.0:50051')
   */
  server(options: ServerOptions = {}): Server {
    return this.#servers.server(options)
  }

  /**
   * Opens a port of the mesh for a server of grpc-js, in place of `bindAsync`: mutual TLS and plaintext on one port as policy
   * allows, registered while it listens. Servers that were not made by `server()` are served as well.
   *
   * @param address "host:port" (port 0 = any free one), or a port of all addresses
   * @throws InmeshError ERR_INMESH_INVALID_OPTION; the error of node:net, e.g. EADDRINUSE
   */
  listen(server: Server, address: string | number): Promise<ServedGrpc> {
    return this.#servers.listen(server, address)
  }

  /**
   * For servers that are made elsewhere: to be the first of their `interceptors`. Calls by ports of the mesh are judged once,
   * with it or without it; calls by ports that others opened (`bindAsync`) are refused, because nobody knows who makes them.
   */
  serverInterceptor(): ServerInterceptor {
    return this.#servers.serverInterceptor()
  }

  /**
   * Adds gRPC's admin services (gRFC A38) to a server of grpc-js: channelz, and CSDS, which tells what configuration this process holds
   * (`grpcdebug` and the like read it). Whoever may call that server learns everything: keep it on loopback.
   */
  addAdminServices(server: Server): void {
    this.#options.addAdminServices(server)
  }
}
