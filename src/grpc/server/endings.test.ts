import { connect } from 'node:http2'
import {
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type EchoHandlers, type Kind, kinds, plainEcho } from '../../../test/support/grpc-echo.ts'
import { openPort, type TestPort } from '../../../test/support/grpc-port.ts'
import { identityOf, until } from '../../../test/support/mesh-http.ts'
import { createTestCa } from '../../../test/support/test-ca.ts'
import { Dice } from '../../engine/testing/dice.ts'
import type { InboundSpec } from '../../model/inbound.ts'
import type { FaultSpec } from '../../model/route.ts'
import { callContext, noContext } from '../../telemetry/context.ts'
import type { ServerTelemetry } from '../../telemetry/server-telemetry.ts'

const identity = identityOf(createTestCa('cluster.local'), 'payments')

/** What telemetry is told: one entry per call that began, with how it ended. */
interface Seen {
  path: string
  ends: number[]
}

let port: TestPort
let seen: Seen[]
let handled: number

const telemetry: ServerTelemetry = {
  start(head) {
    const one = { ...noContext, requestId: 'r', hop: head.hop ?? null, path: head.path, ends: [] }
    seen.push(one)
    return one
  },
  run: (request, handler, a, b) => callContext.run(request, handler, a, b),
  end: (request, code) => void (request as unknown as Seen).ends.push(code),
}

/** What the handler does is what the request says. */
const act = (call: Pick<ServerUnaryCall<string, string>, 'metadata'>, answer: (error: object | null) => void) => {
  handled++
  switch (String(call.metadata.get('x-do')[0])) {
    case 'fail':
      return answer({ code: status.NOT_FOUND, details: 'no' })
    case 'throw':
      throw new Error('thrown on purpose')
    case 'twice':
      answer(null)
      return answer({ code: status.ABORTED, details: 'again' })
    case 'hang':
      return
    case 'late':
      return void (call as ServerUnaryCall<string, string>).on('cancelled', () => answer(null))
    default:
      return answer(null)
  }
}

const streamed = (call: ServerWritableStream<string, string> | ServerDuplexStream<string, string>) => {
  call.on('error', () => undefined)
  if ('read' in call) call.resume()
  act(call, (error) => {
    if (error !== null) call.emit('error', error)
    else if (!call.writableEnded) {
      call.write('a')
      call.end()
    }
  })
}
const handlers: EchoHandlers = {
  unary: (call, done) => act(call, (error) => done(error, 'a')),
  upload: (call: ServerReadableStream<string, string>, done) => {
    call.resume()
    act(call, (error) => done(error, 'a'))
  },
  download: streamed,
  chat: streamed,
}

beforeEach(async () => {
  seen = []
  handled = 0
  // A limit so that something is counted.
  port = await openPort({
    identity,
    handlers,
    telemetry,
    spec: limited,
    server: { 'grpc.max_receive_message_length': 64 },
  })
})
afterEach(() => port.close())

const limited: Partial<InboundSpec> = { maxRequests: 1_000 }

/** All calls are over, each once, and what they took is given back. */
async function over(count: number): Promise<number[]> {
  await until(() => seen.length === count && port.port.active === 0)
  expect(seen.map((one) => one.ends.length)).toEqual(Array.from({ length: count }, () => 1))
  expect(port.runtime.requests).toBe(0)
  return seen.map((one) => one.ends[0]!)
}

const fault = (what: Partial<FaultSpec>): Partial<InboundSpec> => ({
  ...limited,
  faults: [
    { match: [], fault: { headers: [], abort: null, delay: null, maxActive: Number.POSITIVE_INFINITY, ...what } },
  ],
})
const delay = (ms: number) => fault({ delay: { perMillion: 1_000_000, ms } })

describe.each(kinds)('a %s call is over once', (kind) => {
  const ask = async (what: string) => {
    const client = plainEcho(port.number)
    const answer = await client.ask(kind, 'x', { 'x-do': what })
    client.client.close()
    return answer.code
  }

  it.each([
    ['when it is answered', 'ok', status.OK],
    ['when its handler fails', 'fail', status.NOT_FOUND],
    ['when its handler throws', 'throw', status.UNKNOWN],
  ])('%s', async (_name, what, code) => {
    expect(await ask(what)).toBe(code)
    expect(await over(1)).toEqual([code])
  })

  it('when its handler answers twice', async () => {
    await ask('twice')
    await over(1)
  })

  it.each(['hang', 'late'])('when its time is over, also where the handler goes on (%s)', async (what) => {
    const { session, grpcStatus } = raw(kind, what, { timeout: '50m' })
    expect(await grpcStatus).toBe(String(status.DEADLINE_EXCEEDED))
    expect(await over(1)).toEqual([status.DEADLINE_EXCEEDED])
    session.destroy()
  })

  it('when its client cancels', async () => {
    const { session, stream } = raw(kind, 'hang')
    await until(() => handled === 1)
    stream.close(8)
    expect(await over(1)).toEqual([status.CANCELLED])
    session.destroy()
  })

  it('when its connection breaks', async () => {
    const { session } = raw(kind, 'late')
    await until(() => handled === 1)
    session.destroy()
    expect(await over(1)).toEqual([status.CANCELLED])
  })

  it('when the server is cut off', async () => {
    const { session } = raw(kind, 'hang')
    await until(() => handled === 1)
    await port.close()
    expect(await over(1)).toEqual([status.CANCELLED])
    session.destroy()
  })

  it('when grpc-js itself ends it: a message is too long', async () => {
    const { session, stream, grpcStatus } = raw(kind, 'hang', { message: Buffer.alloc(100) })
    expect(await grpcStatus).toBe(String(status.RESOURCE_EXHAUSTED))
    await over(1)
    stream.close()
    session.destroy()
  })

  it('when it is refused', async () => {
    port.set(fault({ abort: { perMillion: 1_000_000, how: { kind: 'grpc', code: status.DATA_LOSS } } }))
    expect(await ask('ok')).toBe(status.DATA_LOSS)
    expect(await over(1)).toEqual([status.DATA_LOSS])
    expect(handled).toBe(0)
  })

  it('when it was delayed', async () => {
    port.set(delay(20))
    expect(await ask('ok')).toBe(status.OK)
    expect(await over(1)).toEqual([status.OK])
  })

  it('when its client cancels in the delay', async () => {
    port.set(delay(60_000))
    const { session, stream } = raw(kind, 'ok')
    await until(() => port.port.active === 1)
    stream.close(8)
    expect(await over(1)).toEqual([status.CANCELLED])
    expect(handled).toBe(0)
    expect(port.runtime.faults).toBe(0)
    session.destroy()
  })

  it('when its time is over in the delay', async () => {
    port.set(delay(60_000))
    const { session, grpcStatus } = raw(kind, 'ok', { timeout: '40m' })
    expect(await grpcStatus).toBe(String(status.DEADLINE_EXCEEDED))
    expect(await over(1)).toEqual([status.DEADLINE_EXCEEDED])
    expect(handled).toBe(0)
    session.destroy()
  })
})

it('many calls over few connections, each ending in a way of its own, leave nothing behind', async () => {
  const dice = new Dice(7, 11)
  const sessions = Array.from({ length: 4 }, () =>
    connect(`http://127.0.0.1:${port.number}`).on('error', () => undefined),
  )
  const ways = ['ok', 'fail', 'throw', 'twice', 'hang', 'late'] as const
  const count = 300
  let closed = 0
  for (let i = 0; i < count; i++) {
    const way = dice.oneOf(ways)
    const { stream } = rawOn(
      dice.oneOf(sessions),
      dice.oneOf(kinds),
      way,
      way === 'ok' && i % 5 === 0 ? { message: Buffer.alloc(100) } : {},
    )
    stream.once('close', () => closed++)
    if (way === 'hang' || way === 'late' || i % 7 === 0) setTimeout(() => stream.close(8), i % 40)
    if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await until(() => closed === count)
  for (const session of sessions) session.destroy()
  await until(() => port.port.active === 0)
  expect(seen.filter((one) => one.ends.length !== 1)).toEqual([])
  expect(seen.length).toBeGreaterThan(count / 2)
  expect(port.runtime.requests).toBe(0)
})

interface RawOptions {
  message?: Buffer
  /** grpc-timeout: the server's timer alone. */
  timeout?: string
}

/** One call by hand, for what clients of grpc-js do not do. */
function raw(kind: Kind, what: string, options: RawOptions = {}) {
  const session = connect(`http://127.0.0.1:${port.number}`).on('error', () => undefined)
  return { session, ...rawOn(session, kind, what, options) }
}

function rawOn(session: ReturnType<typeof connect>, kind: Kind, what: string, options: RawOptions) {
  const { message = Buffer.from('x'), timeout } = options
  const stream = session.request({
    ':method': 'POST',
    ':path': `/test.Echo/${kind[0]!.toUpperCase()}${kind.slice(1)}`,
    'content-type': 'application/grpc',
    te: 'trailers',
    'x-do': what,
    ...(timeout === undefined ? {} : { 'grpc-timeout': timeout }),
  })
  const grpcStatus = new Promise<string>((resolve) => {
    const look = (headers: Record<string, unknown>) => {
      if (headers['grpc-status'] !== undefined) resolve(String(headers['grpc-status']))
    }
    stream.on('response', look).on('trailers', look)
  })
  stream.on('error', () => undefined).resume()
  const frame = Buffer.alloc(5 + message.length)
  frame.writeUInt32BE(message.length, 1)
  message.copy(frame, 5)
  stream.end(frame)
  return { stream, grpcStatus }
}
