import { constants, type ServerHttp2Stream } from 'node:http2'
import { compressionAlgorithms, Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import {
  drain,
  type GrpcTestClient,
  grpcClient,
  type RawHandlers,
  type RawServer,
  rawService,
  serveRaw,
  unary,
} from '../../test/support/grpc-client.ts'
import { answer, fail, type H2Server, HEAD, serveH2 as serveH2Raw } from '../../test/support/grpc-h2.ts'
import { noRetry, type ServiceSpec } from '../../test/support/mesh-client.ts'
import { until } from '../../test/support/mesh-http.ts'
import { freePorts } from '../../test/support/ports.ts'
import { callContext, noContext } from '../telemetry/context.ts'
import type { GrpcDispatcherOptions } from './dispatcher.ts'
import { frame } from './framing.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function serve(...args: Parameters<typeof serveRaw>): Promise<RawServer> {
  const server = await serveRaw(...args)
  closing.push(() => server.close())
  return server
}

async function serveH2(...args: Parameters<typeof serveH2Raw>): Promise<H2Server> {
  const server = await serveH2Raw(...args)
  closing.push(() => server.close())
  return server
}

function mesh(service: ServiceSpec, options: Partial<GrpcDispatcherOptions> = {}): GrpcTestClient {
  const made = grpcClient({ payments: service }, options)
  closing.push(() => made.close())
  return made
}

/** What gRPC's own clients would retry. */
const byCode = { ...noRetry, retryOn: ['unavailable', 'resource-exhausted'] as const, numRetries: 3 }

describe('retries', () => {
  it('never of what a peer may have done, unless the policy names the code or the call has a key', async () => {
    // What routes have by default: words of HTTP.
    const byDefault = { ...noRetry, retryOn: ['connect-failure', 'reset'] as const, statusCodes: [503], numRetries: 2 }
    const server = await serveH2((stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR))
    const made = mesh({ endpoints: [server.port], retry: byDefault })
    await expect(unary(made.client(), 'x')).rejects.toMatchObject({ code: status.INTERNAL })
    expect(server.streams).toBe(1)
    const unavailable = await serveH2((stream) => fail(stream, 14))
    await expect(unary(mesh({ endpoints: [unavailable.port], retry: byDefault }).client(), 'x')).rejects.toThrow()
    expect(unavailable.streams).toBe(1)

    const key = new Metadata()
    key.set('idempotency-key', 'k-1')
    await expect(unary(made.client(), 'x', { metadata: key })).rejects.toThrow()
    expect(server.streams).toBe(4)
  })

  it('of answers that have nothing but a status', async () => {
    const { port } = await serveH2((stream, n) => {
      if (n < 3) fail(stream, 14)
      else answer(stream)
    })
    const other = await serveH2((stream) => fail(stream, 8))
    const made = mesh({ endpoints: [port], retry: byCode })
    expect((await unary(made.client(), 'x')).text).toBe('well')
    const no = mesh({ endpoints: [other.port], retry: { ...byCode, retryOn: ['unavailable'] } })
    await expect(unary(no.client(), 'x')).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED })
    expect(other.streams).toBe(1)
  })

  it('tells the peer how many tries there were before', async () => {
    const seen: unknown[] = []
    const { port } = await serve({
      unary: (call, done) => {
        seen.push(call.metadata.get('grpc-previous-rpc-attempts')[0])
        if (seen.length < 3) done({ code: status.UNAVAILABLE })
        else done(null, call.request)
      },
    })
    expect((await unary(mesh({ endpoints: [port], retry: byCode }).client(), 'x')).text).toBe('x')
    expect(seen).toEqual([undefined, '1', '2'])
  })

  it('never once the head of an answer was given', async () => {
    const server = await serveH2((stream) => {
      stream.respond(HEAD, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '14', 'grpc-message': 'too late' }))
      stream.end()
    })
    const made = mesh({ endpoints: [server.port], retry: byCode })
    await expect(unary(made.client(), 'x')).rejects.toMatchObject({ code: 14, details: 'too late' })
    expect(server.streams).toBe(1)
  })

  it('an HTTP policy for 5xx does not repeat what an application answered', async () => {
    const server = await serveH2((stream) => fail(stream, 2))
    const made = mesh({ endpoints: [server.port], retry: {} })
    await expect(unary(made.client(), 'x')).rejects.toMatchObject({ code: status.UNKNOWN })
    expect(server.streams).toBe(1)
  })

  it('sends a stream of messages again from its start, while it fits', async () => {
    const server = await serveH2((stream, n) => {
      const parts: Buffer[] = []
      stream.on('data', (part: Buffer) => parts.push(part))
      stream.on('end', () => {
        if (n === 1) stream.close(constants.NGHTTP2_INTERNAL_ERROR)
        else answer(stream, Buffer.concat(parts).toString('latin1'))
      })
    })
    const made = mesh({ endpoints: [server.port], retry: { retryOn: ['internal'] } })
    const send = (words: string[]) =>
      new Promise<Buffer>((resolve, reject) => {
        const call = made.client().collect(new Metadata(), {}, (e, bytes) => (e === null ? resolve(bytes!) : reject(e)))
        for (const word of words) call.write(Buffer.from(word))
        call.end()
      })
    const expected = Buffer.concat(['a', 'bc', 'def'].map((word) => frame(Buffer.from(word), false)))
    expect((await send(['a', 'bc', 'def'])).toString()).toBe(expected.toString('latin1'))
    expect(server.streams).toBe(2)
    server.streams = 0
    await expect(send(Array.from({ length: 10 }, () => 'x'.repeat(20_000)))).rejects.toMatchObject({
      code: status.INTERNAL,
    })
    expect(server.streams).toBe(1)
  })

  it('sends the one message of a unary call again whatever its size', async () => {
    let calls = 0
    const { port } = await serve({
      unary(call, done) {
        if (++calls === 1) done({ code: status.UNAVAILABLE })
        else done(null, Buffer.from(String(call.request.length)))
      },
    })
    const made = mesh({ endpoints: [port], retry: byCode })
    expect((await unary(made.client(), 'x'.repeat(1_000_000))).text).toBe('1000000')
    expect(calls).toBe(2)
  })

  it('goes to another host at once when one refuses connections', async () => {
    const { port } = await serve()
    const made = mesh({ endpoints: [(await freePorts(1))[0]!, port], retry: byCode })
    for (let i = 0; i < 4; i++) expect((await unary(made.client(), `${i}`)).text).toBe(`${i}`)
  })

  it.each([
    ['waits as long as the server says', '150', true],
    ['not when the server says so', '-1', false],
    ['not when nobody can read what it says', 'soon', false],
  ])('%s', async (_name, pushback, retried) => {
    const times: number[] = []
    const server = await serveH2((stream, n) => {
      times.push(performance.now())
      if (n === 1) fail(stream, 14, { 'grpc-retry-pushback-ms': pushback })
      else answer(stream)
    })
    const call = unary(mesh({ endpoints: [server.port], retry: byCode }).client(), 'x')
    if (!retried) await expect(call).rejects.toMatchObject({ code: 14 })
    else {
      expect((await call).text).toBe('well')
      expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(145)
    }
    expect(server.streams).toBe(retried ? 2 : 1)
  })

  it('what the server did not begin is sent again without a policy, once', async () => {
    const server = await serveH2((stream, n) => {
      if (n === 1) stream.close(constants.NGHTTP2_REFUSED_STREAM)
      else answer(stream)
    })
    expect((await unary(mesh({ endpoints: [server.port] }).client(), 'x')).text).toBe('well')
    const never = await serveH2((stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM))
    await expect(unary(mesh({ endpoints: [never.port] }).client(), 'x')).rejects.toMatchObject({
      code: status.UNAVAILABLE,
    })
    expect(never.streams).toBe(2)
  })

  it('a call that waits for ready waits for hosts and for connections, until its deadline', async () => {
    const port = (await freePorts(1))[0]!
    const made = mesh({ endpoints: [port] })
    const metadata = new Metadata({ waitForReady: true })
    const patient = unary(made.client(), 'x', { metadata, deadline: Date.now() + 15_000 })
    await expect(unary(made.client(), 'x')).rejects.toMatchObject({ code: status.UNAVAILABLE })
    made.apply({ payments: { endpoints: [] } })
    const alsoPatient = unary(made.client(), 'y', { metadata, deadline: Date.now() + 15_000 })
    await expect(unary(made.client(), 'x', { metadata, deadline: Date.now() + 100 })).rejects.toMatchObject({
      code: status.DEADLINE_EXCEEDED,
    })
    const server = await serveRaw({}, {}, ServerCredentials.createInsecure(), port)
    closing.push(() => server.close())
    made.apply({ payments: { endpoints: [port] } })
    expect((await patient).text).toBe('x')
    expect((await alsoPatient).text).toBe('y')
  })
})

describe('deadlines and cancellation', () => {
  const hang: Partial<RawHandlers> = { unary: () => undefined }

  it('the soonest of the deadlines of caller, route and the request around counts; the peer is told', async () => {
    const seen: number[] = []
    const peer = await serve({
      unary: (call) => {
        seen.push(Number(call.getDeadline()) - Date.now())
      },
    })
    const made = mesh({ endpoints: [peer.port], route: { timeoutMs: 1_800, timeoutUntilHeaders: false } })
    const client = made.client()
    await expect(unary(client, 'x', { deadline: Date.now() + 1_000 })).rejects.toMatchObject({ code: 4 })
    await expect(unary(client, 'x', { deadline: Date.now() + 60_000 })).rejects.toMatchObject({ code: 4 })
    const hop = { deadline: performance.now() + 1_400, priority: null, repeated: false, settle: () => undefined }
    await expect(callContext.run({ ...noContext, hop }, () => unary(client, 'x'))).rejects.toMatchObject({ code: 4 })
    expect(seen[0]).toBeLessThanOrEqual(1_000)
    expect(seen[1]).toBeLessThanOrEqual(1_800)
    expect(seen[2]).toBeLessThanOrEqual(1_400)
    await expect(unary(client, 'x', { deadline: Date.now() - 1 })).rejects.toMatchObject({ code: 4 })
    expect(seen).toHaveLength(3)
  })

  it('a limit until the headers is none: the head of an answer comes with its first message', async () => {
    const deadlines: number[] = []
    const peer = await serve({
      expand(call) {
        deadlines.push(Number(call.getDeadline()))
        setTimeout(() => {
          call.write(Buffer.from('late'))
          call.end()
        }, 300)
      },
    })
    const made = mesh({ endpoints: [peer.port], route: { timeoutMs: 100, timeoutUntilHeaders: true } })
    expect((await drain(made.client().expand(Buffer.from('x')))).words).toEqual(['late'])
    expect(deadlines).toEqual([Number.POSITIVE_INFINITY])
  })

  it('a stream that is silent for as long as its route allows is ended, one that talks is not', async () => {
    const peer = await serve({
      chat(call) {
        call.on('error', () => undefined)
        call.on('data', (word: Buffer) => call.write(word))
      },
    })
    const made = mesh({ endpoints: [peer.port], route: { idleTimeoutMs: 1_500 } })
    const chat = made.client().chat()
    const heard = drain(chat)
    for (let i = 0; i < 10; i++) {
      chat.write(Buffer.from(`${i}`))
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    const { words, status: end } = await heard
    expect(words).toHaveLength(10)
    expect(end).toMatchObject({ code: status.UNAVAILABLE, details: expect.stringContaining('1500 ms') })
  })

  it('cancelling resets the stream, and the caller hears of it once', async () => {
    let cancelled = 0
    const peer = await serve({ unary: (call) => call.on('cancelled', () => cancelled++) })
    const made = mesh({ endpoints: [peer.port] })
    const statuses: number[] = []
    await new Promise<void>((resolve) => {
      const call = made.client().unary(Buffer.from('x'), new Metadata(), {}, (error) => {
        statuses.push(error!.code)
        setImmediate(resolve)
      })
      void until(() => peer.port > 0 && made.engine.clusters.values().next().value!.active === 1).then(() =>
        setTimeout(() => {
          call.cancel()
          call.cancel()
        }, 20),
      )
    })
    expect(statuses).toEqual([status.CANCELLED])
    await until(() => cancelled === 1)
    expect(made.engine.clusters.values().next().value!.active).toBe(0)
  })

  it('goes on down: a call made for another ends with it', async () => {
    const inner = await serve(hang)
    const made = mesh({ endpoints: [inner.port] })
    const ends: number[] = []
    const outer = new Server()
    outer.addService(rawService, {
      unary: (parent: Parameters<RawHandlers['unary']>[0]) => {
        made.client().unary(Buffer.from('x'), new Metadata(), { parent }, (error) => ends.push(error!.code))
      },
      collect: () => undefined,
      expand: () => undefined,
      chat: () => undefined,
    })
    const port = await new Promise<number>((resolve) =>
      outer.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_e, got) => resolve(got)),
    )
    closing.push(() => outer.forceShutdown())
    const front = mesh({ endpoints: [port] }).client()
    const call = front.unary(Buffer.from('x'), new Metadata(), {}, () => undefined)
    await until(() => made.engine.clusters.values().next().value!.active === 1)
    call.cancel()
    await until(() => ends.length === 1)
    expect(ends).toEqual([status.CANCELLED])
    await expect(unary(front, 'x', { deadline: Date.now() + 1_000 })).rejects.toMatchObject({ code: 4 })
    await until(() => ends.length === 2)
    expect([status.DEADLINE_EXCEEDED, status.CANCELLED]).toContain(ends[1])
  })

  it('the server may cancel, reset, or say nothing at all', async () => {
    const ends = [
      [constants.NGHTTP2_CANCEL, status.CANCELLED],
      [constants.NGHTTP2_ENHANCE_YOUR_CALM, status.RESOURCE_EXHAUSTED],
      [constants.NGHTTP2_INADEQUATE_SECURITY, status.PERMISSION_DENIED],
      [constants.NGHTTP2_PROTOCOL_ERROR, status.INTERNAL],
    ] as const
    const server = await serveH2((stream, n) => {
      if (n <= ends.length) stream.close(ends[n - 1]![0])
      else if (n === ends.length + 1) stream.respond(HEAD, { endStream: true })
      else stream.session!.destroy()
    })
    const client = mesh({ endpoints: [server.port] }).client()
    for (const [, code] of ends) await expect(unary(client, 'x')).rejects.toMatchObject({ code })
    await expect(unary(client, 'x')).rejects.toMatchObject({ code: status.UNKNOWN })
    await expect(unary(client, 'x')).rejects.toMatchObject({ code: status.UNAVAILABLE })
  })
})

describe('messages', () => {
  it.each([compressionAlgorithms.gzip, compressionAlgorithms.deflate])('are compressed both ways (%s)', async (n) => {
    const options = { 'grpc.default_compression_algorithm': n }
    const { port } = await serve({}, options)
    const client = mesh({ endpoints: [port] }).client('payments', options)
    const text = 'compress me '.repeat(5_000)
    expect((await unary(client, text)).text).toBe(text)
    const chat = client.chat()
    const heard = drain(chat)
    const words = ['a'.repeat(50_000), '', 'b', 'c'.repeat(3)]
    for (const word of words) chat.write(Buffer.from(word))
    chat.end()
    expect((await heard).words).toEqual(words)
  })

  it('longer than the limits are refused, also when they only grow by decompressing', async () => {
    const { port } = await serve({}, { 'grpc.default_compression_algorithm': compressionAlgorithms.gzip })
    const made = mesh({ endpoints: [port] })
    const small = made.client('payments', { 'grpc.max_receive_message_length': 1_000 })
    await expect(unary(small, 'x'.repeat(2_000))).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED })
    const plain = await serve()
    const other = mesh({ endpoints: [plain.port] })
    await expect(
      unary(other.client('payments', { 'grpc.max_receive_message_length': 1_000 }), 'x'.repeat(2_000)),
    ).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED, details: expect.stringContaining('2000 vs 1000') })
    await expect(
      unary(other.client('payments', { 'grpc.max_send_message_length': 10 }), 'x'.repeat(11)),
    ).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED })
    expect((await unary(small, 'x')).text).toBe('x')
  })

  it('broken ones end the call and nothing else', async () => {
    const bad = [
      (stream: ServerHttp2Stream) => stream.end(Buffer.from([1, 0, 0, 0, 1, 7])),
      (stream: ServerHttp2Stream) => stream.end(Buffer.from([0, 0, 0, 0, 9, 7])),
    ]
    const server = await serveH2((stream, n) => {
      if (n > bad.length) {
        answer(stream)
        return
      }
      stream.respond(HEAD, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      bad[n - 1]!(stream)
    })
    const client = mesh({ endpoints: [server.port] }).client()
    for (const _ of bad) await expect(unary(client, 'x')).rejects.toMatchObject({ code: status.INTERNAL })
    expect((await unary(client, 'x')).text).toBe('well')
    expect(server.sessions).toHaveLength(1)
  })

  it('answers that are no gRPC are told as what their HTTP status stands for', async () => {
    const codes = [
      [400, status.INTERNAL],
      [401, status.UNAUTHENTICATED],
      [403, status.PERMISSION_DENIED],
      [404, status.UNIMPLEMENTED],
      [429, status.UNAVAILABLE],
      [502, status.UNAVAILABLE],
      [503, status.UNAVAILABLE],
      [504, status.UNAVAILABLE],
      [500, status.UNKNOWN],
      [200, status.UNKNOWN],
    ] as const
    const server = await serveH2((stream, n) => {
      stream.respond({ ':status': codes[n - 1]![0], 'content-type': 'text/html' })
      stream.end('<h1>no</h1>')
    })
    const client = mesh({ endpoints: [server.port] }).client()
    for (const [, code] of codes) await expect(unary(client, 'x')).rejects.toMatchObject({ code })
  })
})
