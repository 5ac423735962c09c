import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TypeUrl } from '../../src/xds/proto.ts'
import { documentOf, validateBatch } from '../resources/index.ts'
import type { EndpointRecord } from '../store/store.ts'
import { retryFloor } from './cluster.ts'
import { clientOf, endpointOf, Mesh, objectsOf, revisionOf, stored } from './testing/mesh.ts'
import { translate } from './translate.ts'
import type { ClientClass, ClientView, EncodedResource, Translation } from './types.ts'

const endpoints = [endpointOf('payments v1 10.0.0.1'), endpointOf('orders v1 10.0.1.1')]
const client = clientOf('frontend')
const host = 'payments.default.svc.cluster.local'
const yaml = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payments}
spec: {hosts: [payments], http: [{route: [{destination: {host: payments, subset: v1}}]}]}
`

/** Everything that one name leads to. */
function closure(
  translation: Translation,
  typeUrl: string,
  name: string,
  view: ClientView,
): Map<string, EncodedResource> {
  const found = new Map<string, EncodedResource>()
  const open = [{ typeUrl, name }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const key = `${next.typeUrl} ${next.name}`
    if (found.has(key)) continue
    const resource = translation.resolve(next.typeUrl, next.name, view)
    if (resource === undefined) throw new Error(`${key} is referred to and does not exist`)
    found.set(key, resource)
    open.push(...translation.references(next.typeUrl, next.name, view))
  }
  return found
}

describe('versions and bytes', () => {
  it('are the same for the same content, on every replica', () => {
    const make = () => closure(translate(revisionOf({ yaml, endpoints }), null), TypeUrl.listener, 'payments', client)
    const [one, two] = [make(), make()]
    expect([...one.keys()]).toEqual([...two.keys()])
    for (const [key, resource] of one) {
      expect(resource.version).toBe(two.get(key)?.version)
      expect(Buffer.from(resource.any).equals(two.get(key)!.any)).toBe(true)
    }
  })

  it('do not depend on the order of labels, objects or endpoints', () => {
    const labelled = (labels: Record<string, string>, address: string) =>
      endpointOf(`payments v1 ${address}`, { labels })
    const [a, b] = [
      { app: 'payments', version: 'v1', x: '1' },
      { x: '1', version: 'v1', app: 'payments' },
    ]
    const objects = objectsOf(yaml)
    const one = new Mesh({ objects, endpoints: [labelled(a, '10.0.0.1'), labelled(a, '10.0.0.2')] })
    const two = new Mesh({ objects, endpoints: [labelled(b, '10.0.0.2'), labelled(b, '10.0.0.1')] })
    const name = `outbound|80|v1|${host}`
    expect(one.translation.resolve(TypeUrl.endpoints, name, client)?.version).toBe(
      two.translation.resolve(TypeUrl.endpoints, name, client)?.version,
    )
  })

  it('stay one and the same object while nothing about a resource changes', () => {
    const objects = objectsOf(yaml)
    const before = new Mesh({ objects, endpoints })
    const all = closure(before.translation, TypeUrl.listener, 'payments', client)
    const moved = [endpointOf('payments v1 10.0.0.9'), endpoints[1]!]
    const after = new Mesh({ objects: structuredClone(objects), endpoints: moved, revision: 2 }, before)
    const changed = [...closure(after.translation, TypeUrl.listener, 'payments', client)].filter(
      ([key, resource]) => all.get(key) !== resource,
    )
    expect(changed.map(([key]) => key)).toEqual([`${TypeUrl.endpoints} outbound|80|v1|${host}`])
  })

  it('stay when an object changes that says nothing new about a resource', () => {
    const before = new Mesh({ objects: objectsOf(yaml), endpoints })
    const all = closure(before.translation, TypeUrl.listener, 'payments', client)
    const touched = objectsOf(yaml).map((o) => ({ ...o, revision: 7, labels: { new: 'label' } }))
    const after = new Mesh({ objects: touched, endpoints, revision: 2 }, before)
    for (const [key, resource] of closure(after.translation, TypeUrl.listener, 'payments', client))
      expect(all.get(key), key).toBe(resource)
  })

  it('are shared by all clients that see the same', () => {
    const { translation } = new Mesh({ yaml, endpoints })
    const [a, b] = [clientOf('a', { labels: { x: '1' } }), clientOf('b', { locality: 'eu' })]
    for (const [typeUrl, name] of [
      [TypeUrl.listener, 'payments'],
      [TypeUrl.route, `outbound|80||${host}`],
      [TypeUrl.cluster, `outbound|80|v1|${host}`],
      [TypeUrl.endpoints, `outbound|80|v1|${host}`],
    ] as const)
      expect(translation.resolve(typeUrl, name, a), name).toBe(translation.resolve(typeUrl, name, b))
  })

  it('differ where a rule tells callers apart', () => {
    const { translation } = new Mesh({
      yaml: yaml.replace('route:', 'match: [{sourceLabels: {team: a}}], route:'),
      endpoints,
    })
    const of = (labels: Record<string, string>) =>
      translation.resolve(TypeUrl.route, `outbound|80||${host}`, clientOf('x', { labels }))
    expect(of({ team: 'a' })?.version).not.toBe(of({ team: 'b' })?.version)
    expect(of({ team: 'b' })).toBe(of({}))
  })

  it('an earlier translation still answers for its own revision', () => {
    const before = new Mesh({ endpoints })
    const name = `outbound|80||${host}`
    const after = new Mesh({ endpoints: [], services: ['payments'], revision: 2 }, before)
    expect(after.endpoints(name, client)).toEqual([])
    expect(before.endpoints(name, client)).toHaveLength(1)
  })
})

describe('references', () => {
  it('lead from listener to route, clusters, endpoints and trust bundles', () => {
    const { translation } = new Mesh({ yaml, endpoints })
    const names = [...closure(translation, TypeUrl.listener, 'payments:8080', client).keys()]
    expect(names.map((key) => key.replace('type.googleapis.com/envoy.', ''))).toEqual([
      'config.listener.v3.Listener payments:8080',
      `config.route.v3.RouteConfiguration outbound|8080||${host}`,
      `config.cluster.v3.Cluster outbound|8080|v1|${host}`,
      'extensions.transport_sockets.tls.v3.Secret ROOTCA',
      `config.endpoint.v3.ClusterLoadAssignment outbound|8080|v1|${host}`,
    ])
    expect(translation.references(TypeUrl.listener, 'inmesh/inbound/10.0.0.1:8080', client)).toEqual([
      { typeUrl: TypeUrl.secret, name: 'ROOTCA' },
    ])
    expect(translation.references(TypeUrl.cluster, 'no such thing', client)).toEqual([])
  })

  it('keep apart what only looks like a name', () => {
    const { translation } = new Mesh({ endpoints })
    for (const name of [
      'outbound|0||x',
      'outbound|80|',
      `outbound|99999||${host}`,
      `inbound|80||${host}`,
      `outbound|080||${host}`,
      `outbound|80|a b|${host}`,
    ])
      for (const typeUrl of Object.values(TypeUrl)) {
        if (typeUrl === TypeUrl.listener) continue
        expect(translation.resolve(typeUrl, name, client), name).toBeUndefined()
      }
    expect(translation.resolve('type.googleapis.com/unknown', 'payments', client)).toBeUndefined()
  })
})

describe('retryFloor', () => {
  it.each([
    [0, 10],
    [1, 10],
    [2, 2.5],
    [4, 2.5],
    [5, 0.625],
    [16, 0.625],
    [17, 0.15625],
    [1_000, 0.1],
  ])('%i processes: %f a second', (instances, floor) => {
    expect(retryFloor(instances)).toBe(floor)
  })
})

describe('the translation of anything that is admitted', () => {
  const pick = <T>(...values: T[]) => fc.constantFrom(...values)
  const service = pick('payments', 'orders', 'ghost')
  const hostName = pick(
    'payments',
    'orders',
    'ghost',
    host,
    'payments.shop.svc.cluster.local',
    '*.cluster.local',
    'api.example.com',
  )
  const target = hostName.filter((h) => !h.startsWith('*'))
  const namespace = pick('default', 'shop', 'istio-system')
  const labels = fc.dictionary(pick('app', 'version', 'team'), pick('payments', 'v1', 'v2', 'a'), { maxKeys: 2 })
  const text = fc.string({ maxLength: 8 })
  const anyMatch = fc.oneof(
    fc.record({ exact: text }),
    fc.record({ prefix: text }),
    fc.record({ regex: pick('a|b', '.*', '[a-z]+', '(?i)x', '*', '(') }),
    fc.constant({}),
  )
  const optional = <T extends Record<string, fc.Arbitrary<unknown>>>(fields: T) =>
    fc.record(fields, { requiredKeys: [] })
  const number = fc.integer({ min: 0, max: 200 })
  const time = pick('0s', '5ms', '2s', '1m')
  const httpMatch = optional({
    ...{ uri: anyMatch, method: anyMatch, authority: anyMatch, ignoreUriCase: fc.boolean() },
    headers: fc.dictionary(pick('x-a', 'X-B'), anyMatch, { maxKeys: 2 }),
    withoutHeaders: fc.dictionary(pick('x-a', 'x-c'), anyMatch, { maxKeys: 3 }),
    queryParams: fc.dictionary(pick('q', 'r'), anyMatch, { maxKeys: 1 }),
    ...{
      port: pick(80, 8080),
      sourceLabels: labels,
      sourceNamespace: namespace,
      gateways: fc.array(pick('mesh', 'g')),
    },
  })
  const destination = fc.record(
    { host: target, subset: pick('v1', 'v2', 'odd'), port: fc.record({ number: pick(80, 9000) }) },
    { requiredKeys: ['host'] },
  )
  const http = fc.record(
    {
      route: fc.array(fc.record({ destination, weight: number }, { requiredKeys: ['destination'] }), {
        minLength: 1,
        maxLength: 3,
      }),
      ...{ match: fc.array(httpMatch, { maxLength: 2 }), timeout: time, name: text },
      retries: optional({
        attempts: number,
        perTryTimeout: time,
        retryOn: pick('5xx', '503', 'unavailable,reset'),
        backoff: time,
      }),
    },
    { requiredKeys: ['route'] },
  )
  const blocks = {
    loadBalancer: optional({ simple: pick('RANDOM', 'LEAST_REQUEST', 'ROUND_ROBIN', 'UNSPECIFIED') }),
    connectionPool: optional({
      tcp: optional({ maxConnections: number, connectTimeout: time, idleTimeout: time }),
      http: optional({
        http1MaxPendingRequests: number,
        http2MaxRequests: number,
        maxRequestsPerConnection: number,
        maxRetries: number,
      }),
    }),
    outlierDetection: optional({
      consecutive5xxErrors: number,
      interval: time,
      baseEjectionTime: time,
      maxEjectionPercent: number,
    }),
    tls: optional({ mode: pick('DISABLE', 'ISTIO_MUTUAL') }),
    retryBudget: optional({ percent: number, minRetryConcurrency: number }),
  }
  const trafficPolicy = optional({
    ...blocks,
    portLevelSettings: fc.array(
      fc.record({ ...blocks, port: fc.record({ number: pick(80, 8080) }) }, { requiredKeys: ['port'] }),
      { maxLength: 1 },
    ),
  })
  const value = pick(
    '*',
    'a*',
    '*b',
    'cluster.local/ns/default/sa/x',
    '/x/{*}',
    '/{**}',
    '10.0.0.0/8',
    '80',
    'GET',
    'x/y',
    'f.o+o',
  )
  const values = fc.array(value, { minLength: 1, maxLength: 2 })
  const pair = (...names: string[]) =>
    optional(
      Object.fromEntries(
        names.flatMap((n) => [
          [n, values],
          [`not${n[0]!.toUpperCase()}${n.slice(1)}`, values],
        ]),
      ),
    )
  const authorization = optional({
    action: pick('ALLOW', 'DENY'),
    selector: fc.record({ matchLabels: labels }),
    rules: fc.array(
      optional({
        from: fc.array(
          fc.record({ source: pair('principals', 'namespaces', 'ipBlocks', 'trustDomains', 'serviceAccounts') }),
          { minLength: 1, maxLength: 2 },
        ),
        to: fc.array(fc.record({ operation: pair('hosts', 'ports', 'methods', 'paths') }), {
          minLength: 1,
          maxLength: 2,
        }),
        when: fc.array(
          fc.record({ key: pick('request.headers[x]', 'source.ip', 'destination.port', 'source.namespace'), values }),
          { maxLength: 1 },
        ),
      }),
      { maxLength: 2 },
    ),
  })
  const document = (apiVersion: string, kind: string, spec: fc.Arbitrary<unknown>) =>
    fc.record({
      apiVersion: fc.constant(apiVersion),
      kind: fc.constant(kind),
      metadata: fc.record({ name: pick('a', 'b', 'c', 'd'), namespace }),
      spec,
    })
  const anyDocument = fc.oneof(
    document(
      'networking.istio.io/v1',
      'VirtualService',
      fc.record({ hosts: fc.array(hostName, { minLength: 1, maxLength: 2 }), http: fc.array(http, { maxLength: 3 }) }),
    ),
    document(
      'networking.istio.io/v1',
      'DestinationRule',
      fc.record(
        {
          host: hostName,
          trafficPolicy,
          subsets: fc.array(fc.record({ name: pick('v1', 'odd'), labels, trafficPolicy }), { maxLength: 2 }),
        },
        { requiredKeys: ['host'] },
      ),
    ),
    document('security.istio.io/v1', 'AuthorizationPolicy', authorization),
    document(
      'security.istio.io/v1',
      'PeerAuthentication',
      optional({
        mtls: optional({ mode: pick('STRICT', 'DISABLE', 'UNSET', 'PERMISSIVE') }),
        selector: fc.record({ matchLabels: labels }),
      }),
    ),
    document(
      'inmesh.dev/v1',
      'ServicePolicy',
      fc.record(
        { service, retryAttempts: number, timeoutMs: number, cbThreshold: number, cbWindowSec: number },
        { requiredKeys: ['service'] },
      ),
    ),
    document(
      'inmesh.dev/v1',
      'TrafficSplit',
      fc.record(
        {
          destinationService: service,
          sourceService: service,
          v1Weight: number,
          v2Weight: number,
          headerMatch: fc.dictionary(pick('x-a', 'x-b'), text),
        },
        { requiredKeys: ['destinationService'] },
      ),
    ),
  )
  const endpoint: fc.Arbitrary<EndpointRecord> = fc
    .record({
      service: pick('payments', 'orders'),
      namespace,
      version: pick('v1', 'v2'),
      n: fc.integer({ min: 1, max: 250 }),
    })
    .chain(({ service: s, namespace: ns, version, n }) =>
      fc.record({
        ...{ service: fc.constant(s), namespace: fc.constant(ns), address: fc.constant(`10.0.0.${n}`) },
        ...{ port: pick(80, 8080), labels: fc.constant({ app: s, version }), locality: pick('', 'eu', 'eu/a/b/c') },
        ...{ weight: pick(0, 1, 5, 2 ** 31), spiffeId: fc.constant(`spiffe://cluster.local/ns/${ns}/sa/${s}`) },
        ...{
          health: pick('HEALTHY' as const, 'UNHEALTHY' as const, 'DRAINING' as const),
          instanceId: fc.constant(`i${n}`),
        },
      }),
    )
  const uniqueEndpoints = fc.uniqueArray(endpoint, {
    maxLength: 6,
    selector: (e) => `${e.service} ${e.namespace} ${e.address} ${e.port}`,
  })

  it('never fails, every reference leads somewhere, and our client reads all of it', () => {
    let admitted = 0
    fc.assert(
      fc.property(
        fc.array(anyDocument, { maxLength: 4 }),
        uniqueEndpoints,
        pick<ClientClass>('inmesh', 'grpc', 'grpc-js'),
        namespace,
        (documents, found, clientClass, ns) => {
          // Each document on its own, so that one that is refused does not take the others with it.
          const objects = documents.flatMap(
            (one) => validateBatch([documentOf(one)], { objects: [], endpoints: found, services: [] }).objects,
          )
          admitted += objects.length
          const view = clientOf(`frontend.${ns}`, { clientClass, labels: { version: 'v1', team: 'a' } })
          const mesh = new Mesh({ objects: stored(objects), endpoints: found, services: ['payments'] })
          for (const name of [
            'payments',
            'orders:8080',
            'api.example.com',
            'ghost',
            'payments.shop',
            'example.org',
            'x/10.0.0.1:8080',
            'inmesh/inbound/10.0.0.1:8080',
          ]) {
            if (mesh.translation.resolve(TypeUrl.listener, name, view) === undefined) continue
            for (const resource of closure(mesh.translation, TypeUrl.listener, name, view).values())
              if (resource.typeUrl !== TypeUrl.secret) mesh.decode(resource.typeUrl, resource.name, view)
          }
        },
      ),
      { numRuns: 300 },
    )
    expect(admitted).toBeGreaterThan(200)
  })
})
