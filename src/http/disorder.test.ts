import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { type ConnectionFaults, startFaultProxy } from '../../test/support/fault-proxy.ts'
import { call, meshClient, type ServiceSpec } from '../../test/support/mesh-client.ts'
import { until } from '../../test/support/mesh-http.ts'
import { freePorts } from '../../test/support/ports.ts'
import { Xoshiro } from '../engine/random.ts'
import { loadOf } from '../transport/cluster-load.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** A small world of hosts that refuse, reset, truncate, hang and are slow, and callers that give up, by a seed. */
function draw(seed: number) {
  const random = new Xoshiro(new Uint32Array([seed, 1, 2, 3]))
  const below = (limit: number) => random.u32() % limit
  const actions = ['reset', 'close', 'hold', 'garbage'] as const
  const faults = (): ConnectionFaults => {
    switch (below(6)) {
      case 0:
        return { refuse: true }
      case 1:
        return { response: { afterBytes: below(300), action: actions[below(4)]! } }
      case 2:
        return { request: { afterBytes: below(300), action: actions[below(3)]! } }
      case 3:
        return { response: { delayMs: below(30) } }
      default:
        return {}
    }
  }
  return { below, faults }
}

describe('whatever goes wrong', () => {
  it.each([1, 2, 3, 4, 5, 6])('every call ends, no POST runs twice, nothing is left over (seed %i)', async (seed) => {
    const { below, faults } = draw(seed)
    const runs = new Map<string, number>()
    const server = createServer((req, res) => {
      let size = 0
      req.on('error', () => undefined)
      req.on('data', (chunk: Buffer) => (size += chunk.length))
      req.on('end', () => {
        runs.set(req.url!, (runs.get(req.url!) ?? 0) + 1)
        const status = below(5) === 0 ? 503 : 200
        if (below(10) === 0) return
        res.writeHead(status, { 'x-size': String(size) })
        res.end('x'.repeat(below(4) === 0 ? 100_000 : 10))
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const proxy = await startFaultProxy(port)
    proxy.plan = faults
    closing.push(async () => {
      await proxy.close()
      server.close()
      server.closeAllConnections()
    })
    const [dead] = await freePorts(1)
    const endpoints = [[port, proxy.port], [proxy.port, dead!], [proxy.port], [port, proxy.port, dead!]] as const
    const service = (n: number): ServiceSpec => ({
      endpoints: endpoints[n]!,
      retry: { statusCodes: [503], perTryTimeoutMs: 80, baseIntervalMs: 2, maxIntervalMs: 10 },
      route: { timeoutMs: 300 },
      cluster: { connectTimeoutMs: 100, idleTimeoutMs: 200 },
      limits: { maxConnections: 6, maxPendingRequests: 8 },
    })
    const made = meshClient({ payments: service(0) })
    closing.push(() => made.close())
    let serial = 0
    const one = async () => {
      const post = below(2) === 0
      const path = `/${post ? 'post' : 'get'}/${serial++}`
      const body =
        below(3) === 0
          ? Readable.from(Array.from({ length: below(20) }, () => 'y'.repeat(below(8_000))))
          : 'z'.repeat(below(2_000))
      const signal = new EventEmitter()
      const giveUp = below(4) === 0 ? setTimeout(() => signal.emit('abort'), below(60)) : undefined
      try {
        const answer = await call(made.dispatcher, `http://payments${path}`, {
          signal,
          ...(post ? { method: 'POST', body } : {}),
        })
        if (answer.status === 200)
          expect([10, 100_000], JSON.stringify([answer, path, signal.listenerCount('abort')]).slice(0, 900)).toContain(
            answer.text.length,
          )
        else expect([502, 503, 504]).toContain(answer.status)
      } catch (error) {
        // Given up, or broken off after the head: an error, and none of ours.
        expect(error).toBeInstanceOf(Error)
        if ((error as Error).name === 'AssertionError') throw error
        expect(error).not.toBeInstanceOf(TypeError)
      } finally {
        clearTimeout(giveUp)
      }
    }
    const workers = Array.from({ length: 12 }, async () => {
      for (let i = 0; i < 25; i++) await one()
    })
    let running = true
    const changes = (async () => {
      while (running) {
        await sleep(30)
        made.apply({ payments: service(below(endpoints.length)) })
      }
    })()
    await Promise.all(workers)
    running = false
    await changes
    for (const [path, count] of runs) if (path.startsWith('/post')) expect(count, path).toBe(1)
    const cluster = [...made.engine.clusters.values()][0]!
    const load = loadOf(cluster)
    await until(() => cluster.active === 0 && load.waiting === 0)
    expect(cluster.hosts.map((h) => h.active)).toEqual(cluster.hosts.map(() => 0))
    await made.dispatcher.close()
    await until(() => load.connections === 0)
    expect(load).toMatchObject({ connections: 0, waiting: 0, finishing: 0 })
    expect(made.engine.wheel.size).toBe(0)
  })
})
