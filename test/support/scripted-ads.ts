import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js'
import {
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from '../../src/gen/envoy/service/discovery/v3/discovery_pb.js'
import { AdsRules } from './ads-rules.ts'

type Call = ServerDuplexStream<Buffer, Buffer>

/**
 * An ADS server on a real socket that does what a test tells it, byte for byte, and shows what it got. It decides
 * nothing: each stream waits for the script.
 *
 * @example
 * const server = await ScriptedAds.start()
 * const stream = await server.stream()
 * const request = await stream.request((r) => r.typeUrl === TypeUrl.listener)
 * stream.respond(TypeUrl.listener, 'v1', [listener('payments', 'routes')])
 */
export class ScriptedAds {
  readonly #server: Server
  readonly #streams: ScriptedStream[] = []
  readonly #waiting: ((stream: ScriptedStream) => void)[] = []
  port = 0
  /** Streams that were opened since the start. */
  opened = 0

  static async start(credentials = ServerCredentials.createInsecure(), port = 0): Promise<ScriptedAds> {
    const ads = new ScriptedAds(new Server())
    ads.port = await new Promise<number>((resolve, reject) => {
      ads.#server.bindAsync(`127.0.0.1:${port}`, credentials, (error, bound) =>
        error ? reject(error) : resolve(bound),
      )
    })
    return ads
  }

  private constructor(server: Server) {
    this.#server = server
    const raw = (bytes: Buffer) => bytes
    const codec = { requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw }
    const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources'
    server.addService(
      { StreamAggregatedResources: { path, requestStream: true, responseStream: true, ...codec } },
      { StreamAggregatedResources: (call: Call) => this.#accept(new ScriptedStream(call)) },
    )
  }

  get target(): string {
    return `127.0.0.1:${this.port}`
  }

  /** The next stream that a client opened and no one took yet. */
  stream(): Promise<ScriptedStream> {
    const ready = this.#streams.shift()
    return ready === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(ready)
  }

  /** Cuts all connections. */
  close(): void {
    this.#server.forceShutdown()
  }

  #accept(stream: ScriptedStream): void {
    this.opened++
    const waiter = this.#waiting.shift()
    if (waiter === undefined) this.#streams.push(stream)
    else waiter(stream)
  }
}

interface Waiter {
  matches: (request: DiscoveryRequest) => boolean
  resolve: (request: DiscoveryRequest) => void
}

/** One stream of one client, from the server's side. */
export class ScriptedStream {
  readonly #call: Call
  /** All requests so far. */
  readonly requests: DiscoveryRequest[] = []
  /** What the client did against the protocol. */
  readonly rules = new AdsRules()
  /** Settles when the client is gone. */
  readonly gone: Promise<void>
  readonly #unread: DiscoveryRequest[] = []
  readonly #waiters: Waiter[] = []
  #nonce = 0

  constructor(call: Call) {
    this.#call = call
    call.on('data', (bytes: Buffer) => this.#seen(fromBinary(DiscoveryRequestSchema, bytes)))
    this.gone = new Promise((resolve) => {
      call.on('cancelled', resolve)
      call.on('end', resolve)
    })
  }

  /** The first request not asked for before that matches; waits for it. Those that do not match are kept. */
  request(matches: string | ((request: DiscoveryRequest) => boolean) = () => true): Promise<DiscoveryRequest> {
    const test = typeof matches === 'string' ? (r: DiscoveryRequest) => r.typeUrl === matches : matches
    const index = this.#unread.findIndex(test)
    const [found] = index < 0 ? [] : this.#unread.splice(index, 1)
    if (found !== undefined) return Promise.resolve(found)
    return new Promise((resolve) => this.#waiters.push({ matches: test, resolve }))
  }

  /** Sends a response. @returns its nonce */
  respond(typeUrl: string, version: string, resources: readonly Any[], nonce = `n${++this.#nonce}`): string {
    this.rules.responseSent(typeUrl, version, nonce)
    const response = create(DiscoveryResponseSchema, {
      typeUrl,
      versionInfo: version,
      nonce,
      resources: [...resources],
    })
    this.raw(toBinary(DiscoveryResponseSchema, response))
    return nonce
  }

  /** Sends these bytes as a message. */
  raw(bytes: Uint8Array): void {
    this.#call.write(Buffer.from(bytes))
  }

  /** Ends the stream; code 0 is a clean end. */
  end(code: status = status.OK, details = ''): void {
    if (code === status.OK) this.#call.end()
    else this.#call.emit('error', { code, details })
  }

  #seen(request: DiscoveryRequest): void {
    this.rules.requestSeen(request)
    this.requests.push(request)
    const index = this.#waiters.findIndex((w) => w.matches(request))
    const [waiter] = index < 0 ? [] : this.#waiters.splice(index, 1)
    if (waiter === undefined) this.#unread.push(request)
    else waiter.resolve(request)
  }
}
