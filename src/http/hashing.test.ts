import { once } from 'node:events'
import { createServer } from 'node:http'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { call, meshClient, type TestClient } from '../../test/support/mesh-client.ts'
import type { LbSpec } from '../model/cluster.ts'
import type { HashSpec } from '../model/route.ts'
import { callContext, noContext } from '../telemetry/context.ts'

const lb: LbSpec = {
  policy: 'RING_HASH',
  minimumRingSize: 1_024,
  maximumRingSize: 8_388_608,
  hashFunction: 'XX_HASH',
  balanceFactorPercent: 0,
  useHostname: false,
}

let ports: number[]
const closing: (() => unknown)[] = []
beforeEach(async () => {
  ports = await Promise.all(
    [0, 1, 2, 3, 4].map(async () => {
      const server = createServer((req, res) => res.end(String(req.socket.localPort))).listen(0, '127.0.0.1')
      closing.push(() => server.close())
      await once(server, 'listening')
      return (server.address() as { port: number }).port
    }),
  )
})
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

function client(hash: HashSpec[], policy: LbSpec = lb): TestClient {
  const made = meshClient({ shop: { endpoints: ports, route: { hash }, cluster: { lb: policy } } })
  closing.push(() => made.close())
  return made
}

async function hosts(count: number, ask: (i: number) => Promise<{ text: string }>): Promise<Set<string>> {
  const seen = new Set<string>()
  for (let i = 0; i < count; i++) seen.add((await ask(i)).text)
  return seen
}

describe('calls that are hashed', () => {
  it('stick to a host by the cookie that the first answer brings', async () => {
    const { dispatcher } = client([{ kind: 'cookie', name: 'sid', ttlMs: 60_000, path: '/', terminal: false }])
    const first = await call(dispatcher, 'http://shop/')
    const [line] = [first.headers['set-cookie']].flat()
    expect(line).toMatch(/^sid="[0-9a-f]{16}"; Max-Age=60; Path=\/; HttpOnly$/)
    const headers = { cookie: line!.split(';')[0]! }
    const again = await hosts(10, () => call(dispatcher, 'http://shop/', { headers }))
    expect([...again]).toEqual([first.text])
    expect((await call(dispatcher, 'http://shop/', { headers })).headers['set-cookie']).toBeUndefined()
    expect((await hosts(30, () => call(dispatcher, 'http://shop/'))).size).toBeGreaterThan(1)
  })

  it.each<[string, HashSpec, (i: number) => [string, Record<string, string | string[]>]]>([
    ['a header', { kind: 'header', name: 'x-user', terminal: false }, (i) => ['/', { 'X-User': `u${i}` }]],
    ['a query parameter', { kind: 'query', name: 'u', terminal: false }, (i) => [`/?a=1&u=${i}`, {}]],
    [
      'the lines of a header in any order',
      { kind: 'header', name: 'x', terminal: false },
      (i) => ['/', { x: i < 50 ? ['a', 'b'] : ['b', 'a'] }],
    ],
  ])('by %s', async (name, spec, request) => {
    const { dispatcher } = client([spec])
    const ask = (i: number) => {
      const [path, headers] = request(i)
      return call(dispatcher, `http://shop${path}`, { headers })
    }
    expect((await hosts(10, () => ask(7))).size).toBe(1)
    expect((await hosts(60, ask)).size).toBe(name.startsWith('the lines') ? 1 : 5)
  })

  it('by whoever is served with them', async () => {
    const { dispatcher } = client([{ kind: 'source-ip', terminal: false }])
    const from = (i: number) =>
      callContext.run({ ...noContext, remoteAddress: `10.0.0.${i}` }, () => call(dispatcher, 'http://shop/'))
    expect((await hosts(10, () => from(1))).size).toBe(1)
    expect((await hosts(60, from)).size).toBe(5)
    expect((await hosts(10, () => call(dispatcher, 'http://shop/'))).size).toBe(1)
  })

  it('get no cookie where the cluster does not hash', async () => {
    const hash: HashSpec[] = [{ kind: 'cookie', name: 'sid', ttlMs: 0, path: '', terminal: false }]
    const { dispatcher } = client(hash, { policy: 'ROUND_ROBIN' })
    expect((await call(dispatcher, 'http://shop/')).headers['set-cookie']).toBeUndefined()
  })
})

describe('calls with a session', () => {
  it('stay with the host that the cookie of the first answer names', async () => {
    const session = { cookie: 'seat', ttlMs: 0, path: '' }
    const made = meshClient({ shop: { endpoints: ports, route: { session } } })
    closing.push(() => made.close())
    const first = await call(made.dispatcher, 'http://shop/')
    const [line] = [first.headers['set-cookie']].flat()
    const seat = `127.0.0.1:${first.text};outbound|80||shop.default.svc.cluster.local`
    expect(line).toBe(`seat=${Buffer.from(seat).toString('base64')}; HttpOnly`)
    const headers = { cookie: line!.split(';')[0]! }
    const again = await hosts(12, () => call(made.dispatcher, 'http://shop/', { headers }))
    expect([...again]).toEqual([first.text])
    expect((await call(made.dispatcher, 'http://shop/', { headers })).headers['set-cookie']).toBeUndefined()
  })
})
