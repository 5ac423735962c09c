import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Mesh } from '../../src/index.ts'
import { call, TrafficMesh, tally } from '../support/traffic-mesh.ts'

const yaml = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payments }
spec:
  host: payments
  subsets:
    - { name: v1, labels: { version: v1 } }
    - { name: v2, labels: { version: v2 } }
    - { name: v9, labels: { version: v9 } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payments }
spec:
  hosts: [payments]
  http:
    - name: rewrite
      match: [{ uri: { prefix: /api/ } }]
      rewrite: { uri: /v2/, authority: payments.internal }
      route: [{ destination: { host: payments, subset: v1 } }]
    - name: regex-rewrite
      match: [{ uri: { regex: "/user/[0-9]+/.*" } }]
      rewrite: { uriRegexRewrite: { match: "^/user/([0-9]+)/(.*)$", rewrite: '/\\2/\\1' } }
      route: [{ destination: { host: payments, subset: v1 } }]
    - name: redirect
      match: [{ uri: { prefix: /old } }]
      redirect: { uri: /new, authority: shop.example, redirectCode: 308 }
    - name: health
      match: [{ uri: { exact: /health } }]
      directResponse: { status: 418, body: { string: '{"ok":true}' } }
      headers: { response: { set: { content-type: application/problem+json } } }
    - name: headers
      match: [{ uri: { prefix: /headers } }]
      headers:
        request: { set: { x-route: "%ROUTE_NAME%", x-literal: "100%%" }, add: { x-list: b }, remove: [x-debug] }
        response: { add: { x-served: by-mesh }, remove: [x-version] }
      route: [{ destination: { host: payments, subset: v1 } }]
    - name: cors
      match: [{ uri: { prefix: /cors } }]
      corsPolicy:
        allowOrigins: [{ exact: "https://shop.example" }]
        allowMethods: [GET, POST]
        allowHeaders: [x-token]
        maxAge: 24h
        allowCredentials: true
      route: [{ destination: { host: payments, subset: v1 } }]
    - name: fault-for-orders
      match: [{ uri: { prefix: /fault }, sourceLabels: { app: orders } }]
      fault: { abort: { httpStatus: 418, percentage: { value: 100 } } }
      route: [{ destination: { host: payments, subset: v1 } }]
    - name: delayed
      match: [{ uri: { prefix: /delay } }]
      fault: { delay: { fixedDelay: 30ms, percentage: { value: 100 } } }
      route: [{ destination: { host: payments, subset: v1 } }]
    - name: mirrored
      match: [{ uri: { prefix: /mirror } }]
      route: [{ destination: { host: payments, subset: v1 } }]
      mirror: { host: payments, subset: v2 }
    - name: weights
      match: [{ uri: { prefix: /weights } }]
      route:
        - { destination: { host: payments, subset: v1 }, weight: 3 }
        - { destination: { host: payments, subset: v2 }, weight: 1, headers: { response: { set: { x-canary: "yes" } } } }
        - { destination: { host: payments, subset: v9 }, weight: 0 }
    - name: beta
      match:
        - { headers: { x-beta: { exact: "1" } }, withoutHeaders: { x-opt-out: {} } }
        - { queryParams: { beta: { regex: "[ty].*" } } }
        - { headers: { X-Kind: { prefix: be } }, method: { exact: PUT } }
      route: [{ destination: { host: payments, subset: v2 } }]
    - name: empty
      match: [{ uri: { exact: /empty } }]
      route: [{ destination: { host: payments, subset: v9 } }]
    - name: unknown-host
      match: [{ uri: { exact: /no-host } }]
      route: [{ destination: { host: nobody } }]
    - name: timeout
      match: [{ uri: { prefix: /timeout } }]
      timeout: 100ms
      route: [{ destination: { host: payments, subset: v1 } }]
    - name: retries
      match: [{ uri: { prefix: /retries } }]
      retries: { attempts: 2, retryOn: "503,connect-failure", backoff: 1ms }
      route: [{ destination: { host: payments } }]
    - name: no-retries
      match: [{ uri: { prefix: /once } }]
      retries: { attempts: 0 }
      route: [{ destination: { host: payments } }]
    - name: rest
      route: [{ destination: { host: payments, subset: v1 } }]
`

describe('a VirtualService in YAML is what calls do', () => {
  const mesh = new TrafficMesh(yaml)
  let web: Mesh
  let orders: Mesh
  beforeAll(async () => {
    await mesh.serve('payments', 'v1')
    await mesh.serve('payments', 'v2')
    web = await mesh.join('web')
    orders = await mesh.join('orders')
    await web.fetch('http://payments/')
  })
  afterAll(() => mesh.close())
  const get = (path: string, headers: Record<string, string> = {}, from = web) =>
    call(from, `http://payments${path}`, { headers })

  it('rewrites path and authority, and keeps the query', async () => {
    const { echo } = await get('/api/charge?x=%2F')
    expect(echo).toMatchObject({ url: '/v2/charge?x=%2F', host: 'payments.internal', version: 'v1' })
    expect(echo?.headers).toMatchObject({
      'x-envoy-original-path': '/api/charge?x=%2F',
      'x-envoy-original-host': 'payments',
    })
    expect((await get('/user/7/cart?x=1')).echo?.url).toBe('/cart/7?x=1')
  })

  it('redirects', async () => {
    const { status, headers } = await get('/old/place?x=1')
    expect({ status, location: headers.get('location') }).toEqual({
      status: 308,
      location: 'http://shop.example/new?x=1',
    })
  })

  it('answers by itself', async () => {
    const { status, text, headers } = await get('/health')
    expect({ status, text, type: headers.get('content-type') }).toEqual({
      ...{ status: 418, text: '{"ok":true}', type: 'application/problem+json' },
    })
  })

  it('edits headers', async () => {
    const { echo, headers } = await get('/headers', { 'x-debug': '1', 'x-list': 'a', 'x-route': 'mine' })
    expect(echo?.headers).toMatchObject({ 'x-route': 'headers', 'x-literal': '100%', 'x-list': 'a, b' })
    expect(echo?.headers).not.toHaveProperty('x-debug')
    expect([headers.get('x-served'), headers.get('x-version')]).toEqual(['by-mesh', null])
  })

  it('speaks CORS', async () => {
    const preflight = (origin: string) =>
      call(web, 'http://payments/cors', {
        method: 'OPTIONS',
        headers: { origin, 'access-control-request-method': 'POST' },
      })
    const before = mesh.seen.length
    const allowed = await preflight('https://shop.example')
    expect(mesh.seen.length).toBe(before)
    expect(allowed.status).toBe(200)
    expect(Object.fromEntries(allowed.headers)).toMatchObject({
      'access-control-allow-origin': 'https://shop.example',
      'access-control-allow-methods': 'GET,POST',
      'access-control-allow-headers': 'x-token',
      'access-control-max-age': '86400',
      'access-control-allow-credentials': 'true',
    })
    expect((await preflight('https://evil.example')).headers.has('access-control-allow-origin')).toBe(false)
    const actual = await get('/cors', { origin: 'https://shop.example' })
    expect(actual.headers.get('access-control-allow-origin')).toBe('https://shop.example')
  })

  it('injects a fault for one pair of services', async () => {
    const aborted = await get('/fault', {}, orders)
    expect(aborted).toMatchObject({ status: 418, flags: 'FI', details: 'fault_filter_abort' })
    expect((await get('/fault')).status).toBe(200)
  })

  it('delays', async () => {
    const start = performance.now()
    expect(await get('/delay')).toMatchObject({ status: 200 })
    expect(performance.now() - start).toBeGreaterThanOrEqual(29)
  })

  it('mirrors to the host with -shadow, and the caller hears nothing of it', async () => {
    const before = mesh.seen.length
    expect((await get('/mirror?x=1')).echo?.version).toBe('v1')
    await expect
      .poll(() => mesh.seen.slice(before).find((echo) => echo.version === 'v2'), { timeout: 5_000 })
      .toMatchObject({
        url: '/mirror?x=1',
        host: 'payments-shadow',
      })
  })

  it('splits by weight; a destination of weight 0 gets nothing', async () => {
    const counts = await tally(400, async () => {
      const { echo, headers } = await get('/weights')
      return `${echo?.version} ${headers.get('x-canary')}`
    })
    expect(Object.keys(counts).sort()).toEqual(['v1 null', 'v2 yes'])
    // 100 expected, standard deviation 8.7.
    expect(counts['v2 yes']).toBeGreaterThan(50)
    expect(counts['v2 yes']).toBeLessThan(150)
  })

  it.each([
    ['/', { 'x-beta': '1' }, 'v2'],
    ['/', { 'x-beta': '1', 'x-opt-out': '' }, 'v1'],
    ['/', { 'x-beta': '11' }, 'v1'],
    ['/?beta=true', {}, 'v2'],
    ['/?beta=false&beta=true', {}, 'v1'],
    ['/?beta=%74rue', {}, 'v1'],
    ['/?Beta=true', {}, 'v1'],
    ['/', { 'x-kind': 'beta' }, 'v1'],
  ])('%s with %j goes to %s', async (path, headers, version) => {
    expect((await get(path, headers)).echo?.version).toBe(version)
  })

  it('no endpoint of a subset and no such service are UH', async () => {
    expect(await get('/empty')).toMatchObject({ status: 503, flags: 'UH', details: 'no_healthy_upstream' })
    expect(await get('/no-host')).toMatchObject({ status: 503, flags: 'UH' })
  })

  it('ends what takes too long', async () => {
    expect(await get('/timeout', { 'x-hang': '1' })).toMatchObject({
      ...{ status: 504, flags: 'UT', details: 'upstream_response_timeout' },
    })
  })

  it('repeats a GET at another host, and tells the attempt', async () => {
    const { status, echo } = await get('/retries', { 'x-fail': 'get=1' })
    expect(status).toBe(200)
    expect(echo?.headers['x-envoy-attempt-count']).toBe('2')
    expect(new Set(mesh.seen.slice(-2).map((each) => each.version)).size).toBe(2)
  })

  it('gives up after the retries that were said', async () => {
    const before = mesh.seen.length
    expect(await get('/retries', { 'x-status': '503' })).toMatchObject({ status: 503 })
    expect(mesh.seen.length - before).toBe(3)
  })

  it('repeats no POST that may have run, unless it carries a key', async () => {
    const post = async (key: string, headers: Record<string, string>) => {
      const before = mesh.seen.length
      const { status } = await call(web, 'http://payments/retries', {
        method: 'POST',
        body: 'money',
        headers: { 'x-fail': `${key}=1`, ...headers },
      })
      return { status, bodies: mesh.seen.slice(before).map((echo) => echo.body) }
    }
    expect(await post('post', {})).toEqual({ status: 503, bodies: ['money'] })
    expect(await post('idempotent', { 'idempotency-key': 'k' })).toEqual({ status: 200, bodies: ['money', 'money'] })
  })

  it('attempts: 0 switches retries off', async () => {
    expect((await get('/once', { 'x-fail': 'once=1' })).status).toBe(503)
  })

  it('explain says what happens', async () => {
    const paths = [
      '/api/x',
      '/user/7/a',
      '/old',
      '/health',
      '/empty',
      '/no-host',
      '/headers',
      '/cors',
      '/zzz',
      '/?beta=t',
    ]
    for (const path of paths) {
      const said = web.explain({ url: `http://payments${path}`, headers: { 'x-opt-out': '1' } })
      const { destinations, outcome } = said
      const is = await get(path, { 'x-opt-out': '1' })
      expect(outcome).toBe('matched')
      expect(destinations).toHaveLength(1)
      const { answer, refusal, cluster, rewritten, share } = destinations[0]!
      expect(share).toBe(1)
      const answers = answer ?? refusal
      if (answers !== null) {
        expect(is).toMatchObject({ status: answers.status, flags: answers.flag || null })
        expect(is.text.trim()).toBe(answers.body)
        continue
      }
      expect(cluster).toBe(`outbound|80|${is.echo?.version}|payments.default.svc.cluster.local`)
      expect(is.echo?.url).toBe(rewritten?.path ?? path)
      expect(is.echo?.headers).toMatchObject(rewritten?.set ?? {})
    }
  })
})
