import type { AddressInfo } from 'node:net'
import { Server, type ServerInterceptor, type ServerOptions } from '@grpc/grpc-js'
import { InmeshError } from '../../errors.ts'
import { Connections } from './connections.ts'
import { GrpcHealth } from './health.ts'
import { meshInterceptor } from './interceptor.ts'
import { GrpcPort, type GrpcPortOptions } from './port.ts'

/** A port of this process that speaks gRPC in the mesh: registered while it listens. */
export interface ServedGrpc {
  /** Address and port that other workloads dial. */
  readonly endpoint: { readonly address: string; readonly port: number }
  /** What is listened on; null after `close`. */
  address(): AddressInfo | null
  /** Connected clients are asked to go, more and more of them over `spreadMs` (default 0); calls are served as before. */
  drain(spreadMs?: number): void
  /**
   * Ends: no more registered, no new connections, clients are told to go, calls under way get `graceMs` (default 30,000).
   * `mesh.close()` does it for all servers, in the right order. The grpc-js server itself stays.
   */
  close(options?: { graceMs?: number }): Promise<void>
}

/** A port that may not listen yet. */
type Opening = Omit<ServedGrpc, 'endpoint' | 'address'> & {
  readonly endpoint: ServedGrpc['endpoint'] | null
  address(): AddressInfo | string | null
}

/** Makes ports part of a mesh. */
export interface GrpcServerHost {
  serve(make: (options: Omit<GrpcPortOptions, 'connections'>) => GrpcPort): Opening
}

/** The servers of gRPC of one mesh. */
export class GrpcServers {
  private readonly host: GrpcServerHost
  private readonly connections = new Connections()
  private readonly interceptor: ServerInterceptor = meshInterceptor(this.connections)
  /** Those that were made with the interceptor. */
  private readonly own = new WeakSet<Server>()
  private readonly health = new WeakMap<Server, GrpcHealth>()
  /** How many ports each has. */
  private readonly ports = new WeakMap<Server, number>()

  constructor(host: GrpcServerHost) {
    this.host = host
  }

  server(options: ServerOptions = {}): Server {
    const server = new Server({ ...options, interceptors: [this.interceptor, ...(options.interceptors ?? [])] })
    this.own.add(server)
    return server
  }

  /** @throws InmeshError ERR_INMESH_INVALID_OPTION when the server has one */
  addHealth(server: Server): GrpcHealth {
    if (this.health.has(server))
      throw new InmeshError('ERR_INMESH_INVALID_OPTION', 'this server has a health service already')
    const health = new GrpcHealth(server)
    this.health.set(server, health)
    return health
  }

  serverInterceptor(): ServerInterceptor {
    return this.interceptor
  }

  async listen(server: Server, address: string | number): Promise<ServedGrpc> {
    if (!(server instanceof Server))
      throw new InmeshError(
        'ERR_INMESH_INVALID_OPTION',
        `the first argument of mesh.grpc.listen is ${noServer(server)}`,
      )
    const { host, port } = readAddress(address)
    const made: GrpcPort[] = []
    const served = this.host.serve((options) => {
      const closing = () => this.count(server, -1)
      made.push(new GrpcPort(server, this.own.has(server), { ...options, connections: this.connections, closing }))
      return made[0]!
    })
    this.count(server, 1)
    try {
      await listening(made[0]!, port, host)
    } catch (error) {
      await made[0]!.close({ graceMs: 0 })
      throw error
    }
    // It listens, and never on a Unix socket: what may be missing is there.
    return served as ServedGrpc
  }

  private count(server: Server, change: 1 | -1): void {
    const ports = (this.ports.get(server) ?? 0) + change
    this.ports.set(server, ports)
    if (ports === 0) this.health.get(server)?.endWatches()
  }
}

function noServer(given: unknown): string {
  return typeof (given as Partial<Server> | null | undefined)?.bindAsync === 'function'
    ? 'of another copy of @grpc/grpc-js than the one of inmesh ("npm ls @grpc/grpc-js" shows them): use one version, or mesh.grpc.server()'
    : 'no Server of @grpc/grpc-js: mesh.grpc.server() makes one'
}

function listening({ server }: GrpcPort, port: number, host: string | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** "host:port", "[::1]:port", or a port of all addresses. */
function readAddress(address: string | number): { host: string | undefined; port: number } {
  const [, host, digits] = /^(?:(\[[^\]]+\]|[^:]*):)?([0-9]{1,5})$/.exec(String(address)) ?? []
  const port = Number(digits)
  if (digits === undefined || port > 65_535)
    throw new InmeshError(
      'ERR_INMESH_INVALID_OPTION',
      `address is ${JSON.stringify(address)}: expected "host:port", like "0.0.0.0:50051", or a port`,
    )
  return { host: host === undefined || host === '' ? undefined : host.replace(/^\[|\]$/g, ''), port }
}
