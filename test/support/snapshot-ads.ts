import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js'
import {
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from '../../src/gen/envoy/service/discovery/v3/discovery_pb.js'
import { peekName } from '../../src/xds/resources/resource-name.ts'

type Call = ServerDuplexStream<Buffer, Buffer>

/**
 * A control plane of the simplest kind, on a real socket: it has a set of resources and sends each client those of the names that
 * it asks for, all of a type whenever one of them changes.
 */
export class SnapshotAds {
  /** Why clients refused what they were sent. */
  readonly nacks: string[] = []
  /** Nodes of the streams that were opened. */
  readonly nodes: DiscoveryRequest['node'][] = []
  readonly #resources = new Map<string, Map<string, Any>>()
  readonly #streams = new Set<SnapshotStream>()
  readonly #credentials: ServerCredentials
  #server: Server | null = null
  #version = 0
  port = 0

  constructor(credentials: ServerCredentials = ServerCredentials.createInsecure()) {
    this.#credentials = credentials
  }

  get target(): string {
    return `127.0.0.1:${this.port}`
  }

  get streams(): number {
    return this.#streams.size
  }

  /** On the port of before, if there was one. */
  async start(port = this.port): Promise<this> {
    const server = new Server()
    const raw = (bytes: Buffer) => bytes
    const codec = { requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw }
    const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources'
    server.addService(
      { StreamAggregatedResources: { path, requestStream: true, responseStream: true, ...codec } },
      { StreamAggregatedResources: (call: Call) => this.#accept(call) },
    )
    this.port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, this.#credentials, (error, bound) =>
        error ? reject(error) : resolve(bound),
      )
    })
    this.#server = server
    return this
  }

  stop(): void {
    this.#server?.forceShutdown()
    this.#server = null
    this.#streams.clear()
  }

  set(...resources: Any[]): void {
    const types = new Set<string>()
    for (const any of resources) {
      const ofType = this.#resources.get(any.typeUrl) ?? new Map<string, Any>()
      this.#resources.set(any.typeUrl, ofType)
      ofType.set(peekName(any.value) ?? '', any)
      types.add(any.typeUrl)
    }
    this.#changed(types)
  }

  remove(typeUrl: string, name: string): void {
    this.#resources.get(typeUrl)?.delete(name)
    this.#changed([typeUrl])
  }

  of(typeUrl: string, names: readonly string[]): Any[] {
    const held = this.#resources.get(typeUrl)
    return names.flatMap((name) => held?.get(name) ?? [])
  }

  #changed(types: Iterable<string>): void {
    this.#version++
    for (const type of types) for (const stream of this.#streams) stream.push(type, `${this.#version}`)
  }

  #accept(call: Call): void {
    const stream = new SnapshotStream(call, this)
    this.#streams.add(stream)
    call.on('data', (bytes: Buffer) => {
      const request = fromBinary(DiscoveryRequestSchema, bytes)
      if (request.node !== undefined) this.nodes.push(request.node)
      if (request.errorDetail !== undefined) this.nacks.push(request.errorDetail.message)
      stream.requested(request, `${this.#version}`)
    })
    const gone = () => this.#streams.delete(stream)
    call.on('end', () => {
      gone()
      call.end()
    })
    call.on('cancelled', gone)
    call.on('error', gone)
  }
}

class SnapshotStream {
  readonly #call: Call
  readonly #ads: SnapshotAds
  readonly #names = new Map<string, string[]>()
  #nonce = 0

  constructor(call: Call, ads: SnapshotAds) {
    this.#call = call
    this.#ads = ads
  }

  requested({ typeUrl, resourceNames }: DiscoveryRequest, version: string): void {
    const before = this.#names.get(typeUrl) ?? []
    this.#names.set(typeUrl, resourceNames)
    if (resourceNames.some((name) => !before.includes(name))) this.push(typeUrl, version)
  }

  push(typeUrl: string, versionInfo: string): void {
    const names = this.#names.get(typeUrl)
    if (names === undefined) return
    const resources = this.#ads.of(typeUrl, names)
    const response = create(DiscoveryResponseSchema, { typeUrl, versionInfo, nonce: `n${++this.#nonce}`, resources })
    this.#call.write(Buffer.from(toBinary(DiscoveryResponseSchema, response)))
  }
}
