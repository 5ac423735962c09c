import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient } from '../../test/support/mesh-client.ts'
import { until } from '../../test/support/mesh-http.ts'
import type { CoalesceSpec } from '../model/route.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Held {
  readonly req: IncomingMessage
  readonly res: ServerResponse
}

/** A service whose requests wait until the test answers them. */
async function service(coalesce: Partial<CoalesceSpec> = {}) {
  const held: Held[] = []
  const server = createServer((req, res) => held.push({ req, res })).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const spec = { varyHeaders: [], maxBodyBytes: 1_000, ...coalesce }
  const client = meshClient({ payments: { endpoints: [port], route: { coalesce: spec } } })
  closing.push(
    () => {
      server.closeAllConnections()
      server.close()
    },
    () => client.close(),
  )
  const get = (path = '/', options: Parameters<typeof call>[2] = {}) =>
    call(client.dispatcher, `http://payments${path}`, options)
  return { held, get, client, arrived: (count: number) => until(() => held.length === count) }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('identical GETs', () => {
  it('share one answer while the first is under way, and none after it', async () => {
    const { held, get, arrived, client } = await service()
    const all = [get('/a'), get('/a'), get('/a'), get('/b')]
    await arrived(2)
    for (const { req, res } of held) res.writeHead(200, { 'x-path': req.url! }).end(`body of ${req.url}`)
    const answers = await Promise.all(all)
    expect(answers.map((a) => a.text)).toEqual(['body of /a', 'body of /a', 'body of /a', 'body of /b'])
    expect(answers.map((a) => a.headers['x-path'])).toEqual(['/a', '/a', '/a', '/b'])
    expect([...client.dispatcher.coalescer.shared.values()]).toEqual([2])
    const later = get('/a')
    await arrived(3)
    held[2]!.res.end('new')
    expect((await later).text).toBe('new')
  })

  it('share errors too', async () => {
    const { held, get, arrived } = await service()
    const all = [get(), get()]
    await arrived(1)
    held[0]!.res.writeHead(503).end('no')
    expect((await Promise.all(all)).map((a) => a.status)).toEqual([503, 503])
    const broken = [get(), get()]
    await arrived(2)
    held[1]!.res.destroy()
    expect((await Promise.all(broken)).map((a) => a.status)).toEqual([503, 503])
  })

  it.each([
    ['authorization', 'a'],
    ['cookie', 'a'],
    ['range', 'bytes=0-1'],
    ['if-none-match', '"a"'],
  ])('with %s are nobody else’s business, unless it is compared', async (name, value) => {
    const { held, get, arrived } = await service()
    const all = [get('/', { headers: { [name]: value } }), get('/', { headers: { [name]: value } })]
    await arrived(2)
    for (const { res } of held) res.end()
    await Promise.all(all)
    const compared = await service({ varyHeaders: [name] })
    const same = [compared.get('/', { headers: { [name]: value } }), compared.get('/', { headers: { [name]: value } })]
    const other = compared.get('/', { headers: { [name]: `${value}2` } })
    await compared.arrived(2)
    for (const { res } of compared.held) res.end()
    await Promise.all([...same, other])
    expect(compared.held).toHaveLength(2)
  })

  it.each([
    ['cache-control', 'private, max-age=1'],
    ['cache-control', 'no-store'],
    ['set-cookie', 'a=b'],
    ['vary', 'accept-language'],
  ])('are sent each alone when the answer says %s: %s', async (name, value) => {
    const { held, get, arrived } = await service()
    const all = [get(), get(), get()]
    await arrived(1)
    held[0]!.res.setHeader(name, value).end('0')
    await arrived(3)
    held[1]!.res.end('1')
    held[2]!.res.end('2')
    expect((await Promise.all(all)).map((a) => a.text)).toEqual(['0', '1', '2'])
  })

  it('are sent each alone when the answer is too large', async () => {
    const { held, get, arrived } = await service({ maxBodyBytes: 10 })
    const all = [get(), get()]
    await arrived(1)
    held[0]!.res.end('x'.repeat(11))
    await arrived(2)
    held[1]!.res.end('small')
    expect((await Promise.all(all)).map((a) => a.text)).toEqual(['x'.repeat(11), 'small'])
  })

  it('do not end because one of them is cancelled, be it the one that was sent', async () => {
    const { held, get, arrived } = await service()
    const first = new AbortController()
    const second = new AbortController()
    const all = [get('/', { signal: first.signal }), get('/', { signal: second.signal }), get(), get()]
    await arrived(1)
    second.abort()
    first.abort()
    await expect(all[0]).rejects.toThrow()
    await expect(all[1]).rejects.toThrow()
    await arrived(2)
    held[1]!.res.end('answer')
    expect((await all[2]!).text).toBe('answer')
    expect((await all[3]!).text).toBe('answer')
    await turn()
    expect(held).toHaveLength(2)
  })

  it('are not made of POSTs, nor where a hook of the app may change them', async () => {
    const { held, get, arrived, client } = await service()
    const posts = [get('/', { method: 'POST' }), get('/', { method: 'POST' })]
    await arrived(2)
    for (const { res } of held) res.end()
    await Promise.all(posts)
    client.engine.use({ name: 'user', onRequest: () => undefined })
    const hooked = [get(), get()]
    await arrived(4)
    for (const { res } of held) res.end()
    await Promise.all(hooked)
  })
})
