/** A service to be measured: `bare` on node:http and undici, `meshed` on inmesh; otherwise the same. */
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const listener: RequestListener = (_req, res) => res.end('ok')
const CALLS = 200

const service = process.argv[2] === 'meshed' ? await meshed() : await bare()

async function bare() {
  const { request } = await import('undici')
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return {
    call: async () => void (await (await request(url)).body.dump()),
    uses: async () => 0,
  }
}

async function meshed() {
  const { createMesh } = await import('inmesh')
  const { request } = await import('undici')
  const mesh = await createMesh()
  await mesh.createServer(listener).listen(0, '127.0.0.1')
  await mesh.ready()
  const inUse = () =>
    (mesh.status().listeners as { routes: { virtualHosts: { routes: { timeoutMs: number }[] }[] } }[])
      .flatMap((l) => l.routes.virtualHosts)
      .flatMap((h) => h.routes)
      .map((r) => r.timeoutMs)
  return {
    call: async () => void (await (await request('http://payments/', { dispatcher: mesh.dispatcher })).body.dump()),
    /** Wall clock ms at which a route with this timeout was in force. */
    uses: (timeoutMs: number) =>
      new Promise<number>((resolve) => {
        const look = () => {
          if (!inUse().includes(timeoutMs)) return
          mesh.off('config', look)
          resolve(performance.timeOrigin + performance.now())
        }
        mesh.on('config', look)
        look()
      }),
  }
}

process.on('message', async ({ id, verb, argument }: { id: number; verb: string; argument: unknown }) => {
  let value: unknown
  if (verb === 'ready') for (let i = 0; i < CALLS; i++) await service.call()
  else if (verb === 'uses') value = await service.uses(argument as number)
  else {
    await sleep(3_000)
    globalThis.gc?.()
    value = process.memoryUsage.rss()
  }
  process.send?.({ id, value })
})
process.on('disconnect', () => process.exit())
