import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { prometheus, scrape } from './samples.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  closing.push(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

it('asks a Prometheus for both families, by labels', async () => {
  const queries: (string | null)[] = []
  const url = await serve((req, res) => {
    const query = new URL(req.url!, 'http://x').searchParams.get('query')
    queries.push(query)
    const metric = { __name__: query!.split('{')[0], destination_version: 'v2' }
    const result = [{ metric, value: [1_790_000_000.5, '42'] }]
    res.end(JSON.stringify({ status: 'success', data: { resultType: 'vector', result } }))
  })
  const labels = { destination_version: 'v2' }
  expect(await prometheus(`${url}/`).read({ reporter: 'source', destination_service: 'a"b' })).toEqual([
    { name: 'istio_requests_total', labels, value: 42 },
    { name: 'istio_request_duration_milliseconds_bucket', labels, value: 42 },
  ])
  expect(queries[0]).toBe('istio_requests_total{reporter="source",destination_service="a\\"b"}')
})

it('says what a Prometheus complains about', async () => {
  const url = await serve((_req, res) => res.end('{"status":"error","error":"too many samples"}'))
  await expect(prometheus(url).read({})).rejects.toThrow('too many samples')
})

it('takes from a scrape what has the labels, and fails when there is none', async () => {
  const url = await serve((req, res) => {
    if (req.url !== '/metrics') res.statusCode = 404
    res.end('istio_requests_total{reporter="source"} 1\nistio_requests_total{reporter="destination"} 2\n')
  })
  expect(await scrape(`${url}/metrics`).read({ reporter: 'source' })).toMatchObject([{ value: 1 }])
  await expect(scrape(`${url}/other`).read({})).rejects.toThrow('answered 404')
})
