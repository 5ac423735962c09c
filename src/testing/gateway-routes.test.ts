import { expect, it } from 'vitest'
import { createTestMesh } from './index.ts'

/** HTTPRoute on its whole way: from YAML through xDS and the engine to what peers get and callers are told. */

const routes = (rules: string, more = '') => `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: payments }
spec:
  parentRefs: [{ group: "", kind: Service, name: payments }]
  rules:
${rules.replace(/^/gm, '    ')}
${more}`

const services = { payments: { endpoints: 1 }, v1: { endpoints: 1 }, v2: { endpoints: 1 }, empty: { endpoints: 0 } }
const url = 'http://payments/'

it('the most specific match decides; what no rule matches is 404', () => {
  const mesh = createTestMesh({
    resources: routes(
      '- matches: [{ path: { value: /a } }]\n  backendRefs: [{ name: v1, port: 80 }]\n- matches: [{ path: { value: /a/b } }]\n  backendRefs: [{ name: v2, port: 80 }]',
    ),
    services,
  })
  expect(mesh.call({ url: `${url}a/c` })).toMatchObject({ status: 200, host: 'v1/0', route: 'default.payments.0' })
  expect(mesh.call({ url: `${url}a/b` })).toMatchObject({ status: 200, host: 'v2/0', route: 'default.payments.1' })
  expect(mesh.call({ url: `${url}ab` })).toMatchObject({ status: 404, flags: 'NR' })
})

it('a backend that does not exist takes its share of the calls with it', () => {
  const mesh = createTestMesh({
    resources: routes('- backendRefs: [{ name: v1, port: 80, weight: 3 }, { name: nobody, port: 80 }]'),
    services,
  })
  const statuses = Array.from({ length: 2_000 }, () => mesh.call({ url }).status)
  const failed = statuses.filter((status) => status === 500).length
  expect(statuses.filter((status) => status === 200)).toHaveLength(2_000 - failed)
  // Mean 500, standard deviation 19.4.
  expect(Math.abs(failed - 500)).toBeLessThan(100)
})

it('a Service without endpoints is 503, no backend at all 500', () => {
  const rules = '- matches: [{ path: { value: /e } }]\n  backendRefs: [{ name: empty, port: 80 }]\n- matches: [{}]'
  const mesh = createTestMesh({ resources: routes(rules), services })
  expect(mesh.call({ url: `${url}e` })).toMatchObject({ status: 503 })
  expect(mesh.call({ url })).toMatchObject({ status: 500, host: null })
})

it('peers see the rewritten path and authority, and backends are called as they are', () => {
  const rule = `- matches: [{ path: { value: /api } }]
  filters: [{ type: URLRewrite, urlRewrite: { hostname: pay.internal, path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }]
  backendRefs: [{ name: v1, port: 80 }]`
  const own = routes('- backendRefs: [{ name: v2, port: 80 }]').replaceAll('payments', 'v1')
  const mesh = createTestMesh({ resources: routes(rule, `---${own}`), services })
  expect(mesh.call({ url: `${url}api/x?y=/api` })).toMatchObject({ status: 200, host: 'v1/0' })
  expect(mesh.call({ url: `${url}api` })).toMatchObject({ status: 200, host: 'v1/0' })
  expect(mesh.peer('v1').requests).toMatchObject([
    { authority: 'pay.internal', path: '/x?y=/api' },
    { authority: 'pay.internal', path: '/' },
  ])
})

it('backendRequest limits each try, request the call', () => {
  const rule = (timeouts: string) =>
    routes(`- timeouts: ${timeouts}\n  retry: { codes: [503], attempts: 1 }\n  backendRefs: [{ name: v1, port: 80 }]`)
  const hung = (timeouts: string) => {
    const mesh = createTestMesh({ resources: rule(timeouts), services })
    mesh.peer('v1').hangs()
    return mesh.call({ url })
  }
  const twice = hung('{ request: 10s, backendRequest: 1s }')
  expect(twice.attempts.map((attempt) => attempt.outcome)).toEqual(['try-timeout', 'try-timeout'])
  expect(twice.elapsedMs).toBeGreaterThanOrEqual(2_000)
  expect(hung('{ request: 500ms }').elapsedMs).toBeLessThan(600)
})

it('retries the codes that it names', () => {
  const mesh = createTestMesh({
    resources: routes('- retry: { codes: [500], attempts: 1 }\n  backendRefs: [{ name: v1, port: 80 }]'),
    services: { ...services, v1: { endpoints: 2 } },
  })
  for (const peer of mesh.peers('v1')) peer.answers(500)
  expect(mesh.call({ url }).attempts).toHaveLength(2)
  for (const peer of mesh.peers('v1')) peer.answers(503)
  expect(mesh.call({ url }).attempts).toHaveLength(1)
})
