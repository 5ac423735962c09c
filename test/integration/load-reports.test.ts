import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Mesh, reportLoad } from '../../src/index.ts'
import { eventually, Shop } from '../support/shop.ts'

const yaml = `
apiVersion: inmesh.dev/v1
kind: ServicePolicy
spec: { service: payments, loadBalancer: WEIGHTED_ROUND_ROBIN, weightedRoundRobin: { blackoutMs: 0, updateMs: 100 } }
`

/** One real control plane, two servers that say how loaded they are, one client. */
let shop: Shop
let orders: Mesh
beforeAll(async () => {
  shop = await Shop.open({ loadReports: true, loadReportIntervalMs: 1_000 })
  await shop.plane.apply(yaml)
  for (const [name, cpuUtilization] of [
    ['busy', 0.8],
    ['idle', 0.2],
  ] as const) {
    const listener: Parameters<Mesh['createServer']>[0] = (_req, res) => {
      reportLoad(res, { qps: 10, cpuUtilization })
      res.end(name)
    }
    await shop.serve('payments', listener, { stateDir: join(shop.folder, name) })
  }
  orders = await shop.mesh('orders')
  await orders.ready()
}, 30_000)
afterAll(() => shop.close())

async function loads(): Promise<{ nodeId: string; cluster: string; issued: number; failed: number }[]> {
  const headers = { authorization: `Bearer ${shop.plane.adminToken}` }
  const response = await fetch(`${shop.plane.adminUrl}/v1/loads?cluster=payments`, { headers })
  return ((await response.json()) as { items: never[] }).items
}

describe('load reports through a whole mesh', () => {
  const call = async () => (await orders.fetch('http://payments/')).text()

  it('servers report, and callers go by it', async () => {
    const shares = async () => {
      const seen = { busy: 0, idle: 0 }
      for (let i = 0; i < 50; i++) seen[(await call()) as keyof typeof seen]++
      return seen
    }
    expect(await eventually(shares, ({ busy, idle }) => busy === 10 && idle === 40)).toEqual({ busy: 10, idle: 40 })
  })

  it('clients report what became of their calls, and the control plane shows it', async () => {
    const reported = await eventually(
      async () => {
        await call()
        return loads()
      },
      (rows) => rows.some((row) => row.issued > 0),
    )
    expect(reported).toMatchObject([
      {
        nodeId: expect.stringContaining('~orders'),
        spiffeId: 'spiffe://cluster.local/ns/default/sa/orders',
        cluster: expect.stringContaining('payments.default.svc.cluster.local'),
        failed: 0,
      },
    ])
  })
})
