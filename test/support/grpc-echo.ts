/** A service with a method of each kind, and bare clients of grpc-js for it. */
import {
  type CallOptions,
  type ChannelOptions,
  Client,
  credentials,
  Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  type StatusObject,
  type sendUnaryData,
} from '@grpc/grpc-js'
import type { TestCa } from './test-ca.ts'

const bytes = {
  requestSerialize: (text: string) => Buffer.from(text),
  requestDeserialize: (buffer: Buffer) => buffer.toString(),
  responseSerialize: (text: string) => Buffer.from(text),
  responseDeserialize: (buffer: Buffer) => buffer.toString(),
}

/** test.Echo: messages are text. */
export const echoService = {
  unary: { ...bytes, path: '/test.Echo/Unary', requestStream: false, responseStream: false },
  upload: { ...bytes, path: '/test.Echo/Upload', requestStream: true, responseStream: false },
  download: { ...bytes, path: '/test.Echo/Download', requestStream: false, responseStream: true },
  chat: { ...bytes, path: '/test.Echo/Chat', requestStream: true, responseStream: true },
} satisfies ServiceDefinition

export type Kind = keyof typeof echoService
export const kinds = Object.keys(echoService) as Kind[]

export type EchoHandlers = {
  unary(call: ServerUnaryCall<string, string>, done: sendUnaryData<string>): void
  upload(call: ServerReadableStream<string, string>, done: sendUnaryData<string>): void
  download(call: ServerWritableStream<string, string>): void
  chat(call: ServerDuplexStream<string, string>): void
}

/** Each gives back what it got. Messages are not to be empty: grpc-js takes what is falsy for none. */
export const echo: EchoHandlers = {
  unary: (call, done) => done(null, call.request),
  upload: (call, done) => {
    let all = ''
    call.on('data', (text: string) => {
      all += text
    })
    call.on('end', () => done(null, all))
  },
  download: (call) => {
    for (const letter of call.request) call.write(letter)
    call.end()
  },
  chat: (call) => {
    call.on('data', (text: string) => call.write(text))
    call.on('end', () => call.end())
  },
}

/** How a call ended. */
export interface EchoAnswer {
  code: number
  details: string
  text: string
  /** Of its head; null = it had none. */
  head: Metadata | null
  trailers: Metadata
}

export interface EchoClient {
  readonly client: Client
  /** One call of that kind with `text`, letter by letter where it is a stream. */
  ask(kind: Kind, text?: string, metadata?: Record<string, string>, options?: CallOptions): Promise<EchoAnswer>
}

/** Over plaintext; a connection of its own. */
export function plainEcho(port: number, options: ChannelOptions = {}): EchoClient {
  return echoClient(new Client(`127.0.0.1:${port}`, credentials.createInsecure(), own(options)))
}

/** Over mutual TLS, as a service account of namespace default. */
export function secureEcho(port: number, ca: TestCa, as: string, options: ChannelOptions = {}): EchoClient {
  const { certPem, keyPem } = ca.issue(`spiffe://${ca.trustDomain}/ns/default/sa/${as}`)
  const secure = credentials.createSsl(Buffer.from(ca.rootPem), Buffer.from(keyPem), Buffer.from(certPem), {
    checkServerIdentity: () => undefined,
  })
  return echoClient(new Client(`127.0.0.1:${port}`, secure, own(options)))
}

const own = (options: ChannelOptions) => ({ 'grpc.use_local_subchannel_pool': 1, ...options })

function echoClient(client: Client): EchoClient {
  return { client, ask: (...args) => askEcho(client, ...args) }
}

/** See {@link EchoClient.ask}; with any client of grpc-js. */
export function askEcho(
  client: Client,
  kind: Kind,
  text = 'hello',
  metadata: Record<string, string> = {},
  options: CallOptions = {},
): Promise<EchoAnswer> {
  const { path, requestSerialize, responseDeserialize } = echoService[kind]
  const sent = new Metadata()
  for (const name in metadata) sent.add(name, metadata[name]!)
  return new Promise((resolve) => {
    let head: Metadata | null = null
    let got = ''
    let failed: ServiceError | null = null
    const end = ({ code, details, metadata: trailers }: StatusObject) =>
      resolve({ code, details: failed?.details ?? details, text: got, head, trailers })
    const one = (error: ServiceError | null, answer?: string) => {
      failed = error
      got += answer ?? ''
    }
    const args = [path, requestSerialize, responseDeserialize] as const
    const start = () => {
      switch (kind) {
        case 'unary':
          return client.makeUnaryRequest(...args, text, sent, options, one)
        case 'upload': {
          const call = client.makeClientStreamRequest(...args, sent, options, one)
          for (const letter of text) call.write(letter)
          call.end()
          return call
        }
        case 'download':
          return client.makeServerStreamRequest(...args, text, sent, options)
        case 'chat': {
          const call = client.makeBidiStreamRequest(...args, sent, options)
          for (const letter of text) call.write(letter)
          call.end()
          return call
        }
      }
    }
    const call = start()
    call.on('metadata', (metadata: Metadata) => {
      head = metadata
    })
    if (kind === 'download' || kind === 'chat') {
      call.on('data', (letter: string) => {
        got += letter
      })
      call.on('error', () => undefined)
    }
    call.on('status', end)
  })
}
