/** Takes the money: GET /quote says how much, POST /process charges an order once. */
import { createMesh } from 'inmesh'
import { reply } from './lib/hop.ts'
import { chargeOnce } from './lib/ledger.ts'
import { RemoteControl } from './lib/remote-control.ts'

const mesh = await createMesh()
const remote = new RemoteControl(mesh)
const { SHOP_LEDGER = '.', SHOP_INSTANCE = 'payment-service' } = process.env

const server = mesh.createServer(async (req, res) => {
  if (req.method === 'POST' && req.url === '/process') {
    const { id } = JSON.parse((await req.toArray()).join('')) as { id: string }
    // On disk before anything else: a charge that is killed in the middle was made all the same.
    chargeOnce(SHOP_LEDGER, SHOP_INSTANCE, id)
  }
  if (await remote.misbehave()) reply(res, req, [], 503)
  else reply(res, req)
})

await server.listen(0, '127.0.0.1')
await mesh.ready()
remote.ready(server)
