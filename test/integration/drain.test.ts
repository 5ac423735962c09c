import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Mesh } from '../../src/mesh.ts'
import { eventually, Shop } from '../support/shop.ts'

interface Replica {
  readonly child: ChildProcess
  readonly output: { text: string }
}

let shop: Shop
let client: Mesh
let started = 0
const replicas = new Set<Replica>()
const outputs: { text: string }[] = []

async function replica(env: Record<string, string> = {}): Promise<Replica> {
  const { token } = await shop.plane.createToken({ service: 'payments' })
  const child = spawn(process.execPath, [join(import.meta.dirname, 'drain-server.ts')], {
    env: {
      ...process.env,
      INMESH_SERVICE: 'payments',
      INMESH_CONTROL_PLANE: shop.plane.address,
      INMESH_TOKEN: token,
      INMESH_STATE_DIR: join(shop.folder, `payments-${started++}`),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const output = { text: '' }
  outputs.push(output)
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    output.text += text
  })
  const made = { child, output }
  replicas.add(made)
  await eventually(
    () => output.text,
    (text) => text.includes('ready\n'),
    20_000,
  )
  return made
}

async function stop(gone: Replica, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
  replicas.delete(gone)
  const closed = once(gone.child, 'close')
  gone.child.kill(signal)
  const [code] = await closed
  return code
}

beforeAll(async () => {
  shop = await Shop.open()
}, 30_000)

afterAll(async () => {
  for (const { child } of replicas) child.kill('SIGKILL')
  await shop.close()
})

describe('a service whose replicas are replaced one by one', () => {
  it('fails no request, and handles each POST exactly once', async () => {
    const old = await Promise.all([replica(), replica(), replica()])
    client = await shop.mesh('orders')
    await client.ready()
    const failed: string[] = []
    const ids: { id: string; method: string }[] = []
    const underWay = new Set<Promise<void>>()
    let sent = 0
    const one = async () => {
      const id = String(sent++)
      const method = sent % 2 === 0 ? 'POST' : 'GET'
      ids.push({ id, method })
      try {
        const response = await client.fetch('http://payments/', {
          method,
          headers: { 'x-id': id },
          ...(method === 'POST' ? { body: `body ${id}` } : {}),
        })
        const text = await response.text()
        if (response.status !== 200 || text !== id)
          failed.push(
            `${method} ${id}: ${response.status} ${text} ${response.headers.get('x-inmesh-response-details')}`,
          )
      } catch (error) {
        failed.push(`${method} ${id}: ${error}`)
      }
    }
    const load = setInterval(() => {
      const call = one()
      underWay.add(call)
      void call.finally(() => underWay.delete(call))
    }, 7)
    const codes: (number | null)[] = []
    for (const leaving of old) {
      await replica()
      codes.push(await stop(leaving))
    }
    clearInterval(load)
    await Promise.all(underWay)
    expect(failed).toEqual([])
    expect(codes).toEqual([0, 0, 0])
    expect(ids.length).toBeGreaterThan(200)
    const done = new Map<string, number>()
    for (const { text } of outputs)
      for (const [, what] of text.matchAll(/^did (.+)$/gm)) done.set(what!, (done.get(what!) ?? 0) + 1)
    for (const { id, method } of ids) {
      const times = done.get(`${method} ${id}`) ?? 0
      if (method === 'POST') expect(`${id} ${times}`).toBe(`${id} 1`)
      else expect(times).toBeGreaterThan(0)
    }
    // Whoever left got some of it, so there was something to lose.
    for (const { text } of outputs) expect(text).toContain('did POST')
  }, 60_000)

  it('ends at once at a second signal', async () => {
    const slow = await replica({ DELAY_MS: '60000' })
    replicas.delete(slow)
    const closed = once(slow.child, 'close')
    // Two at the same moment would be one.
    const again = setInterval(() => slow.child.kill('SIGTERM'), 50)
    const [code] = await closed
    clearInterval(again)
    expect(code).toBe(143)
  })

  it('leaves an app that listens to the signal alone', async () => {
    expect(await stop(await replica({ OWN_HANDLER: '1' }))).toBe(7)
    expect(await stop(await replica({ INMESH_HANDLE_SIGNALS: 'false' }))).toBe(null)
  })
})
