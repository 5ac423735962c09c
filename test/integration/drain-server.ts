// One replica of test/integration/drain.test.ts: a process of its own that says on stdout what it did.
import { createMesh } from '../../src/index.ts'

const delayMs = Number(process.env.DELAY_MS ?? 20)
const mesh = await createMesh()
const server = mesh.createServer((req, res) => {
  req.resume()
  req.on('end', () => {
    process.stdout.write(`did ${req.method} ${req.headers['x-id']}\n`)
    setTimeout(() => res.end(String(req.headers['x-id'])), delayMs)
  })
})
if (process.env.OWN_HANDLER === '1') {
  process.once('SIGTERM', async () => {
    await mesh.close({ drainMs: 0 })
    process.exit(7)
  })
}
await server.listen(0, '127.0.0.1')
await mesh.ready()
process.stdout.write('ready\n')
