import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { anyUnpack, StringValueSchema } from '@bufbuild/protobuf/wkt'
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  credentials,
} from '@grpc/grpc-js'
import {
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '../../../src/gen/envoy/service/discovery/v3/discovery_pb.js'

const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources'

export const anyNode = { id: 'test-node', userAgentName: 'gRPC Go' }

/** A client stream that does what a test says: nothing is answered by itself. */
export class AdsClient {
  readonly responses: DiscoveryResponse[] = []
  readonly stream: ClientDuplexStream<Buffer, Buffer>
  /** Settles with the status that ended the stream. */
  readonly ended: Promise<{ code: number; details: string }>
  readonly #client: Client
  #wake: (() => void)[] = []

  constructor(address: string, creds: ChannelCredentials = credentials.createInsecure(), options: ChannelOptions = {}) {
    this.#client = new Client(address, creds, { 'grpc.use_local_subchannel_pool': 1, ...options })
    const bytes = (b: Buffer) => b
    this.stream = this.#client.makeBidiStreamRequest(path, bytes, bytes)
    this.ended = new Promise((resolve) => {
      this.stream.on('status', ({ code, details }) => resolve({ code, details }))
      this.stream.on('error', ({ code, details }: { code?: number; details?: string } & Error) =>
        resolve({ code: code ?? -1, details: details ?? '' }),
      )
    })
    this.stream.on('data', (message: Buffer) => {
      this.responses.push(fromBinary(DiscoveryResponseSchema, message))
      for (const wake of this.#wake.splice(0)) wake()
    })
  }

  send(request: MessageInitShape<typeof DiscoveryRequestSchema>): void {
    this.stream.write(Buffer.from(toBinary(DiscoveryRequestSchema, create(DiscoveryRequestSchema, request))))
  }

  ask(typeUrl: string, ...resourceNames: string[]): void {
    this.send({ node: anyNode, typeUrl, resourceNames })
  }

  ack(response: DiscoveryResponse, ...resourceNames: string[]): void {
    this.send({
      typeUrl: response.typeUrl,
      versionInfo: response.versionInfo,
      responseNonce: response.nonce,
      resourceNames,
    })
  }

  nack(response: DiscoveryResponse, message: string, ...resourceNames: string[]): void {
    const { typeUrl, nonce: responseNonce } = response
    this.send({ typeUrl, responseNonce, resourceNames, errorDetail: { code: 3, message } })
  }

  /** The response number `index`, counted from 0. */
  async response(index: number): Promise<DiscoveryResponse> {
    while (this.responses.length <= index) {
      const ended = await Promise.race([this.ended, new Promise<void>((resolve) => this.#wake.push(resolve))])
      if (ended !== undefined) throw new Error(`stream ended: ${ended.code} ${ended.details}`)
    }
    return this.responses[index]!
  }

  close(): void {
    this.stream.cancel()
    this.#client.close()
  }
}

/** "name=text" of each resource of a fakeTranslation. */
export function texts(response: DiscoveryResponse): string[] {
  return response.resources.map((any) => anyUnpack(any, StringValueSchema)!.value)
}
