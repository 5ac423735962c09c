import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getAbortSignal, withPriority } from '../../src/index.ts'
import type { Mesh } from '../../src/mesh.ts'
import { eventually, Shop } from '../support/shop.ts'

let shop: Shop
let orders: Mesh
let web: Mesh

beforeAll(async () => {
  shop = await Shop.open()
  orders = await shop.mesh('orders')
  web = await shop.mesh('web')
}, 30_000)
afterAll(() => shop.close())

const rateLimit = (name: string, rule: string) => `
apiVersion: inmesh.dev/v1
kind: RateLimit
metadata: { name: ${name} }
spec:
  selector: { matchLabels: { app: ${name} } }
  rules: [ ${rule} ]
`
/** Statuses of so many calls, one after the other. */
async function statuses(mesh: Mesh, url: string, count: number): Promise<number[]> {
  const all: number[] = []
  for (let i = 0; i < count; i++) {
    const response = await mesh.fetch(url)
    await response.text()
    all.push(response.status)
  }
  return all
}
const passed = (all: readonly number[]) => all.filter((status) => status === 200).length

describe('what a server enforces', () => {
  it('each caller has a bucket of its own; refusals are not retried and say when to come back', async () => {
    let handled = 0
    await shop.serve('ledger', (_req, res) => {
      handled++
      res.end('ok')
    })
    await shop.plane.apply(rateLimit('ledger', '{ key: identity, requests: 3, per: 1h }'))
    await eventually(
      async () => (await orders.fetch('http://ledger/')).headers.has('x-ratelimit-limit'),
      (limited) => limited,
    )
    const before = handled
    expect(passed(await statuses(web, 'http://ledger/', 10))).toBe(3)
    expect(handled - before).toBe(3)
    const refused = await web.fetch('http://ledger/')
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(60)
    expect(await refused.text()).toBe('local_rate_limited')
    expect(passed(await statuses(orders, 'http://ledger/', 10))).toBeLessThanOrEqual(2)
  })

  it('the bucket of a whole service is divided among its instances, as many as there are', async () => {
    const ok = (_req: unknown, res: { end(text: string): void }) => res.end('ok')
    await shop.plane.apply(rateLimit('stock', '{ requests: 600, per: 1h, global: true }'))
    await shop.serve('stock', ok)
    const limitOf = async () => Number((await orders.fetch('http://stock/')).headers.get('x-ratelimit-limit'))
    expect(await eventually(limitOf, (limit) => limit === 600)).toBe(600)
    const second = await shop.serve('stock', ok, { stateDir: `${shop.folder}/stock-2` })
    // Both: the answers of one that has not heard yet are mixed with those of the other.
    const limits = () => Promise.all(Array.from({ length: 8 }, limitOf))
    expect(await eventually(limits, (all) => all.every((limit) => limit === 300))).not.toContain(600)
    // All that two instances give, whatever was asked of them before: never more than the bucket of the service.
    const given = passed(await statuses(orders, 'http://stock/', 700))
    expect(given).toBeLessThanOrEqual(600)
    expect(given).toBeGreaterThan(200)
    await second.mesh.close({ drainMs: 0, graceMs: 0 })
    expect(await eventually(limitOf, (limit) => limit === 600)).toBe(600)
    // Whoever stays takes over no tokens that the other has given out.
    expect(passed(await statuses(orders, 'http://stock/', 20))).toBeLessThan(10)
  })

  it('a Sidecar limits the requests under way', async () => {
    const open: (() => void)[] = []
    await shop.serve('slow', (_req, res) => {
      open.push(() => res.end('ok'))
    })
    await shop.plane.apply(`
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: slow }
spec:
  workloadSelector: { labels: { app: slow } }
  inboundConnectionPool: { http: { http2MaxRequests: 2 } }
`)
    const inFlight: Promise<Response>[] = []
    const refused = await eventually(
      async () => {
        const asked = orders.fetch('http://slow/', { method: 'POST' })
        inFlight.push(asked as unknown as Promise<Response>)
        const seen = open.length
        return await Promise.race([
          asked.then((r) => r.status),
          eventually(() => open.length > seen, Boolean).then(() => 0),
        ])
      },
      (status) => status !== 0,
    )
    expect(refused).toBe(503)
    expect(open.length).toBeGreaterThanOrEqual(2)
    for (const end of open) end()
    const answers = await Promise.all(inFlight)
    expect(answers.map((r) => r.status).filter((s) => s === 503).length).toBe(1)
  })

  it('the class of work travels, is seen by no app, and a handler learns that its caller is gone', async () => {
    const seen: (string | string[] | undefined)[] = []
    let gone: Promise<unknown> | null = null
    await shop.serve('back', (req, res) => {
      seen.push(req.headers['x-inmesh-priority'])
      if (req.url === '/hang') gone = new Promise((resolve) => getAbortSignal(res).addEventListener('abort', resolve))
      else res.end('ok')
    })
    const front = await shop.serve('front', async (_req, res) => {
      const answer = await front.mesh.fetch('http://back/')
      res.end(await answer.text())
    })
    const answer = await withPriority('CRITICAL', () => orders.fetch('http://front/'))
    expect(await answer.text()).toBe('ok')
    expect(seen).toEqual([undefined])
    const controller = new AbortController()
    const hanging = orders.fetch('http://back/hang', { signal: controller.signal }).catch((error: Error) => error.name)
    await eventually(() => gone !== null, Boolean)
    controller.abort()
    await gone
    expect(await hanging).toBe('AbortError')
  })
})
