import { afterAll, beforeAll, expect, it } from 'vitest'
import { echo, echoService, kinds, plainEcho } from '../support/grpc-echo.ts'
import { Shop } from '../support/shop.ts'

let shop: Shop
beforeAll(async () => {
  shop = await Shop.open()
}, 30_000)
afterAll(() => shop.close())

it('serves', async () => {
  const mesh = await shop.mesh('ledger')
  const server = mesh.grpc.server()
  server.addService(echoService, echo)
  const served = await mesh.grpc.listen(server, '127.0.0.1:0')
  await mesh.ready()
  const client = plainEcho(served.endpoint!.port)
  for (const kind of kinds) expect(await client.ask(kind)).toMatchObject({ code: 0, text: 'hello' })
  client.client.close()
})
