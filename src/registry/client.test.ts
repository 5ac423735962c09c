import { fromBinary } from '@bufbuild/protobuf'
import { beforeEach, describe, expect, it } from 'vitest'
import { Health, type RegisterRequest, RegisterRequestSchema } from '../gen/inmesh/v1/registry_pb.js'
import { systemClock } from '../model/clock.ts'
import { silentLogger } from '../model/logger.ts'
import type { Stream, StreamHandlers, Transport } from '../model/transport.ts'
import { type RegisteredEndpoint, RegistryClient } from './client.ts'

/** The control plane's end of one stream, in memory. */
class FakeStream implements Stream {
  readonly requests: RegisterRequest[] = []
  readonly handlers: StreamHandlers
  reads = 0
  state: 'open' | 'half-closed' | 'cancelled' = 'open'

  constructor(handlers: StreamHandlers) {
    this.handlers = handlers
  }

  send(message: Uint8Array): void {
    this.requests.push(fromBinary(RegisterRequestSchema, message))
  }

  read(): void {
    this.reads++
  }

  halfClose(): void {
    this.state = 'half-closed'
  }

  cancel(): void {
    this.state = 'cancelled'
  }

  confirm(): void {
    this.handlers.message(new Uint8Array())
  }
}

const endpoint: RegisteredEndpoint = {
  service: 'payments',
  address: '10.0.0.1',
  port: 8080,
  labels: { app: 'payments', version: 'v1' },
  locality: 'r/z',
  weight: 1,
}

describe('the registration', () => {
  let streams: FakeStream[]
  let methods: string[]
  let client: RegistryClient
  const transport: Transport = {
    open(method, handlers) {
      methods.push(method)
      const stream = new FakeStream(handlers)
      streams.push(stream)
      return stream
    },
  }
  const last = () => {
    const stream = streams.at(-1)
    if (stream === undefined) throw new Error('no stream was opened')
    return stream
  }
  const isSettled = async (promise: Promise<unknown>) => {
    const marker = {}
    return (
      (await Promise.race([promise.catch(() => undefined), new Promise((r) => setImmediate(r, marker))])) !== marker
    )
  }

  beforeEach(() => {
    streams = []
    methods = []
    client = new RegistryClient({
      instanceId: 'i-1',
      transport,
      clock: systemClock,
      random: { u32: () => 0 },
      logger: silentLogger,
    })
  })

  it('opens a stream with the first endpoints and says who it is', () => {
    expect(streams).toEqual([])
    client.update([endpoint])
    expect(methods).toEqual(['/inmesh.v1.WorkloadRegistry/Register'])
    expect(last().requests).toMatchObject([{ instanceId: 'i-1', endpoints: [{ ...endpoint, health: Health.HEALTHY }] }])
  })

  it('is registered when the control plane has confirmed everything that was said', async () => {
    client.update([endpoint])
    client.update([endpoint, { ...endpoint, port: 9090 }])
    const registered = client.registered()
    last().confirm()
    expect(await isSettled(registered)).toBe(false)
    last().confirm()
    await registered
    await client.registered()
    expect(last().reads).toBe(3)
  })

  it('replaces what was registered on the same stream', () => {
    client.update([endpoint])
    client.update([])
    expect(streams).toHaveLength(1)
    expect(last().requests[1]?.endpoints).toEqual([])
  })

  it('comes back after the stream broke and says everything again', async () => {
    client.update([endpoint])
    last().confirm()
    last().handlers.ended({ code: 14, details: 'connection lost' })
    expect(client.lastError).toContain('connection lost')
    await expect.poll(() => streams.length, { timeout: 3_000 }).toBe(2)
    expect(last().requests).toMatchObject([{ endpoints: [{ port: 8080 }] }])
    const registered = client.registered()
    expect(await isSettled(registered)).toBe(false)
    last().confirm()
    await registered
    expect(client.lastError).toBe('')
  })

  it('says the newest endpoints when they changed while the stream was broken', async () => {
    client.update([endpoint])
    last().handlers.ended({ code: 14, details: 'connection lost' })
    client.update([{ ...endpoint, port: 9090 }])
    expect(streams).toHaveLength(1)
    await expect.poll(() => streams.length, { timeout: 3_000 }).toBe(2)
    expect(last().requests).toMatchObject([{ endpoints: [{ port: 9090 }] }])
  })

  it('opens a new stream in place of the old when it is told to, without saying goodbye', () => {
    client.update([endpoint])
    const [first] = streams
    client.reconnect()
    expect(first?.state).toBe('cancelled')
    expect(last().requests).toMatchObject([{ endpoints: [{ port: 8080 }] }])
    first?.handlers.ended({ code: 1, details: 'late' })
    first?.confirm()
    expect(streams).toHaveLength(2)
  })

  it('drains: all endpoints stay, marked, also over a reconnect', async () => {
    client.update([endpoint])
    last().confirm()
    const drained = client.drain()
    expect(last().requests.at(-1)?.endpoints).toMatchObject([{ port: 8080, health: Health.DRAINING }])
    expect(await isSettled(drained)).toBe(false)
    last().confirm()
    await drained
    client.reconnect()
    expect(last().requests).toMatchObject([{ endpoints: [{ health: Health.DRAINING }] }])
  })

  it('has nothing to drain when it never registered', async () => {
    await client.drain()
    expect(streams).toEqual([])
  })

  it('does not wait for ever for a control plane that is away when it drains', async () => {
    client.update([endpoint])
    await client.drain(5)
  })

  it('says goodbye and waits for the end', async () => {
    client.update([endpoint])
    last().confirm()
    const closed = client.close()
    expect(last().state).toBe('half-closed')
    expect(await isSettled(closed)).toBe(false)
    last().handlers.ended({ code: 0, details: '' })
    await closed
    expect(last().state).toBe('half-closed')
  })

  it('cuts the stream when the end does not come', async () => {
    client.update([endpoint])
    await client.close(5)
    expect(last().state).toBe('cancelled')
  })

  it('closes at once when there is no stream', async () => {
    await client.close()
    client.update([endpoint])
    expect(streams).toEqual([])
    await expect(client.registered()).rejects.toMatchObject({ code: 'ERR_INMESH_CLOSED' })
  })

  it('does not come back once it is closed, and tells those who wait', async () => {
    client.update([endpoint])
    const registered = client.registered()
    last().handlers.ended({ code: 14, details: 'gone' })
    await Promise.all([client.close(), expect(registered).rejects.toMatchObject({ code: 'ERR_INMESH_CLOSED' })])
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(streams).toHaveLength(1)
  })
})
