import { AsyncLocalStorage } from 'node:async_hooks'
import {
  Channel,
  Client,
  compressionAlgorithms,
  credentials,
  type Metadata as GrpcMetadata,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MeshCredentials } from './mesh-credentials.ts'
import { registerTargets } from './register.ts'

const raw = (value: Buffer) => value
const method = { requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw }
const service = {
  echo: { ...method, path: '/test.Echo/Echo', requestStream: false, responseStream: false },
  chat: { ...method, path: '/test.Echo/Chat', requestStream: true, responseStream: true },
}

let port = 0
const server = new Server()
let asked: GrpcMetadata | undefined
beforeAll(
  () =>
    new Promise<void>((resolve, reject) => {
      server.addService(service, {
        echo: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
          asked = call.metadata
          if (call.request.toString() === 'fail') {
            const trailers = new Metadata()
            trailers.set('x-why', 'because')
            done({ code: status.FAILED_PRECONDITION, details: 'no', metadata: trailers })
          } else if (call.request.toString() !== 'hang') done(null, call.request)
        },
        chat: (call: ServerDuplexStream<Buffer, Buffer>) =>
          void call.on('data', (m) => call.write(m)).on('end', () => call.end()),
      })
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
        port = bound
        if (error === null) resolve()
        else reject(error)
      })
    }),
)

describe('targets of the mesh', () => {
  const clients: Client[] = []
  const opened: { name: string; options: Readonly<Record<string, unknown>>; context: unknown }[] = []
  const context = new AsyncLocalStorage<string>()
  const contexts: unknown[] = []
  let unregister: () => void

  beforeEach(() => {
    opened.length = 0
    unregister = registerTargets((name, options) => {
      if (name === 'refused') throw new Error('not for you')
      opened.push({ name, options, context: context.getStore() })
      const channel = new Channel(`127.0.0.1:${port}`, credentials.createInsecure(), {})
      const createCall = channel.createCall.bind(channel)
      channel.createCall = (...args) => {
        contexts.push(context.getStore())
        return createCall(...args)
      }
      return channel
    })
  })
  afterEach(() => {
    for (const client of clients.splice(0)) client.close()
    unregister()
  })

  function client(target: string, options = {}): Client {
    const made = new Client(target, credentials.createInsecure(), options)
    clients.push(made)
    return made
  }

  function echo(to: Client, text: string, metadata = new Metadata(), deadline = Date.now() + 15_000) {
    return new Promise<string>((resolve, reject) => {
      to.makeUnaryRequest(service.echo.path, raw, raw, Buffer.from(text), metadata, { deadline }, (error, value) => {
        if (error === null) resolve(value!.toString())
        else reject(error)
      })
    })
  }

  it.each(['mesh:///payments', 'xds:///payments', 'mesh:payments'])(
    '%s calls the service by the mesh',
    async (target) => {
      const to = client(target)
      const metadata = new Metadata()
      metadata.set('x-user', 'me')
      metadata.set('x-raw-bin', Buffer.from([0, 255]))
      await expect(echo(to, 'hello', metadata)).resolves.toBe('hello')
      await expect(echo(to, '')).resolves.toBe('')
      expect(opened).toMatchObject([{ name: 'payments' }])
      await echo(to, 'hello', metadata)
      expect(asked!.get('x-user')).toEqual(['me'])
      expect(asked!.get('x-raw-bin')).toEqual([Buffer.from([0, 255])])
    },
  )

  it('keeps the port, and an authority of gRFC A47', async () => {
    await echo(client('xds:///payments:8080'), 'x')
    await echo(client('xds://td.example/payments'), 'x')
    expect(opened.map(({ name }) => name)).toEqual(['payments:8080', 'xds://td.example/payments'])
  })

  it('streams both ways', async () => {
    const call = client('mesh:///payments').makeBidiStreamRequest(service.chat.path, raw, raw)
    const heard: string[] = []
    call.on('data', (message: Buffer) => heard.push(message.toString()))
    const ended = new Promise((resolve) => call.on('end', resolve))
    for (const word of ['a', 'b'.repeat(100_000), '']) call.write(Buffer.from(word))
    call.end()
    await ended
    expect(heard).toEqual(['a', 'b'.repeat(100_000), ''])
  })

  it('passes on status, details and trailers', async () => {
    const error = (await echo(client('mesh:///payments'), 'fail').catch((e) => e)) as ServiceError
    expect(error).toMatchObject({ code: status.FAILED_PRECONDITION, details: 'no' })
    expect(error.metadata.get('x-why')).toEqual(['because'])
  })

  it('ends at the deadline, which the peer is told', async () => {
    const error = await echo(client('mesh:///payments'), 'hang', new Metadata(), Date.now() + 300).catch((e) => e)
    expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED })
    expect(opened).toHaveLength(1)
  })

  it.each([compressionAlgorithms.gzip, compressionAlgorithms.deflate])(
    'takes messages that are compressed (%s)',
    async (algorithm) => {
      const to = client('mesh:///payments', { 'grpc.default_compression_algorithm': algorithm })
      await expect(echo(to, 'x'.repeat(10_000))).resolves.toBe('x'.repeat(10_000))
      expect(opened[0]!.options['grpc.default_compression_algorithm']).toBe(algorithm)
    },
  )

  it('makes every call, the first too, in the async context of its caller', async () => {
    contexts.length = 0
    const to = client('mesh:///payments')
    await context.run('first', () => echo(to, 'x'))
    await context.run('second', () => echo(to, 'x'))
    expect(contexts).toEqual(['first', 'second'])
  })

  it('says what is wrong: no service, no mesh, a name that the mesh refuses', async () => {
    await expect(echo(client('mesh:///'), 'x')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('mesh:///SERVICE'),
    })
    await expect(echo(client('mesh:///refused'), 'x')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('not for you'),
    })
    unregister()
    await expect(echo(client('mesh:///payments'), 'x')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('mesh.grpc.register()'),
    })
  })

  it('one mesh at a time has them', () => {
    expect(() => registerTargets(() => new Channel('x', credentials.createInsecure(), {}))).toThrow(/another mesh/)
  })

  it('credentials of the mesh do for its targets, take call credentials, and go nowhere else', async () => {
    const mesh = new MeshCredentials()
    const tokens = credentials.createFromMetadataGenerator((_, done) => {
      const token = new Metadata()
      token.set('authorization', 'Bearer t')
      done(null, token)
    })
    const to = new Client('mesh:///payments', credentials.combineChannelCredentials(mesh, tokens))
    clients.push(to)
    await expect(echo(to, 'hello')).resolves.toBe('hello')
    const outside = new Client(`127.0.0.1:${port}`, mesh)
    clients.push(outside)
    await expect(echo(outside, 'hello')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('for its targets only'),
    })
  })

  it('closes the channel of the mesh with the client', async () => {
    const to = client('mesh:///payments')
    await echo(to, 'x')
    to.close()
    await expect(echo(to, 'x')).rejects.toThrow()
  })
})
