import {
  type ChannelCredentials,
  type ClientOptions,
  credentials,
  InterceptingCall,
  type Interceptor,
} from '@grpc/grpc-js'
import { InmeshError } from '../errors.ts'
import type { Logger } from '../model/logger.ts'
import { BottomCall } from './bottom-call.ts'
import { authorityOf, MeshChannel } from './channel.ts'
import type { GrpcDispatcher } from './dispatcher.ts'
import { type MeshChannelOptions, readOptions } from './options.ts'

/** A generated client: what `makeClientConstructor`, proto-loader and ts-proto make. */
export type GrpcClientConstructor<T> = new (
  address: string,
  credentials: ChannelCredentials,
  options?: Partial<ClientOptions>,
) => T

export interface GrpcClientsOptions {
  readonly dispatcher: GrpcDispatcher
  readonly logger: Logger
  /** Of inmesh, for user-agent. */
  readonly version: string
}

/** Makes what clients of grpc-js call the mesh with. */
export class GrpcClients {
  private readonly dispatcher: GrpcDispatcher
  private readonly logger: Logger
  private readonly version: string

  constructor(options: GrpcClientsOptions) {
    this.dispatcher = options.dispatcher
    this.logger = options.logger
    this.version = options.version
  }

  /**
   * A client whose calls go through the mesh. Its interceptors act above the mesh: once per call, not per try.
   *
   * @param target the service as the mesh knows it, like "payments" or "payments:8080"; schemes such as "dns:///" are left out
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  client<T>(
    Client: GrpcClientConstructor<T>,
    target: string,
    options: MeshChannelOptions & Partial<ClientOptions> = {},
  ): T {
    if (typeof Client !== 'function')
      throw new InmeshError(
        'ERR_INMESH_INVALID_OPTION',
        `the first argument of mesh.grpc.client is ${Client === null ? 'null' : `of type ${typeof Client}`}: expected a client class, as protoc, proto-loader and makeClientConstructor make them`,
      )
    const channelOverride = this.channel(target, options)
    // The mesh encrypts by itself: these are never used.
    return new Client(target, credentials.createInsecure(), { ...options, channelOverride })
  }

  /**
   * A channel of grpc-js, for `channelOverride` of clients that are made elsewhere. Has no connections of its own.
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  channel(target: string, options: MeshChannelOptions & Readonly<Record<string, unknown>> = {}): MeshChannel {
    const authority = checkedAuthority(target)
    const { settings, ignored } = readOptions(options, this.version)
    if (ignored.length > 0)
      this.logger.warn('options of a gRPC channel that have no effect in the mesh', { target, options: ignored })
    return new MeshChannel(this.dispatcher, target, authority, settings)
  }

  /**
   * A channel for what a target of grpc-js names. Its options are what grpc-js itself puts together, so nobody is told of those
   * that have no effect.
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  target(name: string, options: Readonly<Record<string, unknown>>): MeshChannel {
    return new MeshChannel(this.dispatcher, name, authorityOf(name), readOptions(options, this.version).settings)
  }

  /**
   * An interceptor that hands the calls of a client to the mesh, for code that makes its clients by itself and lets in
   * interceptors but no channel. Must be the last of them; the client's own channel never connects.
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  clientInterceptor(target: string, options: MeshChannelOptions & Readonly<Record<string, unknown>> = {}): Interceptor {
    const channel = this.channel(target, options)
    return (call) => {
      const { method_definition: definition, deadline = Number.POSITIVE_INFINITY, host, parent, propagate_flags } = call
      const made = channel.createCall(definition.path, deadline, host, parent ?? null, propagate_flags)
      if (call.credentials !== undefined) made.setCredentials(call.credentials)
      return new InterceptingCall(new BottomCall(made, definition) as unknown as InterceptingCall)
    }
  }
}

/** What can name no service would only be waited for. Federated names (gRFC A47) are the control plane's to understand. */
function checkedAuthority(target: unknown): string {
  const authority = typeof target === 'string' ? authorityOf(target) : ''
  if (authority.startsWith('xds://')) return authority
  const [, port] = /^(?:\[[^\s/\]]+\]|[^\s/:[\]]+)(?::([0-9]{1,5}))?$/.exec(authority) ?? ['', '0']
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535))
    throw new InmeshError(
      'ERR_INMESH_INVALID_OPTION',
      `target is ${JSON.stringify(target)}: expected a service of the mesh, like "payments", "payments.shop" or "payments:8080"`,
    )
  return authority
}
