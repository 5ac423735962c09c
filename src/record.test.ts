import { once } from 'node:events'
import { createServer } from 'node:http'
import { PassThrough } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { parseRecording } from '../control-plane/explain/recording.ts'
import { call, meshClient } from '../test/support/mesh-client.ts'
import { Recorder } from './record.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

const workload = {
  ...{ service: 'orders', namespace: 'shop', serviceAccount: 'orders', trustDomain: 'cluster.local' },
  ...{ labels: { app: 'orders' }, locality: '', instanceId: 'orders-1' },
}

async function clientOf() {
  const server = createServer((_req, res) => res.writeHead(204).end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const client = meshClient({ payments: { endpoints: [port] } })
  closing.push(
    () => server.close(),
    () => client.close(),
  )
  return client
}

describe('a recording', () => {
  it('has what a request was, in lines that inmesh replay reads, without secrets', async () => {
    const { engine, dispatcher } = await clientOf()
    const out = new PassThrough()
    const recorder = new Recorder(out, workload, { without: ['X-Private'] }, () => stop())
    const stop = engine.listen(recorder.events)
    const headers = { authorization: 'Bearer x', Cookie: 'a=b', 'X-User': 'beta', 'x-private': '1', 'x-api-key': 'k' }
    await call(dispatcher, 'http://payments/charge?id=1&access_token=abc', { method: 'DELETE', headers })
    await recorder.stop()
    await call(dispatcher, 'http://payments/later')
    const text = String(out.read())
    expect(text).not.toMatch(/Bearer|abc|private/)
    const { requests, problems } = parseRecording(text)
    expect(problems).toEqual([])
    expect(requests).toMatchObject([
      {
        client: { service: 'orders', namespace: 'shop', labels: { app: 'orders' } },
        ...{ method: 'DELETE', url: 'http://payments/charge?id=1&access_token=redacted', status: 204 },
      },
    ])
    expect(requests[0]!.headers).toEqual({ 'x-user': 'beta' })
    expect(recorder.recorded).toBe(1)
  })

  it('leaves out what the stream cannot take', async () => {
    const { engine, dispatcher } = await clientOf()
    const out = new PassThrough({ highWaterMark: 1 })
    const recorder = new Recorder(out, workload, {}, () => undefined)
    engine.listen(recorder.events)
    for (let i = 0; i < 3; i++) await call(dispatcher, 'http://payments/')
    expect([recorder.recorded, recorder.dropped]).toEqual([1, 2])
  })
})
