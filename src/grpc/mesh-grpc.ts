import type {
  ChannelCredentials,
  ClientOptions,
  Interceptor,
  Server,
  ServerInterceptor,
  ServerOptions,
} from '@grpc/grpc-js'
import type { Logger } from '../model/logger.ts'
import type { MeshChannel } from './channel.ts'
import { type GrpcClientConstructor, GrpcClients } from './clients.ts'
import { GrpcDispatcher, type GrpcDispatcherOptions } from './dispatcher.ts'
import type { MeshChannelOptions } from './options.ts'
import { type GrpcServerHost, GrpcServers, type ServedGrpc } from './server/grpc-servers.ts'
import type { GrpcHealth } from './server/health.ts'
import { MeshCredentials } from './target/mesh-credentials.ts'
import { registerTargets } from './target/register.ts'

const meshCredentials = new MeshCredentials()

/** What gRPC needs of its mesh. */
export interface MeshGrpcOptions {
  readonly servers: GrpcServerHost
  addAdminServices(server: Server): void
  readonly clients: GrpcDispatcherOptions
  readonly logger: Logger
  /** Of inmesh, for user-agent. */
  readonly version: string
}

/**
 * gRPC in the mesh of this process, with @grpc/grpc-js as it is:
 *
 *     const payments = mesh.grpc.client(PaymentsClient, 'payments')
 *     payments.charge(request, (error, response) => {})
 */
export class MeshGrpc {
  readonly #servers: GrpcServers
  readonly #options: MeshGrpcOptions
  readonly #calls: GrpcDispatcher
  readonly #clients: GrpcClients
  #unregister: (() => void) | null = null

  /** @internal Use `mesh.grpc`. */
  constructor(options: MeshGrpcOptions) {
    this.#options = options
    this.#servers = new GrpcServers(options.servers)
    this.#calls = new GrpcDispatcher(options.clients)
    this.#clients = new GrpcClients({ ...options, dispatcher: this.#calls })
  }

  /**
   * A client whose calls go through the mesh. Its interceptors act above the mesh: once per call, not per try.
   *
   * @param Client what `makeClientConstructor`, proto-loader or ts-proto makes
   * @param target the service as the mesh knows it, like "payments" or "payments:8080"; schemes such as "dns:///" are left out
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  client<T>(
    Client: GrpcClientConstructor<T>,
    target: string,
    options: MeshChannelOptions & Partial<ClientOptions> = {},
  ): T {
    return this.#clients.client(Client, target, options)
  }

  /**
   * A channel of grpc-js, for `channelOverride` of clients that are made elsewhere. Has no connections of its own: all channels
   * of a mesh share those to a host.
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  channel(target: string, options: MeshChannelOptions & Readonly<Record<string, unknown>> = {}): MeshChannel {
    return this.#clients.channel(target, options)
  }

  /**
   * An interceptor that hands the calls of a client to the mesh, for code that makes its clients by itself and lets in
   * interceptors but no channel. Must be the last of them; the client's own channel never connects.
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  clientInterceptor(target: string, options: MeshChannelOptions & Readonly<Record<string, unknown>> = {}): Interceptor {
    return this.#clients.clientInterceptor(target, options)
  }

  /**
   * From now on channels and clients of this process with targets `mesh:///SERVICE` or `xds:///SERVICE` call through this mesh:
   * for code that makes them by itself and is not to be changed. Goes by the experimental interface of grpc-js, which is
   * looked at before it is touched. Closing the mesh takes it back.
   *
   * @returns takes it back
   * @throws InmeshError ERR_INMESH_GRPC_TARGETS when this version of grpc-js cannot do it, or another mesh has done it
   */
  register(): () => void {
    this.#unregister ??= registerTargets((name, options) => this.#clients.target(name, options))
    return () => {
      this.#unregister?.()
      this.#unregister = null
    }
  }

  /**
   * For clients whose target is the mesh's (see `register`). Any others do as well, because the mesh encrypts by itself; with
   * these, a client whose target is not the mesh's fails instead of going out unprotected, and call credentials may be added.
   */
  credentials(): ChannelCredentials {
    return meshCredentials
  }

  /** @internal Takes no new calls out, waits for those under way, closes their connections. */
  close(): Promise<void> {
    this.#unregister?.()
    return this.#calls.close()
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
   * Adds gRPC's health service (grpc.health.v1.Health) to a server of grpc-js: what health checks of the mesh, Kubernetes and
   * load balancers ask. Without more it says SERVING of the server as a whole.
   *
   *     const health = mesh.grpc.addHealth(server)
   *     health.set('shop.Payments', database.connected)
   *
   * @throws InmeshError ERR_INMESH_INVALID_OPTION when the server has one from here; an Error of grpc-js when it has one from elsewhere
   */
  addHealth(server: Server): GrpcHealth {
    return this.#servers.addHealth(server)
  }

  /**
   * Adds gRPC's admin services (gRFC A38) to a server of grpc-js: channelz, and CSDS, which tells what configuration this process holds
   * (`grpcdebug` and the like read it). Whoever may call that server learns everything: keep it on loopback.
   */
  addAdminServices(server: Server): void {
    this.#options.addAdminServices(server)
  }
}
