import { X509Certificate } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { InmeshError } from '../src/errors.ts'
import {
  type IssueRequest,
  IssueRequestSchema,
  type IssueResponse,
  IssueResponseSchema,
} from '../src/gen/inmesh/v1/ca_pb.js'
import type { RegisterRequest, RegisterResponse } from '../src/gen/inmesh/v1/registry_pb.js'
import type { IdentityState } from '../src/identity/identity-state.ts'
import type { Logger } from '../src/model/logger.ts'
import { IssueError } from './ca/issue-error.ts'
import type { CaService } from './ca/service.ts'
import { type AdsServer, aggregatedDiscoveryService } from './discovery/ads-server.ts'
import type { Caller } from './discovery/caller.ts'
import type { ConnectionIdentity } from './discovery/client-view.ts'
import { parseAddress } from './listen-address.ts'
import { type LoadCall, type LoadSink, loadReportingService } from './loads/load-sink.ts'
import { PlainPort } from './plain-port.ts'
import { type WorkloadRegistry, workloadRegistryService } from './registry/service.ts'
import { SecurePort } from './secure-port.ts'

export interface GrpcServerOptions {
  readonly ads: AdsServer
  readonly registry: WorkloadRegistry
  readonly loads: LoadSink
  readonly ca: CaService
  readonly state: IdentityState
  readonly logger: Logger
  /** "host:port" of the TLS port. */
  readonly listen: string
  /** "host:port" of the plaintext port; must be loopback. undefined = none. */
  readonly insecureXds: string | undefined
  readonly handshakeTimeoutMs: number
}

/** Finds silent peers after 10 s + 5 s, and bounds what one connection may hold. */
const channelOptions = {
  'grpc.max_receive_message_length': 4 * 1024 * 1024,
  'grpc.max_send_message_length': -1,
  'grpc.max_concurrent_streams': 100,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.http2.min_ping_interval_without_data_ms': 5_000,
  'grpc.enable_channelz': 0,
}

const certificateAuthorityService: ServiceDefinition = {
  Issue: {
    path: '/inmesh.v1.CertificateAuthority/Issue',
    requestStream: false,
    responseStream: false,
    requestSerialize: (m: IssueRequest) => Buffer.from(toBinary(IssueRequestSchema, m)),
    requestDeserialize: (b: Buffer) => fromBinary(IssueRequestSchema, b),
    responseSerialize: (m: IssueResponse) => Buffer.from(toBinary(IssueResponseSchema, m)),
    responseDeserialize: (b: Buffer) => fromBinary(IssueResponseSchema, b),
  },
}

/** The control plane's gRPC services: all on the TLS port, discovery and load reports alone on the plaintext development port. */
export class GrpcServer {
  readonly #options: GrpcServerOptions
  readonly #secure = new Server(channelOptions)
  readonly #insecure = new Server(channelOptions)
  readonly #port: SecurePort
  readonly #plain: PlainPort
  readonly #injector: ReturnType<Server['createConnectionInjector']>
  /** Verified peers of open connections by certificate: what ties a call to its connection. */
  readonly #identities = new Map<string, { identity: ConnectionIdentity; connections: number }>()

  constructor(options: GrpcServerOptions) {
    this.#options = options
    this.#mount()
    this.#injector = this.#secure.createConnectionInjector(ServerCredentials.createInsecure())
    const plain = this.#insecure.createConnectionInjector(ServerCredentials.createInsecure())
    this.#plain = new PlainPort((socket) => plain.injectConnection(socket))
    this.#port = new SecurePort({
      state: options.state,
      logger: options.logger,
      handshakeTimeoutMs: options.handshakeTimeoutMs,
      onConnection: (socket, identity) => {
        if (identity !== null) socket.once('close', this.#remember(socket.getPeerX509Certificate()!, identity))
        this.#injector.injectConnection(socket)
      },
    })
  }

  /** Ports that were bound. Rejects with the system's error. */
  async start(): Promise<{ listen: number; insecureXds: number | undefined }> {
    const { host, port } = parseAddress('--listen', this.#options.listen)
    const insecureXds = await this.#startInsecure()
    return { listen: await this.#port.listen(host, port), insecureXds }
  }

  /** Ends streams with UNAVAILABLE, waits up to `graceMs` for calls, then closes. */
  async close(graceMs: number): Promise<void> {
    this.#options.ads.close()
    this.#options.loads.close()
    await this.#options.registry.close()
    this.#injector.drain(graceMs)
    this.#plain.close()
    await this.#port.close(graceMs)
    this.#injector.destroy()
    this.#secure.forceShutdown()
    this.#insecure.forceShutdown()
  }

  #mount(): void {
    const { ads, registry, loads } = this.#options
    this.#secure.addService(aggregatedDiscoveryService, {
      StreamAggregatedResources: (call: ServerDuplexStream<Buffer, Buffer>) => ads.serve(call, this.#caller(call)),
    })
    this.#secure.addService(loadReportingService, {
      StreamLoadStats: (call: LoadCall) => loads.serve(call, this.#caller(call)),
    })
    this.#secure.addService(workloadRegistryService, {
      Register: (call: ServerDuplexStream<RegisterRequest, RegisterResponse>) =>
        registry.serve(call, this.#caller(call)),
    })
    this.#secure.addService(certificateAuthorityService, {
      Issue: (call: ServerUnaryCall<IssueRequest, IssueResponse>, done: sendUnaryData<IssueResponse>) =>
        void this.#issue(call).then(
          (response) => done(null, response),
          (error: Error) => done(this.#asStatus(error)),
        ),
    })
    this.#insecure.addService(aggregatedDiscoveryService, {
      StreamAggregatedResources: (call: ServerDuplexStream<Buffer, Buffer>) =>
        ads.serve(call, { kind: 'insecure', address: call.getPeer() }),
    })
    this.#insecure.addService(loadReportingService, {
      StreamLoadStats: (call: LoadCall) => loads.serve(call, { kind: 'insecure', address: call.getPeer() }),
    })
  }

  async #issue(call: ServerUnaryCall<IssueRequest, IssueResponse>): Promise<IssueResponse> {
    const raw = call.getAuthContext().sslPeerCertificate?.raw
    const address = call.getPeer().replace(/:\d+$/, '')
    return this.#options.ca.issue(call.request, raw === undefined ? null : new X509Certificate(raw), address)
  }

  #asStatus(error: Error): { code: status; details: string } {
    if (error instanceof IssueError) return { code: error.status, details: error.message }
    this.#options.logger.error('certificate could not be issued', { error })
    return { code: status.INTERNAL, details: 'the certificate could not be issued' }
  }

  /**
   * Who calls. The certificate of the call's own connection is the key, and every connection that is let in with one was
   * verified: a call whose certificate is not known here is anonymous.
   */
  #caller(call: Pick<ServerUnaryCall<unknown, unknown>, 'getPeer' | 'getAuthContext'>): Caller {
    const address = call.getPeer()
    const fingerprint = call.getAuthContext().sslPeerCertificate?.fingerprint256
    const known = fingerprint === undefined ? undefined : this.#identities.get(fingerprint)
    return known === undefined ? { kind: 'anonymous', address } : { kind: 'mesh', identity: known.identity, address }
  }

  #remember(certificate: X509Certificate, identity: ConnectionIdentity): () => void {
    const key = certificate.fingerprint256
    const entry = this.#identities.get(key) ?? { identity, connections: 0 }
    entry.connections++
    this.#identities.set(key, entry)
    return () => {
      if (--entry.connections === 0) this.#identities.delete(key)
    }
  }

  async #startInsecure(): Promise<number | undefined> {
    const { insecureXds } = this.#options
    if (insecureXds === undefined) return undefined
    const { host, port } = parseAddress('--insecure-xds', insecureXds)
    const { address } = await lookup(host)
    if (address !== '::1' && !address.startsWith('127.'))
      throw new InmeshError(
        'ERR_INMESH_INVALID_OPTION',
        `--insecure-xds is "${insecureXds}": expected a loopback address, for it asks nobody who he is`,
      )
    return this.#plain.listen(address, port)
  }
}
