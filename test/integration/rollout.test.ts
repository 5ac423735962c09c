import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { inmesh } from '../../control-plane/testing/process.ts'
import type { Mesh } from '../../src/mesh.ts'
import { eventually, Shop } from '../support/shop.ts'

let shop: Shop
let caller: Mesh
let v2Status = 200
let calling = true
let calls: Promise<void>

beforeAll(async () => {
  shop = await Shop.open()
  await shop.plane.apply(
    'apiVersion: inmesh.dev/v1\nkind: TrafficSplit\nmetadata: {name: canary}\nspec: {destinationService: payments}\n',
  )
  for (const version of ['v1', 'v2'])
    await shop.serve(
      'payments',
      (_req, res) => {
        res.statusCode = version === 'v2' ? v2Status : 200
        res.end(version)
      },
      { labels: { version }, stateDir: join(shop.folder, version) },
    )
  caller = await shop.mesh('orders', { adminPort: 0 })
  await caller.ready()
  calls = (async () => {
    while (calling) {
      await (await caller.fetch('http://payments/')).text()
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  })()
}, 60_000)

afterAll(async () => {
  calling = false
  await calls
  await shop.close()
})

const rollout = (...args: string[]) =>
  inmesh(['rollout', ...args, '--data-dir', join(shop.folder, 'control-plane')], {
    env: { INMESH_ADMIN_URL: shop.plane.adminUrl },
  })
const start = (...args: string[]) =>
  rollout(
    ...['start', 'TrafficSplit', 'canary', '--metrics', `http://127.0.0.1:${caller.adminPort}/metrics`],
    ...['--bake', '300ms', '--interval', '50ms', '--give-up', '60s', '--min-requests', '5', ...args],
  )
const weights = async () =>
  (await shop.plane.store.get({ kind: 'TrafficSplit', namespace: 'default', name: 'canary' }))!.spec

it('a bad version gets its share and loses it, a good one gets all', async () => {
  const dry = await start('--steps', '30,100', '--dry-run')
  expect(dry).toMatchObject({ code: 0, stdout: 'payments: v2 0% -> 30% -> 100%, at least 0.3s each (dry run)\n' })
  expect(await weights()).not.toHaveProperty('v2Weight', 30)

  v2Status = 500
  const bad = await start('--steps', '30,100')
  expect(bad).toMatchObject({ code: 1, stdout: expect.stringMatching(/bad: success rate \d/) })
  expect(bad.stdout).toContain('rolled back to 0% to v2')
  expect(await weights()).toMatchObject({ v1Weight: 100, v2Weight: 0 })

  v2Status = 200
  const good = await start('--steps', '30,100')
  expect(good).toMatchObject({ code: 0, stdout: expect.stringContaining('done: 100% to v2') })
  expect(await weights()).toMatchObject({ v1Weight: 0, v2Weight: 100 })
  const answer = async () => (await caller.fetch('http://payments/')).text()
  expect(await eventually(answer, (text) => text === 'v2')).toBe('v2')
  expect((await rollout('status', 'TrafficSplit', 'canary')).stdout).toBe('done, step 2/2, 100% to v2\n')
})
