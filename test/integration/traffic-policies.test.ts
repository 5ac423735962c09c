import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Mesh } from '../../src/index.ts'
import { call, type Seen, TrafficMesh, tally } from '../support/traffic-mesh.ts'

const yaml = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: catalog }
spec:
  parentRefs: [{ group: "", kind: Service, name: catalog }]
  rules:
    - matches: [{ path: { type: PathPrefix, value: /books/ } }]
      filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }]
      backendRefs: [{ name: users, port: 80 }]
    - matches: [{ path: { type: Exact, value: /gone } }]
      backendRefs: [{ name: nobody, port: 80 }]
    - matches: [{ path: { type: PathPrefix, value: /own } }]
      backendRefs: [{ name: catalog, port: 80 }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: users }
spec: { host: users, trafficPolicy: { loadBalancer: { consistentHash: { httpHeaderName: x-user } } } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: sessions }
spec: { host: sessions, trafficPolicy: { loadBalancer: { consistentHash: { httpCookie: { name: sid, ttl: 60s } } } } }
---
apiVersion: inmesh.dev/v1
kind: RateLimit
metadata: { name: ledger }
spec:
  selector: { matchLabels: { app: ledger } }
  rules: [{ name: per-caller, key: identity, requests: 3, per: 1h }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: flaky }
spec:
  host: flaky
  trafficPolicy: { outlierDetection: { consecutive5xxErrors: 3, interval: 1h, baseEjectionTime: 1h, maxEjectionPercent: 50 } }
---
apiVersion: inmesh.dev/v1
kind: ServicePolicy
metadata: { name: fragile }
spec: { service: fragile, cbThreshold: 50, cbWindowSec: 60, cbRecoverySec: 60, retryAttempts: 0 }
---
apiVersion: inmesh.dev/v1
kind: ServicePolicy
metadata: { name: late }
spec: { service: late, hedging: { delayMs: 30 }, loadBalancer: ROUND_ROBIN }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: pool }
spec:
  host: pool
  trafficPolicy: { connectionPool: { http: { http2MaxRequests: 1 } } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: geo }
spec: { host: geo, trafficPolicy: { outlierDetection: { consecutive5xxErrors: 1, interval: 1h, baseEjectionTime: 1h, maxEjectionPercent: 100 } } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: private }
spec:
  hosts: [private]
  exportTo: ["."]
  http: [{ directResponse: { status: 418 } }]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: narrow }
spec:
  workloadSelector: { labels: { app: narrow } }
  outboundTrafficPolicy: { mode: REGISTRY_ONLY }
  egress: [{ hosts: ["./users.default.svc.cluster.local"] }]
`

describe('policies in YAML are what calls do', () => {
  const mesh = new TrafficMesh(yaml)
  let web: Mesh
  let orders: Mesh
  beforeAll(async () => {
    const versions: Record<string, readonly string[]> = {
      ...{ catalog: ['v1'], users: ['a', 'b', 'c'], sessions: ['a', 'b', 'c'], ledger: ['v1'], flaky: ['good', 'bad'] },
      ...{ fragile: ['v1'], late: ['v1', 'v2'], pool: ['v1'], private: ['v1'] },
    }
    for (const [service, all] of Object.entries(versions)) for (const version of all) await mesh.serve(service, version)
    for (const locality of ['us/b', 'eu/a', 'eu/c']) await mesh.serve('geo', locality.replace('/', '-'), { locality })
    web = await mesh.join('web', { locality: 'eu/a' })
    orders = await mesh.join('orders')
  })
  afterAll(() => mesh.close())
  const get = (url: string, headers: Record<string, string> = {}, from = web) =>
    call(from, `http://${url}`, { headers })
  const versionOf = ({ echo }: Seen) => echo?.version ?? 'none'

  it('an HTTPRoute replaces everything: segments, rewrites, unknown backends, no match', async () => {
    expect((await get('catalog/books/7?x=1')).echo).toMatchObject({ service: 'users', url: '/7?x=1' })
    expect((await get('catalog/books')).echo).toMatchObject({ service: 'users', url: '/' })
    expect((await get('catalog/ownership')).status).toBe(404)
    expect((await get('catalog/own/x')).echo).toMatchObject({ service: 'catalog', url: '/own/x' })
    expect((await get('catalog/gone')).status).toBe(500)
  })

  it('a header sticks to a host; explain names it', async () => {
    const hosts = new Set<string>()
    for (let user = 0; user < 12; user++) {
      const headers = { 'x-user': `u${user}` }
      const counts = await tally(5, async () => versionOf(await get('users/', headers)))
      expect(Object.values(counts)).toEqual([5])
      const [destination] = web.explain({ url: 'http://users/', headers }).destinations
      const chosen = destination?.hosts.find(({ address }) => address === destination.chosen)
      expect(chosen?.labels.version).toBe(Object.keys(counts)[0])
      hosts.add(Object.keys(counts)[0]!)
    }
    expect(hosts.size).toBeGreaterThan(1)
  })

  it('a cookie is made, and sticks', async () => {
    const first = await get('sessions/')
    const cookie = first.headers.get('set-cookie') ?? ''
    expect(cookie).toMatch(/^sid="?[0-9a-f]+"?; Max-Age=60; HttpOnly$/)
    const sid = cookie.split(';')[0]!
    const counts = await tally(10, async () => versionOf(await get('sessions/', { cookie: sid })))
    expect(counts).toEqual({ [versionOf(first)]: 10 })
    expect((await get('sessions/', { cookie: sid })).headers.has('set-cookie')).toBe(false)
  })

  it('a rate limit is each callers own', async () => {
    const all: Seen[] = []
    for (let i = 0; i < 5; i++) all.push(await get('ledger/'))
    expect(all.map(({ status }) => status)).toEqual([200, 200, 200, 429, 429])
    expect(all[0]!.headers.get('x-ratelimit-limit')).toBe('3')
    expect(all[0]!.headers.get('x-ratelimit-remaining')).toBe('2')
    const refused = all[4]!
    expect(refused.text).toBe('local_rate_limited')
    expect(refused.headers.get('x-envoy-ratelimited')).toBe('true')
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(60)
    expect((await get('ledger/', {}, orders)).status).toBe(200)
  })

  it('a host that fails is put out', async () => {
    const bad = { 'x-only': 'bad', 'x-status': '500' }
    await tally(20, async () => versionOf(await get('flaky/', bad)))
    expect(await tally(20, async () => versionOf(await get('flaky/', bad)))).toEqual({ good: 20 })
    const { hosts } = web.explain({ url: 'http://flaky/' }).destinations[0]!
    expect(hosts.filter(({ usable }) => !usable)).toHaveLength(1)
  })

  it('a breaker opens, and explain says so before any call', async () => {
    const flags = await tally(40, async () => (await get('fragile/', { 'x-status': '500' })).flags ?? 'answered')
    expect(flags.answered).toBeLessThanOrEqual(21)
    expect(await get('fragile/')).toMatchObject({ status: 503, flags: 'UO', details: 'circuit_breaker_open' })
    expect(web.explain({ url: 'http://fragile/' }).destinations[0]?.refusal).toMatchObject({ status: 503, flag: 'UO' })
  })

  it('a hedge overtakes a host that hangs', async () => {
    // Hedges are paid for by the budget of retries: a fifth of the calls.
    await tally(40, async () => versionOf(await get('late/')))
    const counts = await tally(4, async () => versionOf(await get('late/', { 'x-only': 'v1', 'x-hang': '1' })))
    expect(counts).toEqual({ v2: 4 })
  })

  it('what is beyond a limit is refused at once', async () => {
    const both = await Promise.all([get('pool/', { 'x-wait': '50' }), get('pool/', { 'x-wait': '50' })])
    expect(both.map(({ status }) => status).sort()).toEqual([200, 503])
    const refused = both.find(({ status }) => status === 503)!
    expect(refused.flags).toBe('UO')
    expect(refused.headers.get('x-envoy-overloaded')).toBe('true')
  })

  it('calls stay in the locality of the caller, and fail over to the next', async () => {
    const where = (headers: Record<string, string> = {}) => tally(10, async () => versionOf(await get('geo/', headers)))
    expect(await where()).toEqual({ 'eu-a': 10 })
    await get('geo/', { 'x-only': 'eu-a', 'x-status': '500' })
    expect(await where()).toEqual({ 'eu-c': 10 })
    await get('geo/', { 'x-only': 'eu-c', 'x-status': '500' })
    expect(await where()).toEqual({ 'us-b': 10 })
  })

  it('exportTo "." is for callers of the namespace', async () => {
    const guest = await mesh.join('guest', { namespace: 'elsewhere' })
    expect((await get('private/')).status).toBe(418)
    expect((await get('private.default/', {}, guest)).status).toBe(200)
  })

  it('a Sidecar hides what it does not list; REGISTRY_ONLY answers 502', async () => {
    const narrow = await mesh.join('narrow')
    expect((await get('users/', {}, narrow)).status).toBe(200)
    expect((await get('catalog/', {}, narrow)).status).toBe(502)
    expect((await get('example.com/', {}, narrow)).status).toBe(502)
  })
})
