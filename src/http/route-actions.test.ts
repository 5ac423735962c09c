import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { Agent } from 'undici'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient, type TestClient } from '../../test/support/mesh-client.ts'
import type { CorsSpec, FaultSpec, HeaderEdit, RouteSpec } from '../model/route.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

const echo: RequestListener = (req, res) => {
  res.setHeader('Server', 'peer')
  res.setHeader('Set-Cookie', ['a=1', 'b=2'])
  res.setHeader('X-Old', 'old')
  res.end(JSON.stringify({ url: req.url, headers: req.headers, raw: req.rawHeaders }))
}

async function clientOf(route: Partial<RouteSpec>, listener: RequestListener = echo): Promise<TestClient> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const client = meshClient({ payments: { endpoints: [port], route } })
  closing.push(
    () => server.close(),
    () => client.close(),
  )
  return client
}

const set = (name: string, value: string): HeaderEdit => ({ kind: 'set', name, value, keepEmpty: false })

describe('a route', () => {
  it('rewrites path and authority, and says what they were', async () => {
    const match = {
      path: { kind: 'prefix', value: '/api', ignoreCase: false },
      headers: [],
      query: [],
      fractionPerMillion: null,
    } as const
    const rewrite = { path: { kind: 'prefix', value: '/v1' }, authority: 'internal.example' } as const
    const { dispatcher } = await clientOf({ match, rewrite })
    const seen = JSON.parse((await call(dispatcher, 'http://payments/api/x?q=1')).text)
    expect(seen).toMatchObject({
      url: '/v1/x?q=1',
      headers: {
        host: 'internal.example',
        'x-envoy-original-path': '/api/x?q=1',
        'x-envoy-original-host': 'payments',
      },
    })
    const headers = { host: 'own.example', 'x-envoy-original-path': '/forged' }
    const own = JSON.parse((await call(dispatcher, 'http://payments/api', { headers })).text)
    expect(own).toMatchObject({
      url: '/v1',
      headers: { host: 'internal.example', 'x-envoy-original-host': 'own.example', 'x-envoy-original-path': '/api' },
    })
  })

  it('edits the headers of requests', async () => {
    const request: HeaderEdit[] = [
      { kind: 'remove', name: 'x-secret' },
      set('x-from', '%REQ(x-user)% via %UPSTREAM_CLUSTER%'),
      { kind: 'append', name: 'x-list', value: 'two', keepEmpty: false },
    ]
    const { dispatcher } = await clientOf({ headers: { request, response: [] } })
    const headers = { 'X-Secret': 's', 'x-user': 'u', 'X-List': 'one' }
    const { headers: seen } = JSON.parse((await call(dispatcher, 'http://payments/', { headers })).text)
    expect(seen).toMatchObject({
      'x-from': 'u via outbound|80||payments.default.svc.cluster.local',
      'x-list': 'one, two',
    })
    expect(seen['x-secret']).toBeUndefined()
  })

  it('edits the headers of answers, for readers of both kinds', async () => {
    const response: HeaderEdit[] = [
      { kind: 'remove', name: 'server' },
      set('x-old', 'new'),
      { kind: 'append', name: 'set-cookie', value: 'c=3', keepEmpty: false },
      set('x-status', '%RESPONSE_CODE%'),
    ]
    const { dispatcher } = await clientOf({ headers: { request: [], response } })
    const seen = await call(dispatcher, 'http://payments/')
    expect(seen.headers).toMatchObject({ 'x-old': 'new', 'set-cookie': ['a=1', 'b=2', 'c=3'], 'x-status': '200' })
    expect(seen.headers.server).toBeUndefined()
    // Node's own fetch reads the raw ones.
    const response2 = await fetch('http://payments/', { dispatcher } as unknown as RequestInit)
    expect(response2.headers.get('x-old')).toBe('new')
    expect(response2.headers.get('server')).toBeNull()
    expect(response2.headers.getSetCookie()).toEqual(['a=1', 'b=2', 'c=3'])
    await response2.text()
  })

  it('that leads out of the mesh still edits', async () => {
    const plain = new Agent()
    closing.push(() => plain.close())
    const server = createServer(echo).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const authority = `127.0.0.1:${port}`
    const headers = { request: [set('x-a', '%REQ(x-b)%')], response: [set('x-old', '%ROUTE_NAME%')] }
    const rewrite = { path: { kind: 'full', value: '/new' }, authority: 'api.example' } as const
    const route = { headers, rewrite }
    const services = { [authority]: { endpoints: [], cluster: { kind: 'passthrough' as const }, route } }
    const client = meshClient(services, { passthrough: plain })
    closing.push(
      () => server.close(),
      () => client.close(),
    )
    const asked = { headers: { 'X-B': 'b' }, query: { q: 1 } }
    const answer = await call(client.dispatcher, `http://${authority}/`, asked)
    expect(answer.headers['x-old']).toBe('default')
    const seen = JSON.parse(answer.text)
    expect(seen).toMatchObject({ url: '/new?q=1', headers: { host: 'api.example', 'x-a': 'b', 'x-b': 'b' } })
    expect(seen.headers['x-envoy-original-path']).toBeUndefined()
  })

  it('redirects', async () => {
    const redirect = { status: 308, scheme: 'https', host: 'shop', port: null, path: null, stripQuery: false } as const
    const headers = { request: [], response: [set('cache-control', 'no-store')] }
    const { dispatcher } = await clientOf({ action: { kind: 'redirect', redirect }, headers })
    const seen = await call(dispatcher, 'http://payments/a?b')
    expect(seen).toMatchObject({
      status: 308,
      text: '',
      headers: { location: 'https://shop/a?b', 'cache-control': 'no-store' },
    })
    expect(seen.headers['content-type']).toBeUndefined()
  })

  it('answers here, byte for byte, with headers of its own', async () => {
    const headers = { request: [], response: [set('content-type', 'application/json'), set('x-path', '%REQ(:path)%')] }
    const { dispatcher } = await clientOf({ action: { kind: 'direct', status: 200, body: '{"a":1}' }, headers })
    const seen = await call(dispatcher, 'http://payments/p')
    expect(seen).toMatchObject({
      status: 200,
      text: '{"a":1}',
      headers: { 'content-type': 'application/json', 'x-path': '/p', 'content-length': '7' },
    })
  })

  it('injects faults', async () => {
    const fault: FaultSpec = {
      delay: { ms: 60, perMillion: 1_000_000 },
      abort: { perMillion: 1_000_000, how: { kind: 'header' } },
      headers: [],
      maxActive: Number.POSITIVE_INFINITY,
    }
    const { dispatcher } = await clientOf({ fault })
    const begin = performance.now()
    const headers = { 'x-envoy-fault-abort-request': '418' }
    expect(await call(dispatcher, 'http://payments/', { headers })).toMatchObject({
      status: 418,
      text: 'fault filter abort\n',
      headers: { 'x-inmesh-response-flags': 'DI,FI', 'x-inmesh-response-details': 'fault_filter_abort' },
    })
    expect(await call(dispatcher, 'http://payments/')).toMatchObject({ status: 200 })
    expect(performance.now() - begin).toBeGreaterThanOrEqual(120)
  })

  it('answers preflights, and says to browsers what they may read', async () => {
    const cors: CorsSpec = {
      allowOrigins: [{ kind: 'exact', value: 'https://shop', ignoreCase: false }],
      allowMethods: 'GET',
      allowHeaders: '',
      exposeHeaders: 'x-b',
      maxAge: '',
      allowCredentials: false,
      forwardUnmatchedPreflights: true,
    }
    const { dispatcher, apply } = await clientOf({ cors }, (req, res) => {
      res.setHeader('Access-Control-Allow-Origin', '*')
      res.end(req.method)
    })
    const headers = { origin: 'https://shop', 'access-control-request-method': 'GET' }
    const preflight = await call(dispatcher, 'http://payments/', { method: 'OPTIONS', headers })
    expect(preflight).toMatchObject({
      status: 200,
      text: '',
      headers: { 'access-control-allow-origin': 'https://shop', 'access-control-allow-methods': 'GET' },
    })
    const other = { ...headers, origin: 'https://evil' }
    expect(await call(dispatcher, 'http://payments/', { method: 'OPTIONS', headers: other })).toMatchObject({
      text: 'OPTIONS',
      headers: { 'access-control-allow-origin': '*' },
    })
    const response = await fetch('http://payments/', { dispatcher, headers: { origin: 'https://shop' } } as RequestInit)
    expect(response.headers.get('access-control-allow-origin')).toBe('https://shop')
    expect(response.headers.get('access-control-expose-headers')).toBe('x-b')
    await response.text()
    apply({ payments: { endpoints: [], route: { cors } } })
    expect(await call(dispatcher, 'http://payments/', { headers: { origin: 'https://shop' } })).toMatchObject({
      status: 503,
      headers: { 'access-control-allow-origin': 'https://shop' },
    })
  })
})
