/** What browsers talk to: passes questions on to order-service. The only service that also takes plaintext. */
import { createMesh } from 'inmesh'
import { call, reply } from './lib/hop.ts'
import { RemoteControl } from './lib/remote-control.ts'

const mesh = await createMesh({ preload: ['order-service'] })
const remote = new RemoteControl(mesh)

const server = mesh.createServer(async (req, res) => {
  const body = req.method === 'POST' ? (await req.toArray()).join('') : undefined
  // A feature of the shop, not of the mesh: testers ask for the canary by a header of their own.
  const canary = req.headers['x-canary']
  const headers: Record<string, string> = typeof canary === 'string' ? { 'x-canary': canary } : {}
  const answer = await call(mesh, `http://order-service${req.url}`, { method: req.method, body, headers })
  reply(res, req, [answer])
})

await server.listen(Number(process.env.PORT ?? 0), '127.0.0.1')
await mesh.ready()
remote.ready(server)
