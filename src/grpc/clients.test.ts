import { AsyncLocalStorage } from 'node:async_hooks'
import {
  type Client,
  credentials,
  InterceptingCall,
  type Interceptor,
  Metadata,
  ServerCredentials,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import {
  drain,
  type GrpcTestClient,
  grpcClient,
  RawClient,
  type RawHandlers,
  type RawServer,
  serveRaw,
  unary,
} from '../../test/support/grpc-client.ts'
import type { ServiceSpec } from '../../test/support/mesh-client.ts'
import { identityOf, spiffe } from '../../test/support/mesh-http.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import type { GrpcDispatcherOptions } from './dispatcher.ts'
import { registerTargets } from './target/register.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function serve(...args: Parameters<typeof serveRaw>): Promise<RawServer> {
  const server = await serveRaw(...args)
  closing.push(() => server.close())
  return server
}

function mesh(service: ServiceSpec, options: Partial<GrpcDispatcherOptions> = {}): GrpcTestClient {
  const made = grpcClient({ payments: service }, options)
  closing.push(() => made.close())
  return made
}

const collect = (client: RawClient, words: readonly string[]) =>
  new Promise<string>((resolve, reject) => {
    const call = client.collect(new Metadata(), {}, (error, answer) =>
      error === null ? resolve(answer!.toString()) : reject(error),
    )
    for (const word of words) call.write(Buffer.from(word))
    call.end()
  })

describe('a client of grpc-js in the mesh', () => {
  it('makes calls of all four kinds', async () => {
    const client = mesh({ endpoints: [(await serve()).port] }).client()
    expect((await unary(client, 'hello')).text).toBe('hello')
    expect(await collect(client, ['a', '', 'c'.repeat(200_000), 'd'])).toBe(`a${'c'.repeat(200_000)}d`)
    expect(await drain(client.expand(Buffer.from('one two three')))).toMatchObject({
      words: ['one', 'two', 'three'],
      status: { code: status.OK },
    })
    const chat = client.chat()
    const heard = drain(chat)
    for (const word of ['x', 'y'.repeat(100_000), 'z']) chat.write(Buffer.from(word))
    chat.end()
    expect((await heard).words).toEqual(['x', 'y'.repeat(100_000), 'z'])
  })

  it('gives and takes metadata, text and binary, several values, and trailers', async () => {
    let seen = new Metadata()
    const { port } = await serve({
      unary(call, done) {
        seen = call.metadata
        const head = new Metadata()
        head.add('x-two', 'a')
        head.add('x-two', 'b')
        head.set('x-bytes-bin', Buffer.from([0, 255]))
        call.sendMetadata(head)
        const trailers = new Metadata()
        trailers.set('x-last', 'yes')
        done(null, call.request, trailers)
      },
    })
    const metadata = new Metadata()
    metadata.add('x-key', '1')
    metadata.add('x-key', '2')
    metadata.set('x-raw-bin', Buffer.from([1, 2, 3]))
    metadata.set('x-envoy-attempt-count', '7')
    metadata.set('grpc-previous-rpc-attempts', '9')
    const answer = await unary(mesh({ endpoints: [port] }).client(), 'x', { metadata })
    expect(seen.get('x-key').join(',').replace(' ', '')).toBe('1,2')
    expect(seen.get('x-raw-bin')).toEqual([Buffer.from([1, 2, 3])])
    expect(seen.get('x-envoy-attempt-count')).toEqual([])
    expect(seen.get('grpc-previous-rpc-attempts')).toEqual([])
    expect(seen.get('user-agent')[0]).toContain('inmesh')
    expect(answer.metadata.get('x-two').join(',').replace(' ', '')).toBe('a,b')
    expect(answer.metadata.get('x-bytes-bin')).toEqual([Buffer.from([0, 255])])
    expect(answer.status.metadata.get('x-last')).toEqual(['yes'])
  })

  it('passes on status, details in any script, and trailers', async () => {
    const { port } = await serve({
      unary(_call, done) {
        const metadata = new Metadata()
        metadata.set('x-why', 'because')
        done({ code: status.FAILED_PRECONDITION, details: 'nein, ñ 100 % 日本', metadata })
      },
    })
    const error = (await unary(mesh({ endpoints: [port] }).client(), 'x').catch((e) => e)) as ServiceError
    expect(error).toMatchObject({ code: status.FAILED_PRECONDITION, details: 'nein, ñ 100 % 日本' })
    expect(error.metadata.get('x-why')).toEqual(['because'])
    expect(error.metadata.get('grpc-status')).toEqual([])
  })

  it('waits for the configuration of a service, and says what it waited for in vain', async () => {
    const { port } = await serve()
    const made = mesh({ endpoints: [port] }, { holdTimeoutMs: 300 })
    const late = unary(made.client('later'), 'x')
    await new Promise((resolve) => setImmediate(resolve))
    expect(made.wanted).toEqual(['later'])
    made.apply({ later: { endpoints: [port] } })
    expect((await late).text).toBe('x')
    const error = await unary(made.client('never'), 'x').catch((e) => e)
    expect(error).toMatchObject({ code: status.UNAVAILABLE, details: expect.stringContaining('control plane') })
    expect(error.metadata.get('x-inmesh-response-flags')).toEqual(['NC'])
    const expired = unary(made.client('never'), 'x', { deadline: Date.now() + 50 })
    await expect(expired).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED })
    made.apply({}, { absent: new Set(['gone']) })
    await expect(unary(made.client('gone'), 'x')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('knows no service'),
    })
  })

  it('keeps working with interceptors of the app, and as an interceptor itself', async () => {
    const { port } = await serve()
    const made = mesh({ endpoints: [port] })
    const seen: string[] = []
    const spy: Interceptor = (options, next) => {
      seen.push(options.method_definition.path)
      return new InterceptingCall(next(options))
    }
    expect((await unary(made.client('payments', { interceptors: [spy] }), 'x')).text).toBe('x')
    // No channel of its own: there is nothing at this address.
    const plain = new RawClient('127.0.0.1:1', credentials.createInsecure(), {
      interceptors: [spy, made.clients.clientInterceptor('payments')],
    })
    closing.push(() => (plain as Client).close())
    expect((await unary(plain, 'y')).text).toBe('y')
    expect((await drain(plain.expand(Buffer.from('a b')))).words).toEqual(['a', 'b'])
    expect(await collect(plain, ['1', '2'])).toBe('12')
    expect(seen).toEqual(['/test.Raw/Unary', '/test.Raw/Unary', '/test.Raw/Expand', '/test.Raw/Collect'])
  })

  it('serves targets of the mesh, for code that makes its clients by itself', async () => {
    const { port } = await serve()
    const made = mesh({ endpoints: [port] })
    closing.push(registerTargets((name, options) => made.clients.target(name, options)))
    const client = new RawClient('mesh:///payments', credentials.createInsecure())
    closing.push(() => (client as Client).close())
    expect((await unary(client, 'x')).text).toBe('x')
    expect((await drain(client.expand(Buffer.from('a b c')))).words).toEqual(['a', 'b', 'c'])
    await expect(unary(client, 'x', { deadline: Date.now() - 1 })).rejects.toMatchObject({ code: 4 })
    expect(made.warned).toEqual([])
  })

  it('tells callers in their own async context, first and later calls alike', async () => {
    const { port } = await serve()
    const made = mesh({ endpoints: [port] })
    const context = new AsyncLocalStorage<string>()
    const client = made.client()
    const inside = (name: string) =>
      context.run(
        name,
        () =>
          new Promise<(string | undefined)[]>((resolve) => {
            const seen: (string | undefined)[] = []
            const call = client.unary(Buffer.from('x'), new Metadata(), {}, () => seen.push(context.getStore()))
            call.on('metadata', () => seen.push(context.getStore()))
            call.on('status', () => {
              seen.push(context.getStore())
              resolve(seen)
            })
          }),
      )
    for (const name of ['first', 'second']) expect(await inside(name)).toEqual([name, name, name])
  })

  it('refuses options that cannot be meant and warns of those that have no effect', () => {
    const made = mesh({ endpoints: [] })
    expect(() => made.client('payments', { 'grpc.max_send_message_length': 'x' as never })).toThrow(/whole number/)
    made.client('payments', { 'grpc.service_config': '{}' })
    expect(made.warned.join()).toContain('grpc.service_config')
  })

  it('refuses what can name no service, and what is no client class', () => {
    const made = mesh({ endpoints: [] })
    const bad = ['', 'http://payments/', 'a/b', 'payments:grpc', 'payments:99999', 'payments:0', 'two words', 5]
    for (const target of bad)
      expect(() => made.client(target as string), String(target)).toThrow(/^target is .*expected/)
    for (const target of ['payments', 'dns:///payments.shop', 'payments:8080', '[::1]:80', 'xds://far/a/b'])
      expect(() => made.client(target), target).not.toThrow()
    for (const Class of [undefined, null, {}])
      expect(() => made.clients.client(Class as never, 'payments')).toThrow(/expected a client class/)
  })

  it('is closed: no new calls, those under way end well', async () => {
    let answer = () => {}
    const { port } = await serve({
      unary: (call, done) => {
        answer = () => done(null, call.request)
      },
    })
    const made = mesh({ endpoints: [port] })
    const client = made.client()
    const slow = unary(client, 'slow')
    while (made.engine.clusters.values().next().value!.active === 0) await new Promise((r) => setTimeout(r, 5))
    const closed = made.dispatcher.close()
    await expect(unary(client, 'late')).rejects.toMatchObject({ code: status.UNAVAILABLE })
    await new Promise((r) => setTimeout(r, 50))
    answer()
    expect((await slow).text).toBe('slow')
    await closed
  })
})

describe('mutual TLS', () => {
  const ca = createTestCa('cluster.local')
  const serverOf = (account: string) => {
    const { certPem, keyPem } = ca.issue(spiffe(ca, account), {})
    const pair = { cert_chain: Buffer.from(certPem), private_key: Buffer.from(keyPem) }
    return ServerCredentials.createSsl(Buffer.from(ca.rootPem), [pair], true)
  }
  const endpoint = (port: number) => ({ port, tlsMode: 'mtls' as const, spiffeId: spiffe(ca, 'payments') })

  it('shows each end who the other is', async () => {
    let peer = ''
    const { port } = await serve(
      {
        unary: (call, done) => {
          peer = call.getAuthContext().sslPeerCertificate?.subjectaltname ?? ''
          done(null, call.request)
        },
      },
      {},
      serverOf('payments'),
    )
    const made = mesh({ endpoints: [endpoint(port)] }, { identity: identityOf(ca, 'orders') })
    const client = made.client()
    const contexts: ReturnType<ReturnType<RawClient['unary']>['getAuthContext']>[] = []
    const text = await new Promise((resolve, reject) => {
      const call = client.unary(Buffer.from('x'), new Metadata(), {}, (error, bytes) =>
        error === null ? resolve(bytes!.toString()) : reject(error),
      )
      call.on('status', () => {
        contexts.push(call.getAuthContext())
        expect(call.getPeer()).toBe(`127.0.0.1:${port}`)
      })
    })
    expect(text).toBe('x')
    expect(peer).toContain(spiffe(ca, 'orders'))
    await new Promise((r) => setImmediate(r))
    expect(contexts[0]).toMatchObject({ transportSecurityType: 'ssl' })
    expect(contexts[0]?.sslPeerCertificate?.subjectaltname).toContain(spiffe(ca, 'payments'))
  })

  it('sends nothing to a server of another id, and fails without an identity', async () => {
    let calls = 0
    const answer: RawHandlers['unary'] = (call, done) => {
      calls++
      done(null, call.request)
    }
    const { port } = await serve({ unary: answer }, {}, serverOf('impostor'))
    const made = mesh({ endpoints: [endpoint(port)] }, { identity: identityOf(ca, 'orders') })
    await expect(unary(made.client(), 'x')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('impostor'),
    })
    const bare = mesh({ endpoints: [endpoint(port)] })
    await expect(unary(bare.client(), 'x')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('no identity'),
    })
    expect(calls).toBe(0)
  })

  it('call credentials go over TLS and never in plaintext', async () => {
    let seen: unknown
    const look = {
      unary: ((call, done) => {
        seen = call.metadata.get('authorization')
        done(null, call.request)
      }) as RawHandlers['unary'],
    }
    const secure = await serve(look, {}, serverOf('payments'))
    const plain = await serve(look)
    const token = credentials.createFromMetadataGenerator((_options, done) => {
      const metadata = new Metadata()
      metadata.set('authorization', 'Bearer x')
      done(null, metadata)
    })
    const made = mesh({ endpoints: [endpoint(secure.port)] }, { identity: identityOf(ca, 'orders') })
    await unary(made.client(), 'x', { credentials: token })
    expect(seen).toEqual(['Bearer x'])
    seen = 'nothing'
    const other = mesh({ endpoints: [plain.port] })
    await expect(unary(other.client(), 'x', { credentials: token })).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
    })
    expect(seen).toBe('nothing')
    const broken = credentials.createFromMetadataGenerator((_options, done) => done(new Error('no token')))
    await expect(unary(made.client(), 'x', { credentials: broken })).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringContaining('no token'),
    })
  })
})
