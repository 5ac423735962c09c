import { describe, expect, it } from 'vitest'
import { createTestMesh } from './index.ts'

const rules = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payments }
spec:
  hosts: [payments]
  http:
    - name: beta
      match: [{ headers: { x-user: { exact: beta } } }]
      route: [{ destination: { host: payments, subset: v2 } }]
    - name: rest
      timeout: 3s
      retries: { attempts: 2, perTryTimeout: 500ms, retryOn: '503,connect-failure,reset' }
      route: [{ destination: { host: payments, subset: v1 } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payments }
spec:
  host: payments
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
`

const services = {
  payments: {
    endpoints: [{ labels: { version: 'v1' } }, { labels: { version: 'v1' } }, { labels: { version: 'v2' } }],
  },
}

const url = 'http://payments/charge'

describe('a mesh in memory', () => {
  it('routes as the configuration says, by the way that production takes', () => {
    const mesh = createTestMesh({ resources: rules, services })
    const beta = mesh.call({ url, headers: { 'x-user': 'beta' } })
    expect(beta).toMatchObject({ status: 200, route: 'beta', host: 'payments/2', elapsedMs: 1 })
    expect(mesh.call({ url })).toMatchObject({
      route: 'rest',
      cluster: 'outbound|80|v1|payments.default.svc.cluster.local',
    })
    expect(mesh.peer('payments', 2).requests).toMatchObject([{ method: 'GET', authority: 'payments', path: '/charge' }])
    expect(mesh.explain({ url }).rules[0]!.why).toBe('asks that header x-user is "beta"; it is absent')
  })

  it('retries elsewhere what a peer refuses, and not what is not safe', () => {
    const mesh = createTestMesh({ resources: rules, services })
    mesh.peer('payments', 0).answers(503)
    for (let i = 0; i < 4; i++) expect(mesh.call({ url })).toMatchObject({ status: 200, host: 'payments/1' })
    const posts = Array.from({ length: 4 }, () => mesh.call({ url, method: 'POST' }).status).sort()
    expect(posts).toEqual([200, 200, 503, 503])
    mesh.peer('payments', 0).refuses()
    for (let i = 0; i < 4; i++) expect(mesh.call({ url, method: 'POST' }).status).toBe(200)
  })

  it('lets hours pass in no time', () => {
    const mesh = createTestMesh({ resources: rules, services })
    for (const peer of mesh.peers('payments')) peer.hangs()
    const { status, flags, elapsedMs, attempts } = mesh.call({ url })
    expect({ status, flags }).toEqual({ status: 504, flags: expect.stringContaining('UT') })
    expect(attempts.map((a) => a.outcome)).toContain('try-timeout')
    expect(elapsedMs).toBeGreaterThan(500)
    expect(elapsedMs).toBeLessThanOrEqual(3_010)
  })

  it('scripts a peer for some requests, then it is as before', () => {
    const mesh = createTestMesh({ services: { payments: { endpoints: 1 } } })
    mesh.peer('payments').answers(404, { times: 2, afterMs: 30 })
    expect([1, 2, 3].map(() => mesh.call({ url })).map((r) => [r.status, r.elapsedMs])).toEqual([
      [404, 30],
      [404, 30],
      [200, 1],
    ])
  })

  it('takes objects for text, and refuses what the control plane would refuse', () => {
    const policy = (spec: object) => ({
      apiVersion: 'inmesh.dev/v1',
      kind: 'ServicePolicy',
      metadata: { name: 'p' },
      spec,
    })
    const resources = [policy({ service: 'payments', timeoutMs: 100 })]
    const same = createTestMesh({ resources: { resources }, services })
    expect(same.explain({ url }).destinations[0]!.policies[0]!.value).toBe(
      '100 ms to the head of the answer, none for calls of gRPC',
    )
    const mesh = createTestMesh({ resources, services })
    for (const peer of mesh.peers('payments')) peer.hangs()
    expect(mesh.call({ url, method: 'POST' }).elapsedMs).toBeLessThanOrEqual(110)
    expect(() => createTestMesh({ resources: [policy({ servise: 'payments' })], services })).toThrow(/servise/)
  })

  it('takes new configuration and other endpoints while calls are under way', () => {
    const mesh = createTestMesh({ services: { payments: { endpoints: 2 } } })
    mesh.peer('payments', 0).answers(200, { afterMs: 50 })
    mesh.peer('payments', 1).answers(200, { afterMs: 50 })
    const first = mesh.start({ url })
    mesh.update('payments', 0, null)
    mesh.update('payments', 1, { health: 'DRAINING' })
    expect(mesh.call({ url })).toMatchObject({ status: 503, flags: expect.stringContaining('UH'), host: null })
    expect(first().status).toBe(0)
    mesh.advance(50)
    expect(first().status).toBe(200)
  })

  it('tells the same story for the same seed', () => {
    const story = (seed: number) => {
      const mesh = createTestMesh({ services: { payments: { endpoints: 5 } }, seed })
      mesh.peer('payments', 2).resets()
      return Array.from({ length: 30 }, () => mesh.call({ url }))
    }
    expect(story(7)).toEqual(story(7))
  })

  it('says that a name is none of the mesh', () => {
    const mesh = createTestMesh({ services })
    expect(mesh.call({ url: 'http://example.com/' })).toMatchObject({ passthrough: true, status: 0 })
  })
})
