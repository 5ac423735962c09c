import { fromBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import { describe, expect, it } from 'vitest'
import { compilePathRewrite } from '../../src/engine/path-rewrite.ts'
import { RouteConfigurationSchema } from '../../src/gen/envoy/config/route/v3/route_pb.js'
import type { RouteSpec, RouteTable } from '../../src/model/route.ts'
import { TypeUrl } from '../../src/xds/proto.ts'
import { routeOf, splitOf, type TestRequest } from './testing/decide.ts'
import { clientOf, endpointOf, Mesh, objectsOf, stored } from './testing/mesh.ts'

const endpoints = [
  endpointOf('payments v1 10.0.0.1'),
  endpointOf('v1 v1 10.0.1.1'),
  endpointOf('v2 v1 10.0.1.2'),
  endpointOf('v3.shop v1 10.0.1.3'),
]
const frontend = clientOf('frontend')

function route(
  rules: string,
  { name = 'payments', namespace = 'default', parent = '', kind = 'HTTPRoute' } = {},
): string {
  return `
apiVersion: gateway.networking.k8s.io/v1
kind: ${kind}
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  parentRefs: [{group: "", kind: Service, name: payments${parent}}]
  rules:
${rules.replace(/^/gm, '  ')}
---
`
}

const to = (service: string) => `backendRefs: [{name: ${service}, port: 80}]`

function routesFor(yaml: string, client = frontend, authority = 'payments'): RouteTable | undefined {
  return new Mesh({ yaml, endpoints }).routes(authority, client)
}

/** Service that a request goes to, or the status of the answer. */
function goal(table: RouteTable | undefined, request: TestRequest): string {
  const found = routeOf(table, request)
  if (found?.action.kind !== 'forward') return splitOf(table, request)
  return found.action.clusters.map(({ name, weight }) => `${name.split('|')[3]!.split('.')[0]}:${weight}`).join(' ')
}

describe('precedence of matches, whatever the order of rules', () => {
  const cases: readonly (readonly [string, string, string, TestRequest])[] = [
    [
      'an exact path before a longer prefix',
      '{path: {value: /a/b}}',
      '{path: {type: Exact, value: /a/b}}',
      { path: '/a/b' },
    ],
    ['the longer prefix', '{path: {value: /a}}', '{path: {value: /a/b}}', { path: '/a/b/c' }],
    [
      'a prefix before a regex',
      '{path: {type: RegularExpression, value: /a/.*}}',
      '{path: {value: /a}}',
      { path: '/a/b' },
    ],
    ['a method before headers', '{headers: [{name: x, value: "1"}]}', '{method: GET}', { headers: [['x', '1']] }],
    [
      'more headers',
      '{headers: [{name: x, value: "1"}], queryParams: [{name: q, value: "1"}]}',
      '{headers: [{name: x, value: "1"}, {name: y, value: "2"}]}',
      {
        path: '/?q=1',
        headers: [
          ['x', '1'],
          ['y', '2'],
        ],
      },
    ],
    [
      'more query parameters',
      '{queryParams: [{name: q, value: "1"}]}',
      '{queryParams: [{name: q, value: "1"}, {name: r, value: "1"}]}',
      { path: '/?q=1&r=1' },
    ],
  ]
  it.each(cases)('%s', (_, less, more, request) => {
    for (const [first, second] of [
      [less, more],
      [more, less],
    ])
      expect(
        goal(
          routesFor(
            route(
              `- matches: [${first}]\n  ${to(first === more ? 'v1' : 'v2')}\n- matches: [${second}]\n  ${to(second === more ? 'v1' : 'v2')}`,
            ),
          ),
          request,
        ),
      ).toBe('v1:1')
  })

  it('counts across all routes of a Service; then the oldest route decides, then the order of its rules', () => {
    const yaml =
      route(`- matches: [{path: {value: /a}}]\n  ${to('v1')}\n- matches: [{path: {value: /a/}}]\n  ${to('v2')}`, {
        name: 'z',
      }) + route(`- matches: [{path: {value: /a}}, {path: {value: /a/b}}]\n  ${to('v2')}`, { name: 'a' })
    const routes = routesFor(yaml)
    expect(goal(routes, { path: '/a' })).toBe('v1:1')
    expect(goal(routes, { path: '/a/b' })).toBe('v2:1')
    expect(routeOf(routes, { path: '/a' })?.name).toBe('default.z.0')
  })
})

describe('matches', () => {
  const cases: readonly (readonly [string, string, readonly (readonly [TestRequest, string])[]])[] = [
    ['no match is every path', '{}', [[{ path: '/x' }, 'v1:1']]],
    [
      'a prefix is whole segments, with or without a slash at its end',
      '{path: {value: /a/}}',
      [
        [{ path: '/a' }, 'v1:1'],
        [{ path: '/a/b?x=1' }, 'v1:1'],
        [{ path: '/ab' }, '404'],
        [{ path: '/A' }, '404'],
      ],
    ],
    [
      'regular expressions match the whole path',
      '{path: {type: RegularExpression, value: "/a|/b[0-9]"}}',
      [
        [{ path: '/b1' }, 'v1:1'],
        [{ path: '/a/x' }, '404'],
      ],
    ],
    [
      'headers and parameters',
      '{method: POST, headers: [{name: X-A, value: "1"}, {name: x-a, value: "2"}], queryParams: [{type: RegularExpression, name: q, value: "[a-c]+"}]}',
      [
        [{ method: 'POST', path: '/?q=ab', headers: [['x-a', '1']] }, 'v1:1'],
        [{ method: 'GET', path: '/?q=ab', headers: [['x-a', '1']] }, '404'],
        [{ method: 'POST', path: '/?q=x', headers: [['x-a', '1']] }, '404'],
        [{ method: 'POST', path: '/?q=ab', headers: [['x-a', '2']] }, '404'],
      ],
    ],
  ]
  it.each(cases)('%s', (_, match, requests) => {
    const routes = routesFor(route(`- matches: [${match}]\n  ${to('v1')}`))
    for (const [request, expected] of requests) expect(goal(routes, request), JSON.stringify(request)).toBe(expected)
  })

  it('a call that no rule matches has no route, though the Service exists', () => {
    expect(goal(routesFor(route(`- matches: [{path: {value: /a}}]\n  ${to('v1')}`)), { path: '/' })).toBe('404')
  })
})

describe('who a route is for', () => {
  it('a route of the namespace of the Service is for everybody; one of a caller replaces it for that namespace', () => {
    const yaml =
      route(`- ${to('v1')}\n- matches: [{path: {type: Exact, value: /only}}]\n  ${to('v1')}`) +
      route(`- backendRefs: [{name: v3, port: 80}]`, { namespace: 'shop', parent: ', namespace: default' })
    expect(goal(routesFor(yaml), {})).toBe('v1:1')
    expect(goal(routesFor(yaml, clientOf('x.other'), 'payments.default'), {})).toBe('v1:1')
    expect(goal(routesFor(yaml, clientOf('x.shop'), 'payments.default'), { path: '/only' })).toBe('v3:1')
  })

  it('a parent with a port is for that port', () => {
    const yaml = route(`- ${to('v1')}`, { parent: ', port: 81' })
    expect(goal(routesFor(yaml), {})).toBe('payments:1')
    expect(goal(routesFor(yaml, frontend, 'payments:81'), {})).toBe('v1:1')
  })

  it('other parents have no effect', () => {
    const yaml = route(`- ${to('v1')}`).replace('group: "", kind: Service', 'kind: Gateway')
    expect(goal(routesFor(yaml), {})).toBe('payments:1')
  })

  it('of a VirtualService and a route of one Service the older one decides; a wildcard never does', () => {
    const virtualService = (host: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments}
spec: {hosts: ["${host}"], http: [{route: [{destination: {host: v2}}]}]}
---
`
    expect(goal(routesFor(virtualService('payments') + route(`- ${to('v1')}`)), {})).toBe('v2:1')
    expect(goal(routesFor(route(`- ${to('v1')}`) + virtualService('payments')), {})).toBe('v1:1')
    expect(goal(routesFor(virtualService('*.svc.cluster.local') + route(`- ${to('v1')}`)), {})).toBe('v1:1')
  })
})

describe('backends', () => {
  it('share the calls by weight, those of weight 0 get none', () => {
    const yaml = route(
      '- backendRefs: [{name: v1, port: 80, weight: 3}, {name: v2, port: 80}, {name: v3, port: 80, weight: 0}]',
    )
    expect(goal(routesFor(yaml), {})).toBe('v1:3 v2:1')
  })

  it('may be in other namespaces', () => {
    expect(goal(routesFor(route('- backendRefs: [{name: v3, namespace: shop, port: 80}]')), {})).toBe('v3:1')
  })

  it.each(['', 'backendRefs: [{name: nobody, port: 80}]', 'backendRefs: [{name: v1, port: 80, weight: 0}]'])(
    'none that can be called is 500: %s',
    (backends) => {
      expect(goal(routesFor(route(`- matches: [{}]\n  ${backends}`)), {})).toBe('500')
    },
  )

  it('says which does not exist', () => {
    const table = routesFor(route('- matches: [{}]\n  backendRefs: [{name: nobody, port: 80}]'))
    const body = 'rule default.payments.0 has no backend: Service default/nobody does not exist'
    expect(routeOf(table, {})?.action).toEqual({ kind: 'direct', status: 500, body })
  })

  it('the share of one that does not exist is answered with 500', () => {
    const backends =
      '[{name: v1, port: 80, weight: 3}, {name: nobody, port: 80}, {group: x.io, kind: Y, name: z, weight: 4}]'
    const [failed, forwarded] = routesFor(route(`- backendRefs: ${backends}`))!.virtualHosts[0]!.routes
    expect(failed).toMatchObject({ match: { fractionPerMillion: 625_000 }, action: { kind: 'direct', status: 500 } })
    expect(failed!.decidedBy.note).toContain('Service default/nobody does not exist; Y default/z does not exist')
    expect(forwarded).toMatchObject({ match: { fractionPerMillion: null }, action: { clusterNotFoundStatus: 500 } })
    expect(goal({ name: '', virtualHosts: [{ name: '', domains: [], routes: [forwarded!] }] }, {})).toBe('v1:1')
  })
})

describe('filters', () => {
  const rewritten = (found: RouteSpec, path: string) =>
    found.rewrite?.path == null ? path : compilePathRewrite(found.rewrite.path, found.match.path)(path)

  // The table of HTTPPathModifier in the Gateway API, and its edges.
  it.each([
    ['/foo/bar', '/foo', '/xyz', '/xyz/bar'],
    ['/foo/bar', '/foo', '/xyz/', '/xyz/bar'],
    ['/foo/bar', '/foo/', '/xyz', '/xyz/bar'],
    ['/foo/bar', '/foo/', '/xyz/', '/xyz/bar'],
    ['/foo', '/foo', '/xyz', '/xyz'],
    ['/foo/', '/foo', '/xyz', '/xyz/'],
    ['/foo/bar', '/foo', '', '/bar'],
    ['/foo/', '/foo', '', '/'],
    ['/foo', '/foo', '', '/'],
    ['/foo/', '/foo', '/', '/'],
    ['/foo', '/foo', '/', '/'],
    ['/foo?a=/foo', '/foo', '/', '/?a=/foo'],
    ['/foo/bar?a=1', '/foo', '/', '/bar?a=1'],
    ['/a.b/c', '/a.b', '/', '/c'],
    ['/foo', '/', '/xyz', '/xyz/foo'],
    ['/foo', '/', '/', '/foo'],
    ['/foo/foo/x', '/foo', '/', '/foo/x'],
    ['/foo/x', '/foo', 'bar', '/bar/x'],
  ])('ReplacePrefixMatch: %s with prefix %s and replacement %s is %s', (path, prefix, replacement, expected) => {
    const modifier = `path: {type: ReplacePrefixMatch, replacePrefixMatch: "${replacement}"}`
    const matches = `- matches: [{path: {value: ${prefix}}}]`
    const rule = `${matches}\n  filters: [{type: URLRewrite, urlRewrite: {${modifier}}}]\n  ${to('v1')}`
    expect(rewritten(routeOf(routesFor(route(rule)), { path })!, path)).toBe(expected)
    const redirected = `${matches}\n  filters: [{type: RequestRedirect, requestRedirect: {${modifier}}}]`
    const found = routeOf(routesFor(route(redirected)), { path })!
    const { redirect } = found.action as Extract<RouteSpec['action'], { kind: 'redirect' }>
    expect(redirect.path === null ? path : compilePathRewrite(redirect.path, found.match.path)(path)).toBe(expected)
  })

  it('ReplaceFullPath keeps the query', () => {
    const filter =
      '{type: URLRewrite, urlRewrite: {hostname: api.internal, path: {type: ReplaceFullPath, replaceFullPath: /new}}}'
    const found = routeOf(routesFor(route(`- filters: [${filter}]\n  ${to('v1')}`)), {})!
    expect(rewritten(found, '/old/x?q=1')).toBe('/new?q=1')
    expect(found.rewrite?.authority).toBe('api.internal')
  })

  it.each([
    ['{hostname: new.example}', { status: 302, scheme: null, host: 'new.example', port: 81 }],
    ['{scheme: https}', { status: 302, scheme: 'https', host: null, port: 443 }],
    ['{scheme: http, statusCode: 301}', { status: 301, scheme: 'http', port: 80 }],
    ['{scheme: https, port: 8443, statusCode: 308}', { status: 308, port: 8443 }],
    ['{path: {type: ReplaceFullPath, replaceFullPath: /x}}', { path: { kind: 'full', value: '/x' } }],
  ])('RequestRedirect %s', (redirect, expected) => {
    const yaml = route(`- filters: [{type: RequestRedirect, requestRedirect: ${redirect}}]`)
    expect(routeOf(routesFor(yaml, frontend, 'payments:81'), {})?.action).toMatchObject({
      kind: 'redirect',
      redirect: expected,
    })
  })

  it('headers of the rule and of backends; values are no formats', () => {
    const modifier = (side: string, edits: string) =>
      `{type: ${side}HeaderModifier, ${side.toLowerCase()}HeaderModifier: ${edits}}`
    const ofRule = `${modifier('Request', '{set: [{name: X-A, value: "100%"}], remove: [x-b]}')}, ${modifier('Response', '{add: [{name: x-c, value: c}]}')}`
    const ofBackend = modifier('Request', '{set: [{name: x-a, value: backend}]}')
    const two = `- filters: [${ofRule}]\n  backendRefs: [{name: v1, port: 80, filters: [${ofBackend}]}, {name: v2, port: 80}]`
    const found = routeOf(routesFor(route(two)), {})!
    const edits = {
      request: [
        { kind: 'remove', name: 'x-b' },
        { kind: 'set', name: 'x-a', value: '100%%', keepEmpty: false },
      ],
      response: [{ kind: 'append', name: 'x-c', value: 'c', keepEmpty: false }],
    }
    const own = { kind: 'set', name: 'x-a', value: 'backend', keepEmpty: false }
    expect(found.headers).toEqual(edits)
    expect(found.action).toMatchObject({ clusters: [{ headers: { request: [own] } }, {}] })
    const one = `- filters: [${ofRule}]\n  backendRefs: [{name: v1, port: 80, filters: [${ofBackend}]}]`
    expect(routeOf(routesFor(route(one)), {})?.headers?.request).toEqual([...edits.request, own])
  })

  it('mirrors, several, by percent or fraction; one that does not exist is left out', () => {
    const mirror = (rest: string) => `{type: RequestMirror, requestMirror: {backendRef: ${rest}}}`
    const filters = [
      mirror('{name: v1, port: 80}'),
      mirror('{name: v2, port: 80}, percent: 10'),
      mirror('{name: v2, port: 81}, fraction: {numerator: 1, denominator: 8}'),
      mirror('{name: v1, port: 82}, percent: 0'),
      mirror('{name: nobody, port: 80}'),
    ]
    const found = routeOf(routesFor(route(`- filters: [${filters.join(', ')}]\n  ${to('v1')}`)), {})!
    expect(found.mirrors.map(({ cluster, perMillion }) => [cluster.split('.')[0], perMillion])).toEqual([
      ['outbound|80||v1', 1_000_000],
      ['outbound|80||v2', 100_000],
      ['outbound|81||v2', 125_000],
    ])
  })

  it('CORS', () => {
    const cors =
      '{allowOrigins: ["https://a.example", "https://*.b.example"], allowMethods: [GET, PUT], allowCredentials: true}'
    const found = routeOf(routesFor(route(`- filters: [{type: CORS, cors: ${cors}}]\n  ${to('v1')}`)), {})!
    expect(found.cors).toEqual({
      allowOrigins: [
        { kind: 'exact', value: 'https://a.example', ignoreCase: false },
        { kind: 'regex', value: 'https://[^/]*\\.b\\.example' },
      ],
      ...{ allowMethods: 'GET,PUT', allowHeaders: '', exposeHeaders: '', maxAge: '5', allowCredentials: true },
      forwardUnmatchedPreflights: false,
    })
  })
})

describe('timeouts and retries', () => {
  const found = (rest: string) => routeOf(routesFor(route(`- ${rest}\n  ${to('v1')}`)), {})!

  it('those of the mesh hold where a rule is silent', () => {
    expect(found('name: a')).toMatchObject({ timeoutMs: 5_000, timeoutUntilHeaders: true, retry: { numRetries: 3 } })
  })

  it.each([
    ['timeouts: {request: 2s}', 2_000, Number.POSITIVE_INFINITY],
    ['timeouts: {request: 0s}', Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
    ['timeouts: {request: 2s, backendRequest: 500ms}', 2_000, 500],
    ['timeouts: {backendRequest: 500ms}', 5_000, 500],
    ['timeouts: {backendRequest: 10s}', Number.POSITIVE_INFINITY, 10_000],
  ])('%s', (timeouts, timeoutMs, perTryTimeoutMs) => {
    expect(found(timeouts)).toMatchObject({ timeoutMs, retry: { perTryTimeoutMs } })
  })

  it('without retries backendRequest limits the call', () => {
    expect(found('retry: {attempts: 0}\n  timeouts: {request: 2s, backendRequest: 500ms}')).toMatchObject({
      ...{ timeoutMs: 500, timeoutUntilHeaders: false, retry: null },
    })
  })

  it('retry', () => {
    expect(found('retry: {codes: [500, 503], backoff: 100ms}').retry).toMatchObject({
      ...{ numRetries: 2, statusCodes: [500, 503], baseIntervalMs: 100 },
      retryOn: ['connect-failure', 'refused-stream', 'reset', 'cancelled', 'unavailable', 'retriable-status-codes'],
    })
  })
})

describe('GRPCRoute', () => {
  const grpc = (rules: string) => route(rules, { name: 'g', kind: 'GRPCRoute' })
  const rule = (match: string, service: string) => `- matches: [${match}]\n  ${to(service)}`

  it('matches services and methods, the longest first', () => {
    const routes = routesFor(
      grpc(
        [
          rule('{headers: [{name: x, value: "1"}]}', 'v2'),
          rule('{method: {service: pay.P}}', 'v1'),
          rule('{method: {service: pay.P, method: Charge}}', 'v2'),
          rule('{method: {method: Ping}}', 'v2'),
          rule('{method: {type: RegularExpression, service: "ord|inv", method: "Get.*"}}', 'v1'),
        ].join('\n'),
      ),
    )
    expect(goal(routes, { path: '/pay.P/Refund' })).toBe('v1:1')
    expect(goal(routes, { path: '/pay.P/Charge' })).toBe('v2:1')
    expect(goal(routes, { path: '/any.S/Ping' })).toBe('v2:1')
    expect(goal(routes, { path: '/inv/GetAll' })).toBe('v1:1')
    expect(goal(routes, { path: '/inv/Put' })).toBe('404')
    expect(goal(routes, { path: '/inv/Put', headers: [['x', '1']] })).toBe('v2:1')
  })

  it('puts HTTPRoutes of the same Service out of action; without a backend calls are UNAVAILABLE', () => {
    const routes = routesFor(route(`- ${to('v1')}`) + grpc('- matches: []'))
    expect(goal(routes, { path: '/x' })).toBe('503')
    expect(routeOf(routes, {})?.decidedBy.note).toContain('HTTPRoute/default/payments has no effect')
  })
})

describe('foreign gRPC clients', () => {
  const foreign = clientOf('frontend', { clientClass: 'grpc' })

  it('get what they understand of a route', () => {
    const rules = `- matches: [{path: {value: /pay.P}}]\n  filters: [{type: URLRewrite, urlRewrite: {hostname: x.y}}]\n  backendRefs: [{name: v1, port: 80}, {name: nobody, port: 80}]`
    const mesh = new Mesh({ yaml: route(rules), endpoints })
    const [failed, forwarded] = rawRoutes(mesh)
    expect(failed).toMatchObject({
      match: { pathSpecifier: { case: 'safeRegex', value: { regex: '/pay\\.P(?:/.*)?' } }, runtimeFraction: {} },
      action: { case: 'nonForwardingAction' },
    })
    expect(forwarded?.action).toMatchObject({
      case: 'route',
      value: { clusterSpecifier: { case: 'cluster' }, hostRewriteSpecifier: { case: undefined } },
    })
  })

  function rawRoutes(mesh: Mesh) {
    const name = 'outbound|80||payments.default.svc.cluster.local'
    const resource = mesh.translation.resolve(TypeUrl.route, name, foreign)!
    return fromBinary(RouteConfigurationSchema, fromBinary(AnySchema, resource.any).value).virtualHosts[0]!.routes
  }
})

it('objects of one revision give the same answer whatever their order in the store', () => {
  const objects = stored([
    ...objectsOf(route(`- ${to('v1')}`, { name: 'a' })),
    ...objectsOf(route(`- ${to('v2')}`, { name: 'b' })),
  ])
  for (const list of [objects, objects.toReversed()])
    expect(goal(new Mesh({ objects: list, endpoints }).routes('payments', frontend), {})).toBe('v1:1')
})
