import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient, type ServiceSpec } from '../../test/support/mesh-client.ts'
import { until } from '../../test/support/mesh-http.ts'
import type { HedgeSpec } from '../model/route.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Peer {
  port: number
  requests: number
  /** Answers that their client gave up. */
  abandoned: number
}

async function peer(listener: RequestListener): Promise<Peer> {
  const made: Peer = { port: 0, requests: 0, abandoned: 0 }
  const server = createServer((req, res) => {
    made.requests++
    res.on('close', () => {
      if (!res.writableFinished) made.abandoned++
    })
    listener(req, res)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.close()
    server.closeAllConnections()
  })
  made.port = (server.address() as AddressInfo).port
  return made
}

function client(peers: readonly Peer[], service: Partial<ServiceSpec> = {}) {
  const hedge: HedgeSpec = { delayMs: 30, percentile: null, maxHedges: 1, onTryTimeout: false }
  const route = { hedge, timeoutMs: 15_000, ...service.route }
  const made = meshClient({ catalog: { endpoints: peers.map((p) => p.port), ...service, route } })
  closing.push(() => made.close())
  return made
}

const silent: RequestListener = () => undefined
const quick: RequestListener = (_req, res) => void res.end('quick')

describe('a hedged call over HTTP', () => {
  it('is answered by whoever is quick, and the other one hears that nobody waits any more', async () => {
    const [slow, fast] = [await peer(silent), await peer(quick)]
    const { dispatcher, engine } = client([slow, fast])
    for (let i = 0; i < 10; i++) expect((await call(dispatcher, 'http://catalog/')).text).toBe('quick')
    expect(slow.requests).toBeGreaterThan(0)
    await until(() => slow.abandoned === slow.requests)
    const cluster = [...engine.clusters.values()][0]!
    expect(cluster).toMatchObject({ active: 0, retrying: 0 })
  })

  it('is one whole answer, though both answer at the same time', async () => {
    const late: RequestListener = (_req, res) => void setTimeout(() => res.end('x'.repeat(200_000)), 35)
    const { dispatcher } = client([await peer(late), await peer(late)])
    const texts = await Promise.all(Array.from({ length: 40 }, () => call(dispatcher, 'http://catalog/')))
    for (const { status, text } of texts) expect([status, text.length]).toEqual([200, 200_000])
  })

  it('is not sent twice when it is a POST, or its body is a stream', async () => {
    const peers = [await peer(silent), await peer(silent)]
    const { dispatcher } = client(peers, { route: { timeoutMs: 1_000 } })
    await call(dispatcher, 'http://catalog/', { method: 'POST', body: 'x' })
    await call(dispatcher, 'http://catalog/', { method: 'PUT', body: Readable.from(['x']) })
    expect(peers[0]!.requests + peers[1]!.requests).toBe(2)
    await call(dispatcher, 'http://catalog/', { method: 'PUT', body: 'x' })
    expect(peers[0]!.requests + peers[1]!.requests).toBe(4)
  })
})

describe('a streamed body', () => {
  it('is kept for another try as far as the retry policy says', async () => {
    for (const [maxBodyBytes, status, requests] of [
      [200_000, 200, 2],
      [50_000, 503, 1],
    ] as const) {
      let failures = 1
      const one = await peer((req, res) => {
        req.resume().on('end', () => {
          res.statusCode = failures-- > 0 ? 503 : 200
          res.end()
        })
      })
      const { dispatcher } = client([one], { route: { hedge: null }, retry: { maxBodyBytes } })
      const body = Readable.from(Array.from({ length: 10 }, () => Buffer.alloc(10_000)))
      expect((await call(dispatcher, 'http://catalog/', { method: 'PUT', body })).status).toBe(status)
      expect(one.requests).toBe(requests)
    }
  })
})
