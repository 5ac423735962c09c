import { fromBinary } from '@bufbuild/protobuf'
import { AnySchema, anyUnpack } from '@bufbuild/protobuf/wkt'
import { describe, expect, it } from 'vitest'
import { Cluster_LbPolicy, ClusterSchema } from '../../src/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../src/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../src/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../src/gen/envoy/config/route/v3/route_pb.js'
import { HttpConnectionManagerSchema } from '../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../src/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { TypeUrl } from '../../src/xds/proto.ts'
import { retryFor } from './class.ts'
import { splitOf } from './testing/decide.ts'
import { clientOf, endpointOf, Mesh, objectsOf } from './testing/mesh.ts'
import type { ClientClass } from './types.ts'

const foreign = ['grpc', 'grpc-js'] as const
const clientIn = (clientClass: ClientClass, labels = {}) => clientOf('frontend', { clientClass, labels })
const host = 'payments.default.svc.cluster.local'
const endpoints = [
  endpointOf('payments v1 10.0.0.1'),
  endpointOf('payments v2 10.0.0.2', { locality: 'eu/a', health: 'DRAINING' }),
]

const virtualService = (http: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments}
spec: {hosts: [payments], http: [${http}]}
---
`
const destinationRule = (policy: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payments}
spec: {host: payments, trafficPolicy: {${policy}}}
---
`
const to = 'route: [{destination: {host: payments}}]'

function raw(mesh: Mesh, typeUrl: string, name: string, clientClass: ClientClass) {
  const resource = mesh.translation.resolve(typeUrl, name, clientIn(clientClass))
  if (resource === undefined) throw new Error(`no ${name}`)
  return fromBinary(AnySchema, resource.any)
}

const routesOf = (mesh: Mesh, clientClass: ClientClass) =>
  anyUnpack(raw(mesh, TypeUrl.route, `outbound|80||${host}`, clientClass), RouteConfigurationSchema)!.virtualHosts[0]!
    .routes
const clusterOf = (mesh: Mesh, clientClass: ClientClass) =>
  anyUnpack(raw(mesh, TypeUrl.cluster, `outbound|80||${host}`, clientClass), ClusterSchema)!

describe.each(foreign)('what %s is given', (clientClass) => {
  const client = clientIn(clientClass)

  it('no listener, and no route or cluster of ours, for what nobody knows', () => {
    const mesh = new Mesh({ endpoints })
    expect(mesh.routes('example.com', client)).toBeUndefined()
    for (const [typeUrl, name] of [
      [TypeUrl.route, 'allow_any'],
      [TypeUrl.cluster, 'PassthroughCluster'],
      [TypeUrl.secret, 'ROOTCA'],
      [TypeUrl.route, 'outbound|80||ghost.default.svc.cluster.local'],
    ] as const)
      expect(mesh.translation.resolve(typeUrl, name, client), name).toBeUndefined()
  })

  it('the cluster of a rule that has gone, and the same as before, only where the client keeps what was deleted', () => {
    const yaml = virtualService('{route: [{destination: {host: later}}]}')
    const resolve = (mesh: Mesh, typeUrl: string) =>
      mesh.translation.resolve(typeUrl, 'outbound|80||later.default.svc.cluster.local', client)
    for (const typeUrl of [TypeUrl.cluster, TypeUrl.endpoints]) {
      const before = resolve(new Mesh({ yaml, endpoints }), typeUrl)
      expect(before).toBeDefined()
      const after = resolve(new Mesh({ endpoints }), typeUrl)
      expect(after?.version).toBe(clientClass === 'grpc-js' ? before?.version : undefined)
    }
  })

  it('api_listener with the fault filter and the router', () => {
    const listener = anyUnpack(
      raw(new Mesh({ endpoints }), TypeUrl.listener, 'payments:8080', clientClass),
      ListenerSchema,
    )!
    const manager = anyUnpack(listener.apiListener!.apiListener!, HttpConnectionManagerSchema)!
    expect(manager.httpFilters.map((f) => f.name)).toEqual(['envoy.filters.http.fault', 'envoy.filters.http.router'])
    expect(manager.xffNumTrustedHops).toBe(0)
    expect(listener.address).toBeUndefined()
  })

  it('a listener that is new bytes after it was gone, where the client keeps what was deleted', () => {
    const objects = objectsOf(
      `${virtualService(`{${to}}`).replace('hosts: [payments]', 'hosts: [alias.example]')}`,
      endpoints,
    )
    const version = (name: string, revision: number) => {
      const mesh = new Mesh({ objects: objects.map((object) => ({ ...object, revision })), endpoints, revision })
      return mesh.translation.resolve(TypeUrl.listener, name, client)!.version
    }
    expect(version('alias.example', 1) === version('alias.example', 2)).toBe(clientClass !== 'grpc-js')
    // A registered service never goes.
    expect(version('payments', 1)).toBe(version('payments', 2))
  })

  it('only retry conditions that gRPC knows, or no retry policy at all', () => {
    const none = routesOf(new Mesh({ endpoints }), clientClass)[0]!
    expect(none.action.case === 'route' && none.action.value.retryPolicy).toBeUndefined()
    const yaml = virtualService(
      `{${to}, retries: {attempts: 2, retryOn: "5xx,unavailable,503,cancelled", backoff: 2s}}`,
    )
    const some = routesOf(new Mesh({ yaml, endpoints }), clientClass)[0]!
    const policy = some.action.case === 'route' ? some.action.value.retryPolicy : undefined
    expect(policy).toMatchObject({ retryOn: 'unavailable,cancelled', numRetries: 2, retriableStatusCodes: [] })
    const base = policy!.retryBackOff!.baseInterval!
    expect(Number(base.seconds) * 1000 + base.nanos / 1e6).toBe(clientClass === 'grpc-js' ? 1_999 : 2_000)
  })

  it.each([
    ['', 0],
    ['timeout: 2s', 2_000],
    ['timeout: 0s', 0],
  ])('a deadline for {%s}: max_stream_duration %i, and no route timeout', (field, ms) => {
    const yaml = virtualService(`{${to}${field === '' ? '' : `, ${field}`}}`)
    const { action } = routesOf(new Mesh({ yaml, endpoints }), clientClass)[0]!
    if (action.case !== 'route') throw new Error('not a route')
    expect(action.value.timeout).toBeUndefined()
    expect(Number(action.value.maxStreamDuration?.maxStreamDuration?.seconds) * 1000).toBe(ms)
  })

  it('leaves out routes that a gRPC call can never match', () => {
    const yaml = virtualService(
      `{match: [{queryParams: {a: {exact: "1"}}}, {method: {exact: GET}}, {method: {regex: "P.*"}, uri: {prefix: /a}}], ${to}}, {${to}}`,
    )
    const routes = routesOf(new Mesh({ yaml, endpoints }), clientClass)
    expect(routes.map((r) => r.match?.pathSpecifier.value)).toEqual(['/a', '/'])
    expect(routes.every((r) => r.match?.queryParameters.length === 0 && r.match.headers.length === 0)).toBe(true)
  })

  it('says "absent or different" without treat_missing_header_as_empty or present_match: false', () => {
    const yaml = virtualService(
      `{match: [{withoutHeaders: {x-a: {exact: "1"}, x-b: {}}}], route: [{destination: {host: payments, subset: v2}}]}, {${to}}`,
    )
    const mesh = new Mesh({ yaml, endpoints })
    const headers = routesOf(mesh, clientClass).flatMap((r) => r.match?.headers ?? [])
    expect(headers.some((h) => h.treatMissingHeaderAsEmpty)).toBe(false)
    expect(headers.some((h) => h.headerMatchSpecifier.case === 'presentMatch' && !h.headerMatchSpecifier.value)).toBe(
      false,
    )
    if (clientClass === 'grpc-js') return
    const routes = mesh.routes('payments', client)
    const ask = (...sent: [string, string][]) => splitOf(routes, { headers: sent })
    expect(ask()).toBe('v2')
    expect(ask(['x-a', '2'])).toBe('v2')
    expect(ask(['x-a', '1'])).toBe('-')
    expect(ask(['x-b', ''])).toBe('-')
  })

  it('groups alternatives of a regex, so that anchors hold for all of them', () => {
    const yaml = virtualService(`{match: [{uri: {regex: "/a|/b"}, headers: {x: {regex: "c|d"}}}], ${to}}`)
    const match = routesOf(new Mesh({ yaml, endpoints }), clientClass)[0]!.match!
    expect(match.pathSpecifier).toMatchObject({ value: { regex: '(?:/a|/b)' } })
    expect(match.headers[0]?.headerMatchSpecifier).toMatchObject({
      value: { matchPattern: { value: { regex: '(?:c|d)' } } },
    })
  })

  it.each(['LEAST_REQUEST', 'RANDOM', 'ROUND_ROBIN'])('ROUND_ROBIN where a rule says %s', (simple) => {
    const yaml = destinationRule(`loadBalancer: {simple: ${simple}}`)
    expect(clusterOf(new Mesh({ yaml, endpoints }), clientClass).lbPolicy).toBe(Cluster_LbPolicy.ROUND_ROBIN)
  })

  it('every field of outlier detection written out', () => {
    const { outlierDetection } = clusterOf(
      new Mesh({ yaml: destinationRule('outlierDetection: {}'), endpoints }),
      clientClass,
    )
    for (const field of ['interval', 'baseEjectionTime', 'maxEjectionTime', 'maxEjectionPercent'] as const)
      expect(outlierDetection?.[field], field).toBeDefined()
    for (const kind of ['successRate', 'failurePercentage'] as const)
      for (const field of ['MinimumHosts', 'RequestVolume'] as const)
        expect(outlierDetection?.[`${kind}${field}`], `${kind}${field}`).toBeGreaterThan(0)
    expect(outlierDetection).toMatchObject({ successRateStdevFactor: 1900, enforcingSuccessRate: 0 })
    expect(outlierDetection).toMatchObject({ failurePercentageThreshold: 85, enforcingFailurePercentage: 0 })
  })

  it('max_requests written out, since gRPC would take 1024', () => {
    const threshold = clusterOf(new Mesh({ endpoints }), clientClass).circuitBreakers?.thresholds
    expect(threshold).toMatchObject([{ maxRequests: 4_294_967_295 }])
    const yaml = destinationRule('connectionPool: {http: {http2MaxRequests: 7}}')
    expect(clusterOf(new Mesh({ yaml, endpoints }), clientClass).circuitBreakers?.thresholds).toMatchObject([
      { maxRequests: 7 },
    ])
  })

  it('plaintext, or both generations of certificate provider instances where a rule says ISTIO_MUTUAL', () => {
    const plain = clusterOf(new Mesh({ endpoints }), clientClass)
    expect([plain.transportSocket, plain.transportSocketMatches]).toEqual([undefined, []])
    const secure = clusterOf(new Mesh({ yaml: destinationRule('tls: {mode: ISTIO_MUTUAL}'), endpoints }), clientClass)
    const config = secure.transportSocket!.configType.value!
    const { commonTlsContext: context } = anyUnpack(config, UpstreamTlsContextSchema)!
    expect(context?.tlsCertificateProviderInstance?.instanceName).toBe('default')
    expect(context?.tlsCertificateCertificateProviderInstance?.instanceName).toBe('default')
    expect(context?.tlsCertificateSdsSecretConfigs).toEqual([])
    if (context?.validationContextType.case !== 'combinedValidationContext') throw new Error('no combined context')
    const { value } = context.validationContextType
    expect(value.validationContextSdsSecretConfig).toBeUndefined()
    expect(value.defaultValidationContext?.caCertificateProviderInstance?.instanceName).toBe('default')
    expect(value.defaultValidationContext?.matchSubjectAltNames.map((m) => m.matchPattern.value)).toEqual([
      'spiffe://cluster.local/ns/default/sa/payments',
    ])
  })

  it('locality and weight on every group of endpoints, gapless priorities', () => {
    const assignment = anyUnpack(
      raw(new Mesh({ endpoints }), TypeUrl.endpoints, `outbound|80||${host}`, clientClass),
      ClusterLoadAssignmentSchema,
    )!
    expect(assignment.endpoints).toHaveLength(2)
    for (const group of assignment.endpoints) {
      expect(group.locality).toBeDefined()
      expect(group.loadBalancingWeight).toBeGreaterThan(0)
      expect(group.priority).toBe(0)
      for (const one of group.lbEndpoints) expect(one.loadBalancingWeight).toBeGreaterThan(0)
    }
  })

  it.each([
    ['PERMISSIVE', {}, false],
    ['PERMISSIVE', { 'security.istio.io/tlsMode': 'istio' }, true],
    ['STRICT', {}, true],
    ['DISABLE', { 'security.istio.io/tlsMode': 'istio' }, false],
  ])('one chain for a server under %s with labels %o: TLS %s', (mode, labels, secure) => {
    const yaml = `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {mtls: {mode: ${mode}}}`
    const mesh = new Mesh({ yaml })
    for (const name of ['srv/10.0.0.1:7070', '0.0.0.0:7070', 'xds.istio.io/grpc/lds/inbound/[::]:7070']) {
      const any = mesh.translation.resolve(TypeUrl.listener, name, clientIn(clientClass, labels))!.any
      const listener = anyUnpack(fromBinary(AnySchema, any), ListenerSchema)!
      expect(listener.name).toBe(name)
      expect(listener.address?.address).toMatchObject({ value: { portSpecifier: { value: 7070 } } })
      const [chain, ...more] = listener.filterChains
      expect(more).toEqual([])
      expect(chain?.filterChainMatch).toBeUndefined()
      const config = chain!.transportSocket?.configType.value
      expect(config !== undefined).toBe(secure)
      if (config !== undefined)
        expect(anyUnpack(config, DownstreamTlsContextSchema)).toMatchObject({ requireClientCertificate: true })
      const filter = chain!.filters[0]!.configType
      if (filter.case !== 'typedConfig') throw new Error('no typed config')
      const manager = anyUnpack(filter.value, HttpConnectionManagerSchema)!
      expect(manager.httpFilters.at(-1)?.name).toBe('envoy.filters.http.router')
      const routes =
        manager.routeSpecifier.case === 'routeConfig' ? manager.routeSpecifier.value.virtualHosts[0]!.routes : []
      expect(routes.map((r) => r.action.case)).toEqual(['nonForwardingAction'])
    }
  })

  it('the same authorization as our own servers, also where a policy allows nothing', () => {
    const yaml = 'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {}'
    const mesh = new Mesh({ yaml })
    expect(mesh.inbound('srv/10.0.0.1:80', client).rbac).toMatchObject([{ action: 'ALLOW', policies: [] }])
  })
})

describe('retryFor', () => {
  it('leaves ours alone', () => {
    const retry = {
      retryOn: ['5xx'],
      statusCodes: [503],
      attempts: 1,
      perTryTimeoutMs: 0,
      baseIntervalMs: 1_000,
      previousHosts: false,
      previousPriorities: 0,
    }
    expect(retryFor('inmesh', retry)).toBe(retry)
  })
})
