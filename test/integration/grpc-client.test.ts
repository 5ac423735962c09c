import { type ChannelCredentials, Metadata, makeClientConstructor, type ServiceError, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getGrpcPeer } from '../../src/grpc/server/peer.ts'
import { echo, echoService } from '../support/grpc-echo.ts'
import { Shop } from '../support/shop.ts'

let shop: Shop
beforeAll(async () => {
  shop = await Shop.open()
}, 30_000)
afterAll(() => shop.close())

/** As proto-loader makes them. */
const EchoClient = makeClientConstructor(echoService as never, 'Echo') as unknown as new (
  address: string,
  credentials: ChannelCredentials,
  options?: object,
) => {
  unary(text: string, metadata: Metadata, done: (error: ServiceError | null, text?: string) => void): void
  chat(): import('@grpc/grpc-js').ClientDuplexStream<string, string>
  waitForReady(deadline: number, done: (error?: Error) => void): void
  close(): void
}

describe('gRPC from service to service', () => {
  it('is found by name, encrypted, authenticated, and drained when the client leaves', async () => {
    const ledger = await shop.mesh('ledger')
    const peers: (string | undefined)[] = []
    const server = ledger.grpc.server()
    let slow = () => {}
    server.addService(echoService, {
      ...echo,
      unary: (call: Parameters<typeof echo.unary>[0], done: Parameters<typeof echo.unary>[1]) => {
        peers.push(getGrpcPeer(call)?.spiffeId)
        if (call.request === 'slow') slow = () => done(null, 'slow')
        else done(null, call.request)
      },
    })
    await ledger.grpc.listen(server, '127.0.0.1:0')
    await ledger.ready()
    const orders = await shop.mesh('orders')
    const client = orders.grpc.client(EchoClient, 'ledger')
    await new Promise<void>((resolve, reject) =>
      client.waitForReady(Date.now() + 15_000, (error) => (error === undefined ? resolve() : reject(error))),
    )
    const ask = (text: string) =>
      new Promise<string>((resolve, reject) =>
        client.unary(text, new Metadata(), (error, answer) => (error === null ? resolve(answer!) : reject(error))),
      )
    expect(await ask('hello')).toBe('hello')
    expect(peers[0]).toContain('/sa/orders')
    const heard: string[] = []
    const chat = client.chat()
    const ended = new Promise((resolve) => chat.on('end', resolve))
    chat.on('data', (text: string) => heard.push(text))
    for (const text of ['a', 'b']) chat.write(text)
    chat.end()
    await ended
    expect(heard).toEqual(['a', 'b'])
    const nobody = orders.grpc.client(EchoClient, 'nobody')
    const error = await new Promise<ServiceError | null>((resolve) => nobody.unary('x', new Metadata(), resolve))
    expect(error).toMatchObject({ code: status.UNAVAILABLE })
    const last = ask('slow')
    while (peers.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
    const closed = orders.close()
    slow()
    expect(await last).toBe('slow')
    await closed
    expect(await orders.metrics().catch(() => '')).toBeDefined()
  })
})
