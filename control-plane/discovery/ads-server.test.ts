import { Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/model/clock.ts'
import { silentLogger } from '../../src/model/logger.ts'
import { TypeUrl } from '../../src/xds/proto.ts'
import { AdsServer, aggregatedDiscoveryService } from './ads-server.ts'
import { type Caller, Quota } from './caller.ts'
import { ConnectedClients } from './status.ts'
import { AdsClient, anyNode, texts } from './testing/ads-client.ts'
import { fakeTranslation } from './testing/fake-translation.ts'

const { cluster: CDS, endpoints: EDS, listener: LDS, route: RDS } = TypeUrl

const cleanups: (() => void)[] = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup()
})

interface Setup {
  caller?: (call: ServerDuplexStream<Buffer, Buffer>) => Caller
  quota?: number
  answerTimeoutMs?: number
}

async function start(setup: Setup = {}) {
  const clients = new ConnectedClients()
  const sent: string[] = []
  const ads = new AdsServer({
    clients,
    clock: systemClock,
    logger: silentLogger,
    quota: new Quota(setup.quota ?? 100),
    answerTimeoutMs: setup.answerTimeoutMs ?? 60_000,
    events: { responseSent: (type) => sent.push(type) },
  })
  const server = new Server()
  server.addService(aggregatedDiscoveryService, {
    StreamAggregatedResources: (call: ServerDuplexStream<Buffer, Buffer>) =>
      ads.serve(call, setup.caller?.(call) ?? { kind: 'insecure', address: call.getPeer() }),
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  cleanups.push(() => server.forceShutdown())
  const connect = () => {
    const client = new AdsClient(`127.0.0.1:${port}`)
    cleanups.push(() => client.close())
    return client
  }
  return { ads, clients, sent, connect }
}

describe('aggregated discovery over gRPC', () => {
  it('serves two interleaved types and pushes to those who asked', async () => {
    const { ads, connect } = await start()
    await ads.push(fakeTranslation(1, { [CDS]: { a: '1' }, [EDS]: { a: '1' } }))
    const client = connect()
    client.ask(CDS, 'a')
    const cds = await client.response(0)
    expect(cds).toMatchObject({ typeUrl: CDS, versionInfo: '1' })
    expect(texts(cds)).toEqual(['a=1'])
    // The node is needed in the first message only.
    client.send({ typeUrl: EDS, resourceNames: ['a'] })
    const eds = await client.response(1)
    client.ack(cds, 'a')
    client.ack(eds, 'a')
    await ads.push(fakeTranslation(2, { [CDS]: { a: '1' }, [EDS]: { a: '2' } }))
    const pushed = await client.response(2)
    expect(pushed).toMatchObject({ typeUrl: EDS, versionInfo: '2' })
    expect(texts(pushed)).toEqual(['a=2'])
  })

  it('answers a client that comes back with its old version', async () => {
    const { ads, connect } = await start()
    await ads.push(fakeTranslation(7, { [CDS]: { a: '1' } }))
    const client = connect()
    client.send({ node: anyNode, typeUrl: CDS, resourceNames: ['a'], versionInfo: '7' })
    expect(texts(await client.response(0))).toEqual(['a=1'])
  })

  it('gives two streams of one node their own state', async () => {
    const { ads, clients, connect } = await start()
    await ads.push(fakeTranslation(1, { [CDS]: { a: '1', b: '1' } }))
    const one = connect()
    const two = connect()
    one.ask(CDS, 'a')
    two.ask(CDS, 'b')
    expect(texts(await one.response(0))).toEqual(['a=1'])
    expect(texts(await two.response(0))).toEqual(['b=1'])
    expect(clients.list(systemClock.now()).map((c) => c.nodeId)).toEqual(['test-node', 'test-node'])
  })

  it('knows when all clients have answered for the endpoints of now', async () => {
    const { ads, connect } = await start()
    const settled = async (promise: Promise<void>) =>
      await Promise.race([promise.then(() => true), new Promise((resolve) => setTimeout(resolve, 60, false))])
    await ads.push(fakeTranslation(1, { [EDS]: { a: '1' }, [CDS]: { a: '1' } }))
    const [one, two, other] = [connect(), connect(), connect()]
    one.ask(EDS, 'a')
    two.ask(EDS, 'a')
    other.ask(CDS, 'a')
    one.ack(await one.response(0), 'a')
    two.ack(await two.response(0), 'a')
    await other.response(0)
    await ads.endpointsAnswered(5_000)
    await ads.push(fakeTranslation(2, { [EDS]: { a: '2' }, [CDS]: { a: '1' } }))
    const answered = ads.endpointsAnswered(5_000)
    expect(await settled(answered)).toBe(false)
    one.ack(await one.response(1), 'a')
    expect(await settled(answered)).toBe(false)
    // A refusal is an answer, and so is to be gone.
    two.nack(await two.response(1), 'no', 'a')
    await answered
    await ads.push(fakeTranslation(3, { [EDS]: { a: '3' }, [CDS]: { a: '1' } }))
    one.ack(await one.response(2), 'a')
    const gone = ads.endpointsAnswered(5_000)
    two.close()
    await gone
  })

  it('does not wait for ever for a client that does not answer', async () => {
    const { ads, connect } = await start()
    await ads.push(fakeTranslation(1, { [EDS]: { a: '1' } }))
    const client = connect()
    client.ask(EDS, 'a')
    await client.response(0)
    await ads.endpointsAnswered(30)
  })

  it('shows what each client has', async () => {
    const { ads, clients, connect } = await start()
    await ads.push(fakeTranslation(1, { [CDS]: { a: '1' }, [RDS]: { r: '1' } }))
    const client = connect()
    client.ask(CDS, 'a')
    client.ack(await client.response(0), 'a')
    client.ask(RDS, 'r')
    client.nack(await client.response(1), 'route r: no such field', 'r')
    await expect
      .poll(() => clients.list(systemClock.now())[0]?.types.map((t) => [t.state, t.reason, t.ackedVersion]))
      .toEqual([
        ['SYNCED', '', '1'],
        ['NACK', 'route r: no such field', ''],
      ])
    client.close()
    await expect.poll(() => clients.size).toBe(0)
  })

  it('keeps one response unanswered however many updates come to a client that does not answer', async () => {
    const { ads, sent, connect } = await start()
    const big = 'x'.repeat(100_000)
    await ads.push(fakeTranslation(1, { [EDS]: { a: `0${big}` } }))
    const client = connect()
    client.ask(EDS, 'a')
    const first = await client.response(0)
    client.stream.pause()
    for (let i = 1; i <= 200; i++) await ads.push(fakeTranslation(1 + i, { [EDS]: { a: `${i}${big}` } }))
    expect(sent).toHaveLength(1)
    client.stream.resume()
    client.ack(first, 'a')
    const second = await client.response(1)
    expect(second.versionInfo).toBe('201')
    expect(texts(second)[0]).toMatch(/^a=200x/)
    expect(sent).toHaveLength(2)
  })

  it('ends a stream whose client never answers', async () => {
    const { ads, connect } = await start({ answerTimeoutMs: 50 })
    await ads.push(fakeTranslation(1, { [CDS]: { a: '1' } }))
    const client = connect()
    client.ask(CDS, 'a')
    expect(await client.ended).toMatchObject({ code: status.UNAVAILABLE })
  })

  it('tells clients that it is going away', async () => {
    const { ads, connect } = await start()
    await ads.push(fakeTranslation(1, { [CDS]: { a: '1' } }))
    const client = connect()
    client.ask(CDS, 'a')
    await client.response(0)
    ads.close()
    expect(await client.ended).toMatchObject({ code: status.UNAVAILABLE })
  })

  it('goes on when a client dies in the middle of a push', async () => {
    const { ads, clients, connect } = await start()
    await ads.push(fakeTranslation(1, { [EDS]: { a: '1' } }))
    const dying = connect()
    const living = connect()
    for (const client of [dying, living]) {
      client.ask(EDS, 'a')
      client.ack(await client.response(0), 'a')
    }
    const push = ads.push(fakeTranslation(2, { [EDS]: { a: 'x'.repeat(1_000_000) } }))
    dying.close()
    await push
    expect((await living.response(1)).versionInfo).toBe('2')
    await expect.poll(() => clients.size).toBe(1)
  })

  it('serves 10,000 names on one stream', async () => {
    const { ads, connect } = await start()
    const content = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`c${i}`, '1']))
    await ads.push(fakeTranslation(1, { [CDS]: content }))
    const client = connect()
    client.ask(CDS, ...Object.keys(content))
    expect((await client.response(0)).resources).toHaveLength(10_000)
  })

  it('leaves the stream open for a type that it does not know', async () => {
    const { ads, connect } = await start()
    await ads.push(fakeTranslation(1, { [LDS]: { l: '1' } }))
    const client = connect()
    client.ask('type.googleapis.com/some.Other', 'x')
    expect((await client.response(0)).resources).toEqual([])
    client.ask(LDS, 'l')
    expect(texts(await client.response(1))).toEqual(['l=1'])
  })
})

describe('a stream is refused', () => {
  it('without a node in the first message', async () => {
    const client = (await start()).connect()
    client.send({ typeUrl: CDS })
    expect(await client.ended).toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/which node/),
    })
  })

  it('without type_url', async () => {
    const client = (await start()).connect()
    client.send({ node: anyNode })
    expect(await client.ended).toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringMatching(/type_url/),
    })
  })

  it('when the message is not a DiscoveryRequest', async () => {
    const client = (await start()).connect()
    client.stream.write(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]))
    expect(await client.ended).toMatchObject({ code: status.INVALID_ARGUMENT })
  })

  it('when a name is absurdly long', async () => {
    const client = (await start()).connect()
    client.ask(CDS, 'x'.repeat(2_000))
    expect(await client.ended).toMatchObject({ code: status.INVALID_ARGUMENT })
  })

  it('when it is anonymous', async () => {
    const client = (await start({ caller: () => ({ kind: 'anonymous', address: '127.0.0.1:1' }) })).connect()
    expect(await client.ended).toMatchObject({ code: status.UNAUTHENTICATED })
  })

  it('when its identity has too many streams', async () => {
    const { ads, connect } = await start({ quota: 1 })
    await ads.push(fakeTranslation(1, { [CDS]: { a: '1' } }))
    const first = connect()
    first.ask(CDS, 'a')
    await first.response(0)
    expect(await connect().ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED })
  })
})
