/** Knows what is in stock. */
import { createMesh } from 'inmesh'
import { reply } from './lib/hop.ts'
import { RemoteControl } from './lib/remote-control.ts'

const mesh = await createMesh()
const remote = new RemoteControl(mesh)

const server = mesh.createServer(async (req, res) => {
  if (await remote.misbehave()) reply(res, req, [], 503)
  else reply(res, req)
})

await server.listen(0, '127.0.0.1')
await mesh.ready()
remote.ready(server)
