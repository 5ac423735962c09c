import { describe, expect, it } from 'vitest'
import { routeOf, splitOf, type TestRequest } from './testing/decide.ts'
import { clientOf, endpointOf, Mesh, objectsOf, stored } from './testing/mesh.ts'

const endpoints = [
  endpointOf('payments v1 10.0.0.1'),
  endpointOf('payments v2 10.0.0.2'),
  endpointOf('orders v1 10.0.1.1'),
]
const frontend = clientOf('frontend')

function virtualService(http: string, hosts = '[payments]', name = 'payments', namespace = 'default'): string {
  return `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  hosts: ${hosts}
  http:
${http.replace(/^/gm, '  ')}
---
`
}

const to = (subset: string) => `route: [{destination: {host: payments, subset: ${subset}}}]`

describe('routes of a VirtualService', () => {
  const cases: readonly (readonly [string, string, readonly (readonly [TestRequest, string])[]])[] = [
    [
      'a prefix is a raw string prefix',
      '{uri: {prefix: /foo}}',
      [
        [{ path: '/foo' }, 'v2'],
        [{ path: '/foobar' }, 'v2'],
        [{ path: '/Foo' }, 'v1'],
        [{ path: '/fo' }, 'v1'],
      ],
    ],
    [
      'exact and regex compare the path without its query, regex the whole of it',
      '{uri: {regex: "/a|/b[0-9]+"}}',
      [
        [{ path: '/a?x=1' }, 'v2'],
        [{ path: '/b12' }, 'v2'],
        [{ path: '/ax' }, 'v1'],
        [{ path: '/x/b1' }, 'v1'],
      ],
    ],
    [
      'ignoreUriCase',
      '{uri: {exact: /Foo}, ignoreUriCase: true}',
      [
        [{ path: '/fOO' }, 'v2'],
        [{ path: '/foo/' }, 'v1'],
      ],
    ],
    [
      'all conditions of one match must hold',
      '{uri: {prefix: /a}, headers: {x-user: {exact: ann}}}',
      [
        [{ path: '/a', headers: [['X-User', 'ann']] }, 'v2'],
        [{ path: '/a' }, 'v1'],
        [{ path: '/b', headers: [['x-user', 'ann']] }, 'v1'],
      ],
    ],
    [
      'an empty header condition asks for presence, as does regex "*"',
      '{headers: {x-a: {}, X-B: {regex: "*"}}}',
      [
        [
          {
            headers: [
              ['x-a', ''],
              ['x-b', 'y'],
            ],
          },
          'v2',
        ],
        [{ headers: [['x-a', '1']] }, 'v1'],
      ],
    ],
    [
      'withoutHeaders is fulfilled by absence',
      '{withoutHeaders: {x-a: {exact: "1"}, x-b: {}}}',
      [
        [{}, 'v2'],
        [{ headers: [['x-a', '2']] }, 'v2'],
        [{ headers: [['x-a', '1']] }, 'v1'],
        [{ headers: [['x-b', '']] }, 'v1'],
      ],
    ],
    [
      'method and authority',
      '{method: {exact: POST}, authority: {prefix: pay}}',
      [
        [{ method: 'POST', host: 'payments' }, 'v2'],
        [{ method: 'GET', host: 'payments' }, 'v1'],
        [{ method: 'POST', host: 'other' }, 'v1'],
      ],
    ],
    [
      'query parameters',
      '{queryParams: {a: {exact: ""}, b: {regex: "[0-9]+"}}}',
      [
        [{ path: '/?a&b=12' }, 'v2'],
        [{ path: '/?a=1&b=12' }, 'v1'],
        [{ path: '/?a&b=x' }, 'v1'],
        [{ path: '/?a' }, 'v1'],
      ],
    ],
  ]
  it.each(cases)('%s', (_, match, requests) => {
    const yaml = virtualService(`- match: [${match}]\n  ${to('v2')}\n- ${to('v1')}`)
    const routes = new Mesh({ yaml, endpoints }).routes('payments', frontend)
    for (const [request, split] of requests) expect(splitOf(routes, request), JSON.stringify(request)).toBe(split)
  })

  it('matches are alternatives, and the first rule that matches decides', () => {
    const yaml = virtualService(
      `- match: [{uri: {exact: /a}}, {uri: {exact: /b}}]\n  ${to('v2')}\n- match: [{uri: {prefix: /}}]\n  ${to('v3')}\n- ${to('v1')}`,
    )
    const routes = new Mesh({ yaml, endpoints }).routes('payments', frontend)
    expect(['/a', '/b', '/c'].map((path) => splitOf(routes, { path }))).toEqual(['v2', 'v2', 'v3'])
    expect(routes?.virtualHosts[0]?.routes).toHaveLength(3)
  })

  it('answers 404 to what no rule matches', () => {
    const yaml = virtualService(`- match: [{uri: {prefix: /only}}]\n  ${to('v1')}`)
    expect(splitOf(new Mesh({ yaml, endpoints }).routes('payments', frontend), { path: '/other' })).toBe('404')
  })

  it('decides sourceLabels, sourceNamespace, gateways and port before anything is sent', () => {
    const yaml = virtualService(`
- match: [{sourceLabels: {team: a}}]
  ${to('v2')}
- match: [{sourceNamespace: shop}]
  ${to('v3')}
- match: [{port: 9090}]
  ${to('v4')}
- match: [{gateways: [mesh], sourceLabels: {team: ignored}, uri: {exact: /gw}}]
  ${to('v5')}
- match: [{gateways: [edge], uri: {exact: /edge}}]
  ${to('v6')}
- ${to('v1')}`)
    const mesh = new Mesh({ yaml, endpoints })
    const of = (authority: string, client = frontend, path = '/') => splitOf(mesh.routes(authority, client), { path })
    expect(of('payments')).toBe('v1')
    expect(of('payments', clientOf('frontend', { labels: { team: 'a' } }))).toBe('v2')
    expect(of('payments.default', clientOf('frontend.shop'))).toBe('v3')
    expect(of('payments:9090')).toBe('v4')
    expect(of('payments', frontend, '/gw')).toBe('v5')
    expect(of('payments', frontend, '/edge')).toBe('v1')
  })

  it('leaves out destinations of weight 0, ignores the weight of a single one, adds up equal ones', () => {
    const split = (route: string) =>
      splitOf(new Mesh({ yaml: virtualService(`- route: ${route}`), endpoints }).routes('payments', frontend))
    const destination = (subset: string, weight: number) =>
      `{destination: {host: payments, subset: ${subset}}, weight: ${weight}}`
    expect(split(`[${destination('v1', 0)}, ${destination('v2', 7)}]`)).toBe('v2')
    expect(split(`[${destination('v1', 0)}]`)).toBe('v1')
    expect(split(`[${destination('v1', 1)}, ${destination('v2', 5)}, ${destination('v1', 2)}]`)).toBe('v1:3 v2:5')
  })

  it('expands destinations in the namespace of the rule and uses the port dialled unless one is named', () => {
    const yaml = virtualService(
      '- route: [{destination: {host: orders, port: {number: 9999}}, weight: 1}, {destination: {host: orders}, weight: 1}]',
      '[payments.default.svc.cluster.local]',
      'cross',
      'shop',
    )
    const mesh = new Mesh({ yaml, endpoints: [...endpoints, endpointOf('orders.shop v1 10.0.9.1')] })
    const action = routeOf(mesh.routes('payments:8000', frontend), {})?.action
    expect(action?.kind === 'forward' && action.clusters.map((c) => c.name)).toEqual([
      'outbound|9999||orders.shop.svc.cluster.local',
      'outbound|8000||orders.shop.svc.cluster.local',
    ])
    expect(mesh.cluster('outbound|9999||orders.shop.svc.cluster.local', frontend)?.endpoints[0]?.port).toBe(8080)
  })

  it('takes the older of two for one host, and none that is bound to gateways only', () => {
    const objects = objectsOf(
      virtualService(`- ${to('v3')}`, '[payments]', 'gateway-only').replace('hosts:', 'gateways: [edge]\n  hosts:') +
        virtualService(`- ${to('v2')}`, '[payments]', 'z-older') +
        virtualService(`- ${to('v1')}`, '[payments.default.svc.cluster.local]', 'a-newer'),
    )
    expect(splitOf(new Mesh({ objects, endpoints }).routes('payments', frontend))).toBe('v2')
  })

  it('takes the longest wildcard, and an exact host before any', () => {
    const objects = objectsOf(
      virtualService(`- ${to('v1')}`, '["*.local"]', 'short') +
        virtualService(`- ${to('v2')}`, '["*.default.svc.cluster.local"]', 'long') +
        virtualService(`- ${to('v3')}`, '[orders]', 'exact'),
    )
    const mesh = new Mesh({ objects, endpoints })
    expect(splitOf(mesh.routes('payments', frontend))).toBe('v2')
    expect(splitOf(mesh.routes('orders', frontend))).toBe('v3')
  })

  it('gives a host that only a rule knows on port 80', () => {
    const yaml = virtualService(`- ${to('v1')}`, '[api.example.com, "*.shop.example", front]', 'external')
    const mesh = new Mesh({ yaml, endpoints })
    for (const authority of ['api.example.com', 'a.shop.example:80', 'front'])
      expect(splitOf(mesh.routes(authority, frontend)), authority).toBe('v1')
    expect(mesh.routes('api.example.com:8080', frontend)?.name).toBe('allow_any')
    expect(mesh.routes('shop.example', frontend)?.name).toBe('allow_any')
  })

  it('names routes after the rule and the match', () => {
    const yaml = virtualService(
      `- name: canary\n  match: [{name: beta, uri: {exact: /a}}, {uri: {exact: /b}}]\n  ${to('v2')}\n- ${to('v1')}`,
    )
    const routes = new Mesh({ yaml, endpoints }).routes('payments', frontend)
    expect(['/a', '/b', '/c'].map((path) => routeOf(routes, { path })?.name)).toEqual([
      'canary.beta',
      'canary',
      'default',
    ])
  })

  it.each([
    ['timeout: 0s', { timeoutMs: Number.POSITIVE_INFINITY, timeoutUntilHeaders: false }],
    ['timeout: 1.5s', { timeoutMs: 1_500, timeoutUntilHeaders: false }],
    ['retries: {attempts: 0}', { retry: null, timeoutMs: 5_000 }],
    ['retries: {}', { retry: null }],
    ['retries: {attempts: 1}', { retry: { numRetries: 1, statusCodes: [503], baseIntervalMs: 25 } }],
    // Codes of gRPC only where somebody asked for retries: what may have run must not be repeated by default.
    [
      'retries: {attempts: 2}',
      {
        retry: {
          retryOn: ['connect-failure', 'retriable-4xx', 'reset', 'unavailable', 'cancelled', 'retriable-status-codes'],
        },
      },
    ],
    ['timeout: 1s', { retry: { retryOn: ['connect-failure', 'retriable-4xx', 'reset', 'retriable-status-codes'] } }],
    [
      'retries: {attempts: 2, retryOn: "503,429,reset", backoff: 1s}',
      {
        retry: {
          retryOn: ['reset', 'retriable-status-codes'],
          statusCodes: [503, 429],
          baseIntervalMs: 1_000,
          maxIntervalMs: 10_000,
        },
      },
    ],
  ])('%s', (field, expected) => {
    const yaml = virtualService(`- ${to('v1')}\n  ${field}`)
    expect(routeOf(new Mesh({ yaml, endpoints }).routes('payments', frontend), {})).toMatchObject(expected)
  })

  it('says which subsets stand for a version and which services nobody registered', () => {
    const yaml = virtualService(
      '- route: [{destination: {host: ghost}, weight: 1}, {destination: {host: payments, subset: v2}, weight: 1}]',
    )
    const mesh = new Mesh({ yaml, endpoints })
    const note = routeOf(mesh.routes('payments', frontend), {})?.decidedBy.note
    expect(note).toMatch(/ghost\.default\.svc\.cluster\.local: no workload has ever registered/)
    expect(note).toMatch(/no DestinationRule defines subset v2/)
    expect(mesh.cluster('outbound|80||ghost.default.svc.cluster.local', frontend)?.endpoints).toEqual([])
  })
})

const split = (spec: string, name: string) =>
  `apiVersion: inmesh.dev/v1\nkind: TrafficSplit\nmetadata: {name: ${name}}\nspec: {destinationService: payments, ${spec}}\n---\n`

describe('routes of a TrafficSplit', () => {
  it('splits by weight and sends a listed header to v2', () => {
    const mesh = new Mesh({
      yaml: split('v1Weight: 95, v2Weight: 5, headerMatch: {X-Canary: "true", x-beta: yes}', 'a'),
      endpoints,
    })
    const routes = mesh.routes('payments', frontend)
    expect(splitOf(routes)).toBe('v1:95 v2:5')
    expect(splitOf(routes, { headers: [['x-canary', 'true']] })).toBe('v2')
    expect(splitOf(routes, { headers: [['x-canary', 'True']] })).toBe('v1:95 v2:5')
    expect(splitOf(routes, { headers: [['x-beta', 'yes']] })).toBe('v2')
    expect(routeOf(routes, {})?.decidedBy).toMatchObject({ route: 'TrafficSplit/default/a', timeout: 'default' })
  })

  it.each([
    ['v1Weight: 0, v2Weight: 0', 'v1'],
    ['v1Weight: 0, v2Weight: 3', 'v2'],
    ['v2Weight: 0', 'v1'],
  ])('%s', (spec, expected) => {
    expect(splitOf(new Mesh({ yaml: split(spec, 'a'), endpoints }).routes('payments', frontend))).toBe(expected)
  })

  it('prefers the split for this caller to that for all, then the newest', () => {
    const all = (weight: number, name: string) => split(`v1Weight: ${weight}, v2Weight: 1`, name)
    const objects = objectsOf(
      all(1, 'old') +
        split('sourceService: frontend, v1Weight: 7, v2Weight: 1', 'mine') +
        split('sourceService: frontend.shop.svc.cluster.local, v1Weight: 8, v2Weight: 1', 'theirs') +
        all(9, 'new'),
    )
    const mesh = new Mesh({ objects, endpoints })
    const of = (name: string) => splitOf(mesh.routes('payments.default', clientOf(name)))
    expect(of('frontend')).toBe('v1:7 v2:1')
    expect(of('frontend.shop')).toBe('v1:8 v2:1')
    expect(of('other')).toBe('v1:9 v2:1')
  })

  it('yields to a VirtualService', () => {
    const yaml = split('v2Weight: 5', 'a') + virtualService(`- ${to('v3')}`)
    expect(splitOf(new Mesh({ yaml, endpoints }).routes('payments', frontend))).toBe('v3')
  })
})

describe('ServicePolicy', () => {
  const policy = (spec: string, name = 'p', namespace = 'default') =>
    `apiVersion: inmesh.dev/v1\nkind: ServicePolicy\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: {${spec}}\n---\n`

  it('decides timeout, retries and breaker where no Istio resource does, field by field', () => {
    const yaml =
      policy(
        'service_name: payments, retry_attempts: 1, timeout_ms: 800, cb_threshold: 20, cb_window_sec: 5, cb_recovery_sec: 60',
      ) +
      virtualService(
        `- match: [{uri: {exact: /a}}]\n  ${to('v1')}\n  timeout: 2s\n- ${to('v1')}\n  retries: {attempts: 5, retryOn: reset}`,
      )
    const mesh = new Mesh({ yaml, endpoints })
    const routes = mesh.routes('payments', frontend)
    expect(routeOf(routes, { path: '/a' })).toMatchObject({
      timeoutMs: 2_000,
      retry: { numRetries: 1 },
      decidedBy: { timeout: 'VirtualService/default/payments', retries: 'ServicePolicy/default/p' },
    })
    expect(routeOf(routes, { path: '/b' })).toMatchObject({
      timeoutMs: 800,
      timeoutUntilHeaders: true,
      retry: { numRetries: 5, retryOn: ['reset'] },
      decidedBy: { timeout: 'ServicePolicy/default/p', retries: 'VirtualService/default/payments' },
    })
    expect(mesh.cluster('outbound|80|v1|payments.default.svc.cluster.local', frontend)?.breaker).toEqual({
      ...{ thresholdPercent: 20, windowMs: 5_000, minimumRequests: 20, recoveryMs: 60_000, maxRecoveryMs: 60_000 },
      halfOpenProbes: 1,
    })
  })

  it('switches timeout and retries off with 0', () => {
    const mesh = new Mesh({ yaml: policy('service: payments, retryAttempts: 0, timeoutMs: 0'), endpoints })
    expect(routeOf(mesh.routes('payments', frontend), {})).toMatchObject({
      ...{ retry: null, timeoutMs: Number.POSITIVE_INFINITY },
      decidedBy: { timeout: 'ServicePolicy/default/p', retries: 'ServicePolicy/default/p', route: 'default' },
    })
  })

  it("prefers the one in the service's own namespace", () => {
    const fqdn = 'payments.default.svc.cluster.local'
    const away = objectsOf(policy(`service: ${fqdn}, timeoutMs: 1`, 'away', 'shop'))
    const home = objectsOf(policy('service: payments, timeoutMs: 2', 'home'))
    const objects = [...away, ...stored(home, 50)]
    expect(routeOf(new Mesh({ objects, endpoints }).routes('payments', frontend), {})?.timeoutMs).toBe(2)
  })
})

describe('names that a client dials', () => {
  it('finds services of its own namespace by their short name only', () => {
    const mesh = new Mesh({ endpoints: [endpointOf('payments.shop')] })
    expect(mesh.routes('payments', clientOf('x.shop'))?.name).toBe('outbound|80||payments.shop.svc.cluster.local')
    expect(mesh.routes('payments', frontend)?.name).toBe('allow_any')
    for (const name of ['payments.shop', 'payments.shop.svc', 'payments.shop.svc.cluster.local', 'PAYMENTS.SHOP:80'])
      expect(mesh.routes(name, frontend)?.name, name).toBe('outbound|80||payments.shop.svc.cluster.local')
  })

  it('keeps a service known that has no endpoints left', () => {
    const mesh = new Mesh({ services: ['payments'] })
    expect(splitOf(mesh.routes('payments', frontend))).toBe('-')
    expect(mesh.cluster('outbound|80||payments.default.svc.cluster.local', frontend)?.endpoints).toEqual([])
  })

  it('dials what nobody knows as it is, without timeout and retries', () => {
    const mesh = new Mesh({})
    for (const authority of ['example.com', 'example.com:8443', '10.1.2.3:80', '[::1]:9000', 'localhost:3000']) {
      const route = routeOf(mesh.routes(authority, frontend), {})
      expect(route, authority).toMatchObject({ timeoutMs: Number.POSITIVE_INFINITY, retry: null })
      expect(route?.action).toEqual({ kind: 'forward', clusters: [{ name: 'PassthroughCluster', weight: 1 }] })
    }
    expect(mesh.cluster('PassthroughCluster', frontend)?.kind).toBe('passthrough')
  })

  it('answers 502 to what nobody knows under REGISTRY_ONLY', () => {
    const mesh = new Mesh({ settings: { outboundTrafficPolicy: 'REGISTRY_ONLY' } })
    expect(splitOf(mesh.routes('example.com', frontend))).toBe('502')
  })

  it.each(['', 'a b', 'a/b', 'inmesh/inbound/nowhere', 'outbound|80||x'])('has no listener for "%s"', (name) => {
    expect(new Mesh({}).routes(name, frontend)).toBeUndefined()
  })
})
