import { once } from 'node:events'
import { constants } from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import { Metadata, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import {
  drain,
  type GrpcTestClient,
  grpcClient,
  type RawServer,
  serveRaw,
  unary,
} from '../../test/support/grpc-client.ts'
import { HEAD, serveH2 } from '../../test/support/grpc-h2.ts'
import { noRetry, type ServiceSpec } from '../../test/support/mesh-client.ts'
import { until } from '../../test/support/mesh-http.ts'
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

function mesh(service: ServiceSpec): GrpcTestClient {
  const made = grpcClient({ payments: { route: { timeoutMs: Number.POSITIVE_INFINITY }, ...service } })
  closing.push(() => made.close())
  return made
}

const CHUNK = 64 * 1024
const CHUNKS = 512

describe('streams', () => {
  it('a reader that stands still holds up the sender, and gets all in the end', async () => {
    let sent = 0
    const { port } = await serve({
      async expand(call) {
        for (; sent < CHUNKS; sent++) if (!call.write(Buffer.alloc(CHUNK, sent & 0xff))) await once(call, 'drain')
        call.end()
      },
    })
    const made = mesh({ endpoints: [port] })
    const stream = made.client().expand(Buffer.from('x'))
    await once(stream, 'readable')
    await sleep(100)
    let before = -1
    while (before !== sent) {
      before = sent
      await sleep(100)
    }
    // What windows and buffers of both ends hold, of 32 MiB.
    expect(sent * CHUNK).toBeLessThan(8 * 1024 * 1024)
    // Others are not held up by it.
    expect((await unary(made.client(), 'y')).text).toBe('y')
    let n = 0
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      expect(chunk.length).toBe(CHUNK)
      expect(chunk[0]).toBe(n++ & 0xff)
    }
    expect(n).toBe(CHUNKS)
  })

  it('a server that reads nothing holds up the writer, whose messages are not kept', async () => {
    let go = () => {}
    const { port } = await serve({
      collect(call, done) {
        call.pause()
        let bytes = 0
        go = () => {
          call.on('data', (chunk: Buffer) => {
            bytes += chunk.length
          })
          call.on('end', () => done(null, Buffer.from(String(bytes))))
          call.resume()
        }
      },
    })
    const made = mesh({ endpoints: [port], retry: { ...noRetry, retryOn: ['unavailable'], numRetries: 2 } })
    let written = 0
    const answer = new Promise<string>((resolve, reject) => {
      const call = made
        .client()
        .collect(new Metadata(), {}, (e, bytes) => (e === null ? resolve(bytes!.toString()) : reject(e)))
      const write = async () => {
        for (; written < CHUNKS; written++) if (!call.write(Buffer.alloc(CHUNK))) await once(call, 'drain')
        call.end()
      }
      void write()
    })
    let before = -1
    while (before !== written || written === 0) {
      before = written
      await sleep(100)
    }
    expect(written * CHUNK).toBeLessThan(8 * 1024 * 1024)
    go()
    expect(await answer).toBe(String(CHUNK * CHUNKS))
  })

  it('what came before a failure is given before it', async () => {
    const server = await serveH2((stream) => {
      stream.respond(HEAD, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '10', 'grpc-message': 'enough' }))
      stream.end(Buffer.concat(['a', 'b', 'c'].map((word) => frame(Buffer.from(word), false))))
    })
    closing.push(() => server.close())
    const stream = mesh({ endpoints: [server.port] })
      .client()
      .expand(Buffer.from('x'))
    const words: string[] = []
    const code = await new Promise((resolve) => {
      stream.on('data', (word: Buffer) => words.push(word.toString()))
      stream.on('error', (error: { code?: number }) => resolve(error.code))
    })
    expect(code).toBe(status.ABORTED)
    expect(words).toEqual(['a', 'b', 'c'])
  })

  it('a reset in the middle fails the stream, is held against the host, and is not retried', async () => {
    const server = await serveH2((stream) => {
      stream.respond(HEAD)
      stream.write(frame(Buffer.from('one'), false))
      setTimeout(() => stream.close(constants.NGHTTP2_INTERNAL_ERROR), 20)
    })
    closing.push(() => server.close())
    const made = mesh({ endpoints: [server.port], retry: {} })
    const heard = await drain(made.client().expand(Buffer.from('x')))
    expect(heard).toMatchObject({ words: ['one'], status: { code: status.INTERNAL } })
    expect(server.streams).toBe(1)
    expect(made.engine.clusters.values().next().value!.active).toBe(0)
  })

  it('a server may answer before the client has said all, and end the call by that', async () => {
    const { port } = await serve({ collect: (_call, done) => done(null, Buffer.from('enough')) })
    const made = mesh({ endpoints: [port] })
    const text = await new Promise<string>((resolve, reject) => {
      const call = made
        .client()
        .collect(new Metadata(), {}, (e, bytes) => (e === null ? resolve(bytes!.toString()) : reject(e)))
      call.write(Buffer.from('x'))
    })
    expect(text).toBe('enough')
    await until(() => made.engine.clusters.values().next().value!.active === 0)
    expect((await unary(made.client(), 'y')).text).toBe('y')
  })

  it('cancelling one that nobody reads frees it', async () => {
    const { port } = await serve({
      async expand(call) {
        while (!call.cancelled) if (!call.write(Buffer.alloc(CHUNK))) await sleep(5)
      },
    })
    const made = mesh({ endpoints: [port] })
    const stream = made.client().expand(Buffer.from('x'))
    stream.on('error', () => undefined)
    await once(stream, 'readable')
    const ended = new Promise((resolve) => stream.on('status', resolve))
    stream.cancel()
    expect(await ended).toMatchObject({ code: status.CANCELLED })
    await until(() => made.engine.clusters.values().next().value!.active === 0)
  })
})
