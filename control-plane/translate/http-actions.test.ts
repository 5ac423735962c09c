import { describe, expect, it } from 'vitest'
import type { RouteSpec } from '../../src/model/route.ts'
import { routeOf, splitOf } from './testing/decide.ts'
import { clientOf, endpointOf, Mesh } from './testing/mesh.ts'

// From YAML through xDS to what the data plane works with.

const endpoints = [
  endpointOf('payments v1 10.0.0.1'),
  endpointOf('payments v2 10.0.0.2'),
  endpointOf('audit v1 10.0.2.1'),
]
const frontend = clientOf('frontend')

interface Shape {
  hosts?: string
  name?: string
  namespace?: string
  spec?: string
}

function virtualService(
  http: string,
  { hosts = '[payments]', name = 'payments', namespace = 'default', spec = '' }: Shape = {},
): string {
  return `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  hosts: ${hosts}
${spec.replace(/^/gm, '  ')}
  http:
${http.replace(/^/gm, '  ')}
---
`
}
const route = 'route: [{destination: {host: payments}}]'
const meshOf = (yaml: string) => new Mesh({ yaml, endpoints })
const routesOf = (yaml: string, client = frontend) => meshOf(yaml).routes('payments', client)!.virtualHosts[0]!.routes
const first = (http: string): RouteSpec => routesOf(virtualService(http))[0]!

describe('actions of a VirtualService', () => {
  it('redirects', () => {
    const { action } = first('- redirect: {uri: /new, authority: other.example, scheme: https, redirectCode: 308}')
    expect(action).toEqual({
      kind: 'redirect',
      redirect: {
        status: 308,
        scheme: 'https',
        host: 'other.example',
        port: null,
        path: { kind: 'full', value: '/new' },
        stripQuery: false,
      },
    })
    const derived = first('- redirect: {scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}').action
    expect(derived).toMatchObject({ redirect: { status: 301, port: 443, path: null } })
    const dialled = virtualService('- redirect: {authority: x, derivePort: FROM_REQUEST_PORT}')
    expect(meshOf(dialled).routes('payments:8443', frontend)!.virtualHosts[0]!.routes[0]!.action).toMatchObject({
      redirect: { host: 'x', port: 8443 },
    })
    expect(first('- redirect: {authority: x, port: 8080}').action).toMatchObject({
      redirect: { port: 8080, scheme: null },
    })
  })

  it('answers by itself', () => {
    expect(first('- directResponse: {status: 418, body: {string: "teapot"}}').action).toEqual({
      kind: 'direct',
      status: 418,
      body: 'teapot',
    })
    expect(first('- directResponse: {status: 204}').action).toEqual({ kind: 'direct', status: 204, body: '' })
    expect(first('- directResponse: {status: 200, body: {bytes: aGk=}}').action).toMatchObject({ body: 'hi' })
  })

  it('rewrites path and authority, however the authority is written', () => {
    expect(first(`- match: [{uri: {prefix: /old}}]\n  rewrite: {uri: /new, authority: a}\n  ${route}`).rewrite).toEqual(
      {
        path: { kind: 'prefix', value: '/new' },
        authority: 'a',
      },
    )
    expect(first(`- rewrite: {uriRegexRewrite: {match: "/v(\\\\d+)", rewrite: "/api/\\\\\\\\1"}}\n  ${route}`).rewrite)
      .toBeNull
    expect(first(`- headers: {request: {set: {":authority": b}}}\n  ${route}`).rewrite).toEqual({
      path: null,
      authority: 'b',
    })
    expect(first(`- headers: {request: {add: {host: c}}}\n  ${route}`)).toMatchObject({
      rewrite: { authority: 'c' },
      headers: null,
    })
    expect(
      first('- route: [{destination: {host: payments}, headers: {request: {set: {Host: d}}}}]').rewrite?.authority,
    ).toBe('d')
  })

  it('rewrites by a regex with groups', () => {
    const yaml = `- rewrite: {uriRegexRewrite: {match: '/v(\\d+)', rewrite: '/api/\\1'}}\n  ${route}`
    expect(first(yaml).rewrite?.path).toEqual({ kind: 'regex', pattern: '/v(\\d+)', substitution: '/api/\\1' })
  })

  it('edits headers: of one destination after the route’s, of several before them', () => {
    const edit = (value: string) =>
      `{request: {set: {x-e: ${value}}, add: {x-a: ${value}}, remove: [X-R]}, response: {set: {y: ${value}}}}`
    const level = (value: string) => [
      { kind: 'remove', name: 'x-r' },
      { kind: 'set', name: 'x-e', value, keepEmpty: false },
      { kind: 'append', name: 'x-a', value, keepEmpty: false },
    ]
    const one = first(`- headers: ${edit('r')}\n  route: [{destination: {host: payments}, headers: ${edit('d')}}]`)
    // Within one level of xDS removals come first and values that are set before those that are added.
    expect(one.headers?.request.map((e) => (e.kind === 'remove' ? e.name : `${e.kind} ${e.value}`))).toEqual([
      'x-r',
      'x-r',
      'set r',
      'set d',
      'append r',
      'append d',
    ])
    const several = first(
      `- headers: ${edit('r')}\n  route: [{destination: {host: payments, subset: v1}, weight: 1, headers: ${edit('d')}}, {destination: {host: payments, subset: v2}, weight: 1}]`,
    )
    expect(several.headers?.request).toEqual(level('r'))
    if (several.action.kind !== 'forward') throw new Error(several.action.kind)
    expect(several.action.clusters.map((c) => c.headers?.request)).toEqual([level('d'), undefined])
  })

  it('injects faults', () => {
    const fault = (text: string) => first(`- fault: ${text}\n  ${route}`).fault
    expect(
      fault('{delay: {fixedDelay: 100ms, percentage: {value: 0.1}}, abort: {httpStatus: 500, percentage: {value: 5}}}'),
    ).toEqual({
      delay: { ms: 100, perMillion: 1_000 },
      abort: { how: { kind: 'http', status: 500 }, perMillion: 50_000 },
      headers: [],
      maxActive: Number.POSITIVE_INFINITY,
    })
    expect(fault('{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}')?.abort).toEqual({
      how: { kind: 'grpc', code: 14 },
      perMillion: 1_000_000,
    })
    expect(fault('{delay: {fixedDelay: 1s, percent: 7}}')?.delay).toEqual({ ms: 1_000, perMillion: 70_000 })
    // Istio: no percentage is 0 %.
    expect(fault('{abort: {httpStatus: 500}}')).toBeNull()
  })

  it('injects faults between a pair of services only', () => {
    const http = `- match: [{sourceLabels: {app: frontend}}]\n  fault: {abort: {httpStatus: 500, percentage: {value: 5}}}\n  ${route}\n- ${route}`
    expect(routesOf(virtualService(http), clientOf('frontend'))[0]?.fault?.abort?.perMillion).toBe(50_000)
    expect(routesOf(virtualService(http), clientOf('batch'))[0]?.fault).toBeNull()
  })

  it('mirrors, all calls unless a share is named', () => {
    const mirrors = (text: string) =>
      first(`- ${route}\n  ${text}`).mirrors.map(
        (m) => `${m.cluster.split('|')[3]!.split('.')[0]}/${m.cluster.split('|')[2]} ${m.perMillion}`,
      )
    expect(mirrors('mirror: {host: audit}')).toEqual(['audit/ 1000000'])
    expect(mirrors('mirror: {host: audit, subset: v1}\n  mirrorPercentage: {value: 2.5}')).toEqual(['audit/v1 25000'])
    expect(mirrors('mirror: {host: audit}\n  mirrorPercent: 10')).toEqual(['audit/ 100000'])
    expect(mirrors('mirror: {host: audit}\n  mirror_percent: 20')).toEqual(['audit/ 200000'])
    expect(mirrors('mirror: {host: audit}\n  mirrorPercentage: {value: 0}')).toEqual([])
    expect(
      mirrors('mirrors: [{destination: {host: audit}, percentage: {value: 1}}, {destination: {host: payments}}]'),
    ).toEqual(['audit/ 10000', 'payments/ 1000000'])
  })

  it('has rules for other origins', () => {
    const cors = first(
      `- corsPolicy: {allowOrigins: [{regex: "https://.*"}], allowOrigin: [https://old], allowMethods: [GET, POST], allowHeaders: [X-A], exposeHeaders: [x-b], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}\n  ${route}`,
    ).cors
    expect(cors).toEqual({
      allowOrigins: [
        { kind: 'regex', value: 'https://.*' },
        { kind: 'exact', value: 'https://old', ignoreCase: false },
      ],
      allowMethods: 'GET,POST',
      allowHeaders: 'x-a',
      exposeHeaders: 'x-b',
      maxAge: '86400',
      allowCredentials: true,
      forwardUnmatchedPreflights: false,
    })
    expect(first(`- corsPolicy: {}\n  ${route}`).cors?.forwardUnmatchedPreflights).toBe(true)
  })

  it('retries elsewhere, at once or in other localities', () => {
    const retry = (text: string) => first(`- retries: {attempts: 2, retryOn: 5xx${text}}\n  ${route}`).retry
    expect(retry('')).toMatchObject({ avoidPreviousHosts: true, previousPrioritiesFrequency: null })
    expect(retry(', retryIgnorePreviousHosts: false')?.avoidPreviousHosts).toBe(false)
    expect(retry(', retryRemoteLocalities: true')?.previousPrioritiesFrequency).toBe(2)
  })

  it('knows no scheme but http', () => {
    const http = `- match: [{scheme: {exact: https}}]\n  redirect: {uri: /x}\n- match: [{scheme: {prefix: http}}]\n  ${route}`
    expect(routesOf(virtualService(http)).map((r) => r.action.kind)).toEqual(['forward'])
  })
})

describe('for clients of gRPC', () => {
  const grpc = (clientClass: 'grpc' | 'grpc-js') => clientOf('frontend', { clientClass })
  it.each(['grpc', 'grpc-js'] as const)('%s: faults stay, what gRPC cannot do fails or is left out', (clientClass) => {
    const http = `- match: [{uri: {prefix: /r}}]\n  redirect: {uri: /x}\n- fault: {abort: {grpcStatus: INTERNAL, percentage: {value: 100}}}\n  mirror: {host: audit}\n  headers: {request: {set: {x: y}}}\n  ${route}`
    const [redirected, other] = meshOf(virtualService(http)).routes('payments', grpc(clientClass))!.virtualHosts[0]!
      .routes
    expect(redirected?.action).toMatchObject({ kind: 'direct', status: 503 })
    expect(other?.fault?.abort?.how).toEqual({ kind: 'grpc', code: 13 })
    expect([other?.mirrors, other?.headers]).toEqual([[], null])
  })
})

describe('exportTo', () => {
  const toVersion = (subset: string) =>
    `- route: [{destination: {host: payments.default.svc.cluster.local, subset: ${subset}}}]`
  const fqdn = '[payments.default.svc.cluster.local]'
  const split = (yaml: string, namespace: string) =>
    splitOf(meshOf(yaml).routes('payments.default.svc.cluster.local', clientOf('web', { namespace })))

  it('decides who sees rules: private before exported before public, the oldest of each', () => {
    const yaml =
      virtualService(toVersion('v1'), { hosts: fqdn, name: 'public' }) +
      virtualService(toVersion('v2'), { hosts: fqdn, name: 'for-shop', spec: 'exportTo: [shop]' }) +
      virtualService(toVersion('v3'), { hosts: fqdn, name: 'own', namespace: 'shop', spec: 'exportTo: ["."]' })
    expect(split(yaml, 'default')).toBe('v1')
    expect(split(yaml, 'shop')).toBe('v3')
    expect(split(yaml.replace('namespace: shop', 'namespace: other'), 'shop')).toBe('v2')
  })

  it('"~" hides from all', () => {
    expect(split(virtualService(toVersion('v1'), { hosts: fqdn, spec: 'exportTo: ["~"]' }), 'default')).toBe('-')
  })
})

describe('delegates', () => {
  const root = virtualService(
    '- match: [{uri: {prefix: /pay}}]\n  delegate: {name: pay, namespace: team}\n  timeout: 3s\n- route: [{destination: {host: payments}}]',
  )
  const delegate = (http: string, spec = '') =>
    virtualService(http, { hosts: '[]', name: 'pay', namespace: 'team', spec })
  const of = (yaml: string) => meshOf(yaml).routes('payments', frontend)
  const there = 'route: [{destination: {host: payments.default.svc.cluster.local, subset: v2}}]'

  it('take the place of the rule: both conditions hold, the rest is inherited', () => {
    const table = of(
      root + delegate(`- match: [{uri: {prefix: /pay/fast}}]\n  name: fast\n  ${there}\n- timeout: 1s\n  ${there}`),
    )
    expect(splitOf(table, { path: '/pay/fast/1' })).toBe('v2')
    expect(routeOf(table, { path: '/pay/fast/1' })?.timeoutMs).toBe(3_000)
    expect(routeOf(table, { path: '/pay/slow' })?.timeoutMs).toBe(1_000)
    expect(splitOf(table, { path: '/other' })).toBe('-')
  })

  it('whose conditions contradict the root’s are left out', () => {
    expect(splitOf(of(root + delegate(`- match: [{uri: {prefix: /other}}]\n  ${there}`)), { path: '/pay' })).toBe('-')
    expect(splitOf(of(root + delegate(`- match: [{uri: {regex: /pay.*}}]\n  ${there}`)), { path: '/pay' })).toBe('-')
  })

  it('that do not exist, or are not visible, are left out', () => {
    expect(splitOf(of(root), { path: '/pay' })).toBe('-')
    expect(splitOf(of(root + delegate(`- ${there}`, 'exportTo: ["."]')), { path: '/pay' })).toBe('-')
  })
})
