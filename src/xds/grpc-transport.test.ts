import { credentials, Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Stream, StreamEnd } from '../model/transport.ts'
import { grpcTransport } from './grpc-transport.ts'

type Call = ServerDuplexStream<Buffer, Buffer>

describe('a stream over gRPC', () => {
  let server: Server
  let port: number
  let serve: (call: Call) => void
  let received: string[]
  let ended: Promise<StreamEnd>

  const open = (target = `127.0.0.1:${port}`, read = true): Stream => {
    received = []
    let end: (value: StreamEnd) => void
    ended = new Promise((resolve) => {
      end = resolve
    })
    const transport = grpcTransport(() => ({ target, credentials: credentials.createInsecure() }))
    const stream = transport.open('/test.Echo/Echo', {
      message: (message) => {
        received.push(Buffer.from(message).toString())
        if (read) stream.read()
      },
      ended: (value) => end(value),
    })
    stream.read()
    return stream
  }
  const bytes = (text: string) => Buffer.from(text)

  beforeEach(async () => {
    server = new Server()
    const raw = (message: Buffer) => message
    const codec = { requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw }
    server.addService(
      { Echo: { path: '/test.Echo/Echo', requestStream: true, responseStream: true, ...codec } },
      { Echo: (call: Call) => serve(call) },
    )
    serve = (call) => {
      call.on('data', (message: Buffer) => call.write(message))
      call.on('end', () => call.end())
    }
    port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      )
    })
  })
  afterEach(() => server.forceShutdown())

  it('delivers all messages that were sent before it stood, in order, and ends in order', async () => {
    const stream = open()
    const sent: string[] = []
    for (const text of ['a', 'b', 'c', 'd', 'e']) stream.send(bytes(text), () => sent.push(text))
    expect(sent).toEqual([])
    stream.halfClose()
    expect(await ended).toMatchObject({ code: 0 })
    expect(received).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(sent).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  it('delivers one message for each that was asked for', async () => {
    let answered = false
    serve = (call) => {
      call.on('data', () => {
        for (let i = 0; i < 50; i++) call.write(bytes(`${i}`))
        answered = true
      })
    }
    const stream = open(undefined, false)
    stream.send(bytes('go'))
    await expect.poll(() => received).toEqual(['0'])
    stream.read()
    await expect.poll(() => received).toEqual(['0', '1'])
    expect(answered).toBe(true)
    stream.cancel()
  })

  it('reports the status of the server', async () => {
    serve = (call) => call.emit('error', { code: status.PERMISSION_DENIED, details: 'who are you' })
    open()
    expect(await ended).toEqual({ code: status.PERMISSION_DENIED, details: 'who are you' })
  })

  it('reports a server that is not there, and never says that something was sent', async () => {
    const stream = open('127.0.0.1:1')
    let sent = false
    stream.send(bytes('x'), () => {
      sent = true
    })
    expect((await ended).code).toBe(status.UNAVAILABLE)
    expect(sent).toBe(false)
  })

  it('reports credentials that cannot be had, later and not by an exception', async () => {
    const transport = grpcTransport(() => {
      throw new Error('no certificate yet')
    })
    const end = await new Promise<StreamEnd>((resolve) => {
      transport.open('/test.Echo/Echo', { message: () => undefined, ended: resolve })
    })
    expect(end).toEqual({ code: status.UNAVAILABLE, details: 'no certificate yet' })
  })

  it('is silent after cancel, and the server hears of it', async () => {
    const cancelled = new Promise<void>((resolve) => {
      serve = (call) => {
        call.on('cancelled', resolve)
        call.write(bytes('hello'))
      }
    })
    const stream = open()
    await expect.poll(() => received).toEqual(['hello'])
    stream.cancel()
    await cancelled
    stream.send(bytes('late'))
    stream.read()
    expect(await Promise.race([ended, new Promise((resolve) => setImmediate(resolve, 'silent'))])).toBe('silent')
  })
})
