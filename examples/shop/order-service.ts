/** Takes orders: asks payment-service for the price and the money, inventory-service for the goods. */
import { createMesh } from 'inmesh'
import { call, reply } from './lib/hop.ts'
import { RemoteControl } from './lib/remote-control.ts'

const mesh = await createMesh({ preload: ['payment-service', 'inventory-service'] })
const remote = new RemoteControl(mesh)

const server = mesh.createServer(async (req, res) => {
  const canary = req.headers['x-canary']
  const headers: Record<string, string> = typeof canary === 'string' ? { 'x-canary': canary } : {}
  const price = () => call(mesh, 'http://payment-service/quote', { headers })
  const stock = () => call(mesh, 'http://inventory-service/stock')

  if (req.method === 'POST' && req.url === '/orders') {
    const body = (await req.toArray()).join('')
    reply(res, req, [await call(mesh, 'http://payment-service/process', { method: 'POST', body, headers })])
  } else if (req.url === '/quote') reply(res, req, [await price()])
  else if (req.url === '/stock') reply(res, req, [await stock()])
  else if (req.url === '/checkout') reply(res, req, await Promise.all([price(), stock()]))
  else reply(res, req, [], 404)
})

await server.listen(0, '127.0.0.1')
await mesh.ready()
remote.ready(server)
