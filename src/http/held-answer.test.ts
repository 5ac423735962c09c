import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient, type TestClient } from '../../test/support/mesh-client.ts'
import { retrySpec } from '../engine/testing/specs.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function clientOf(listener: RequestListener, retries = 3): Promise<TestClient> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const retry = retrySpec({ numRetries: retries, baseIntervalMs: 1, maxIntervalMs: 1 })
  const client = meshClient({ payments: { endpoints: [port], route: { retry } } })
  closing.push(
    () => server.close(),
    () => client.close(),
  )
  return client
}

const json = { 'content-type': 'application/graphql-response+json; charset=utf-8' }

describe('an answer that the app judges by its body', () => {
  it('is repeated before the caller has seen any of it', async () => {
    let requests = 0
    const client = await clientOf((_req, res) => {
      res.writeHead(200, json)
      if (++requests < 3) {
        res.write('{"err')
        setImmediate(() => res.end('ors":[]}'))
      } else res.end('{"data":{}}')
    })
    client.engine.use({
      name: 'graphql',
      bodyBytes: 1_000,
      classify: ({ bodyStart, whole }) => {
        expect(whole).toBe(true)
        return Buffer.from(bodyStart!).includes('"errors"') ? 'retryable' : 'success'
      },
    })
    expect(await call(client.dispatcher, 'http://payments/graphql')).toMatchObject({ status: 200, text: '{"data":{}}' })
    expect(requests).toBe(3)
  })

  it('goes on whole when more of it comes than was asked for, and at once when it is no JSON', async () => {
    const long = `{"data":"${'x'.repeat(100_000)}"}`
    const client = await clientOf((req, res) => {
      if (req.url === '/text') res.writeHead(200, { 'content-type': 'text/plain' })
      else res.writeHead(200, json)
      res.end(long)
    })
    const seen: (number | null)[] = []
    client.engine.use({
      name: 'judge',
      bodyBytes: 64,
      classify: ({ bodyStart, whole }) => {
        expect(whole).toBe(false)
        seen.push(bodyStart?.length ?? null)
        return undefined
      },
    })
    expect((await call(client.dispatcher, 'http://payments/')).text).toBe(long)
    expect((await call(client.dispatcher, 'http://payments/text')).text).toBe(long)
    expect(seen).toEqual([64, null])
  })

  it('that breaks while it is held is a reset that may be repeated', async () => {
    let requests = 0
    const client = await clientOf((_req, res) => {
      res.writeHead(200, { ...json, 'content-length': '20' })
      res.write('{"data"')
      if (++requests === 1) setImmediate(() => res.destroy())
      else res.end(':"0123456789"}'.slice(0, 13))
    })
    client.engine.use({ name: 'judge', bodyBytes: 1_000, classify: () => undefined })
    expect((await call(client.dispatcher, 'http://payments/')).status).toBe(200)
    expect(requests).toBe(2)
  })

  it('has no body for HEAD', async () => {
    const client = await clientOf((_req, res) => res.writeHead(200, json).end())
    client.engine.use({
      name: 'judge',
      bodyBytes: 1_000,
      classify: ({ bodyStart }) => (bodyStart === null ? undefined : 'failure'),
    })
    expect((await call(client.dispatcher, 'http://payments/', { method: 'HEAD' })).status).toBe(200)
  })
})
