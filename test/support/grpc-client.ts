/** A gRPC client of a mesh without control plane, and the service that it calls: methods on raw bytes, no .proto files. */
import {
  type CallOptions,
  type Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  type ClientWritableStream,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type ServerOptions,
  type ServiceDefinition,
  type ServiceError,
  type StatusObject,
} from '@grpc/grpc-js'
import { Engine } from '../../src/engine/engine.ts'
import type { CallEvents } from '../../src/engine/events.ts'
import { systemRandom } from '../../src/engine/random.ts'
import { GrpcClients } from '../../src/grpc/clients.ts'
import { GrpcDispatcher, type GrpcDispatcherOptions } from '../../src/grpc/dispatcher.ts'
import { systemClock } from '../../src/model/clock.ts'
import type { Logger } from '../../src/model/logger.ts'
import type { Snapshot } from '../../src/model/snapshot.ts'
import { type ServiceSpec, snapshotOf } from './mesh-client.ts'

const raw = (bytes: Buffer) => bytes

function method(name: string, requestStream: boolean, responseStream: boolean) {
  const serializers = {
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  }
  return { path: `/test.Raw/${name}`, requestStream, responseStream, ...serializers }
}

export const rawService: ServiceDefinition = {
  unary: method('Unary', false, false),
  collect: method('Collect', true, false),
  expand: method('Expand', false, true),
  chat: method('Chat', true, true),
}

export interface RawClient extends Client {
  unary(request: Buffer, metadata: Metadata, options: CallOptions, done: Done): ReturnType<Client['makeUnaryRequest']>
  collect(metadata: Metadata, options: CallOptions, done: Done): ClientWritableStream<Buffer>
  expand(request: Buffer, metadata?: Metadata, options?: CallOptions): ClientReadableStream<Buffer>
  chat(metadata?: Metadata, options?: CallOptions): ClientDuplexStream<Buffer, Buffer>
}

type Done = (error: ServiceError | null, answer?: Buffer) => void

export const RawClient = makeGenericClientConstructor(rawService, 'Raw') as unknown as new (
  ...args: ConstructorParameters<typeof Client>
) => RawClient

export interface RawHandlers {
  unary: handleUnaryCall<Buffer, Buffer>
  collect: handleClientStreamingCall<Buffer, Buffer>
  expand: handleServerStreamingCall<Buffer, Buffer>
  chat: handleBidiStreamingCall<Buffer, Buffer>
}

/** Answers what each is for: echo, join, split at spaces, echo each. */
export const echo: RawHandlers = {
  unary: (call, done) => done(null, call.request),
  collect: (call, done) => {
    const parts: Buffer[] = []
    call.on('data', (part: Buffer) => parts.push(part))
    call.on('end', () => done(null, Buffer.concat(parts)))
    call.on('error', () => undefined)
  },
  expand: (call) => {
    for (const word of call.request.toString().split(' ')) call.write(Buffer.from(word))
    call.end()
  },
  chat: (call) => {
    call.on('data', (part: Buffer) => call.write(part))
    call.on('end', () => call.end())
    call.on('error', () => undefined)
  },
}

export interface RawServer {
  readonly port: number
  readonly server: Server
  close(): void
}

/** A plain server of grpc-js. */
export async function serveRaw(
  handlers: Partial<RawHandlers> = {},
  options: ServerOptions = {},
  credentials: ServerCredentials = ServerCredentials.createInsecure(),
  port = 0,
): Promise<RawServer> {
  const server = new Server(options)
  server.addService(rawService, { ...echo, ...handlers })
  const bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, got) => (error === null ? resolve(got) : reject(error))),
  )
  return { port: bound, server, close: () => server.forceShutdown() }
}

export interface GrpcTestClient {
  readonly engine: Engine
  readonly dispatcher: GrpcDispatcher
  readonly clients: GrpcClients
  readonly wanted: string[]
  readonly warned: string[]
  client(target?: string, options?: ClientOptions): RawClient
  apply(services: Readonly<Record<string, ServiceSpec>>, more?: Partial<Snapshot>): void
  close(): void
}

export function grpcClient(
  services: Readonly<Record<string, ServiceSpec>>,
  options: Partial<GrpcDispatcherOptions> & { events?: CallEvents } = {},
): GrpcTestClient {
  const engine = new Engine({ clock: systemClock, random: systemRandom, events: options.events ?? null })
  const wanted: string[] = []
  const warned: string[] = []
  const want = (authority: string) => wanted.push(authority)
  const dispatcher = new GrpcDispatcher({ engine, clock: systemClock, identity: null, want, ...options })
  const nothing = () => undefined
  const warn = (text: string, fields?: object) => warned.push(`${text} ${JSON.stringify(fields)}`)
  const logger = { debug: nothing, info: nothing, warn, error: nothing } as unknown as Logger
  const clients = new GrpcClients({ dispatcher, logger, version: '0' })
  engine.apply(snapshotOf(services))
  const made: Client[] = []
  return {
    engine,
    dispatcher,
    clients,
    wanted,
    warned,
    client(target = 'payments', given = {}) {
      const client = clients.client(RawClient, target, given)
      made.push(client)
      return client
    },
    apply: (next, more) => engine.apply(snapshotOf(next, more)),
    close() {
      for (const client of made) client.close()
      dispatcher.destroy()
      engine.close()
    },
  }
}

export interface UnaryAnswer {
  text: string
  metadata: Metadata
  status: StatusObject
}

/** One unary call; rejects with the ServiceError. */
export function unary(
  client: RawClient,
  text: string | Buffer,
  { metadata = new Metadata(), ...options }: CallOptions & { metadata?: Metadata } = {},
): Promise<UnaryAnswer> {
  return new Promise((resolve, reject) => {
    const answer = { text: '', metadata: new Metadata() } as UnaryAnswer
    const call = client.unary(Buffer.from(text as string), metadata, options, (error, bytes) => {
      if (error !== null) reject(error)
      else answer.text = bytes!.toString()
    })
    call.on('metadata', (head: Metadata) => {
      answer.metadata = head
    })
    call.on('status', (status: StatusObject) => {
      answer.status = status
      if (status.code === 0) resolve(answer)
    })
  })
}

/** All that a stream brings, and its status. */
export function drain(stream: ClientReadableStream<Buffer>): Promise<{ words: string[]; status: StatusObject }> {
  return new Promise((resolve) => {
    const words: string[] = []
    stream.on('data', (part: Buffer) => words.push(part.toString()))
    stream.on('error', () => undefined)
    stream.on('status', (status: StatusObject) => setImmediate(() => resolve({ words, status })))
  })
}
