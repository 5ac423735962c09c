import { describe, expect, it } from 'vitest'
import type { ClusterSpec } from '../../src/model/cluster.ts'
import { TypeUrl } from '../../src/xds/proto.ts'
import { clientOf, endpointOf, Mesh } from './testing/mesh.ts'
import type { ClientClass } from './types.ts'

/** From YAML over translation and the data plane's own decoders to what its engine gets. */

const host = 'payments.default.svc.cluster.local'
const cluster = `outbound|80||${host}`

function rule(spec: string, name = 'payments', namespace = 'default'): string {
  return `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name}, namespace: ${namespace} }
spec: { ${spec} }
---
`
}
const policy = (blocks: string) => rule(`host: payments, trafficPolicy: { ${blocks} }`)
const failing = 'outlierDetection: {}'

const places = ['us/east/a', 'us/east/b', 'us/west/a', 'eu/west/a', 'asia/south/a']
const endpoints = places.map((locality, i) =>
  endpointOf(`payments v${i} 10.0.0.${i + 1}`, { locality, labels: { app: 'payments', version: `v${i}` } }),
)
const meshOf = (yaml: string) => new Mesh({ yaml, endpoints })
const at = (locality: string, labels: Record<string, string> = {}) => clientOf('orders', { locality, labels })
const specOf = (yaml: string, client = at('')): ClusterSpec => meshOf(yaml).cluster(cluster, client)!

/** "us/east/a:0 us/west/a:1": priority by locality. */
const prioritiesOf = (mesh: Mesh, client: ReturnType<typeof at>) =>
  Object.fromEntries(mesh.endpoints(cluster, client)!.map((e) => [e.locality, e.priority]))

describe('localities', () => {
  it('make no difference, to any client, unless somebody asks', () => {
    const mesh = meshOf('')
    const bytes = (place: string) => mesh.translation.resolve(TypeUrl.endpoints, cluster, at(place))
    expect(new Set(Object.values(prioritiesOf(mesh, at('us/east/a'))))).toEqual(new Set([0]))
    expect(bytes('us/east/a')).toBe(bytes('eu/west/a'))
    const off = meshOf(policy(`${failing}, loadBalancer: { localityLbSetting: { enabled: false } }`))
    expect(new Set(Object.values(prioritiesOf(off, at('us/east/a'))))).toEqual(new Set([0]))
  })

  it('near ones come first with outlier detection, each client by its own place', () => {
    const mesh = meshOf(policy(failing))
    const near = { 'us/east/a': 0, 'us/east/b': 1, 'us/west/a': 2, 'eu/west/a': 3, 'asia/south/a': 3 }
    expect(prioritiesOf(mesh, at('us/east/a'))).toEqual(near)
    expect(prioritiesOf(mesh, at('eu/west/a'))).toEqual({
      ...{ 'eu/west/a': 0, 'us/east/a': 1, 'us/east/b': 1, 'us/west/a': 1, 'asia/south/a': 1 },
    })
    // Nobody is near: all are alike.
    expect(new Set(Object.values(prioritiesOf(mesh, at('mars'))))).toEqual(new Set([0]))
  })

  it('failover names the region that comes next', () => {
    const mesh = meshOf(
      policy(`${failing}, loadBalancer: { localityLbSetting: { failover: [{ from: us, to: asia }] } }`),
    )
    expect(prioritiesOf(mesh, at('us/west/a'))).toEqual({
      ...{ 'us/west/a': 0, 'us/east/a': 1, 'us/east/b': 1, 'asia/south/a': 2, 'eu/west/a': 3 },
    })
    expect(prioritiesOf(mesh, at('eu/west/a'))['asia/south/a']).toBe(1)
  })

  it('failoverPriority goes by labels of the caller, the first difference counts', () => {
    const setting = 'failoverPriority: ["topology.kubernetes.io/region", "version=v1"]'
    const mesh = meshOf(policy(`${failing}, loadBalancer: { localityLbSetting: { ${setting} } }`))
    expect(prioritiesOf(mesh, at('us/east/a'))).toEqual({
      ...{ 'us/east/b': 0, 'us/east/a': 1, 'us/west/a': 1, 'eu/west/a': 2, 'asia/south/a': 2 },
    })
    const other = meshOf(policy(`${failing}, loadBalancer: { localityLbSetting: { failoverPriority: [version] } }`))
    expect(prioritiesOf(other, at('us/east/a', { version: 'v4' }))['asia/south/a']).toBe(0)
    expect(prioritiesOf(other, at('us/east/a', { version: 'v3' }))).toMatchObject({ 'eu/west/a': 0, 'asia/south/a': 1 })
  })

  it('distribute gives fixed shares, whatever outlier detection says; who is not named gets nothing', () => {
    const to = '{ us/east/*: 60, us/east/b: 10, eu: 30 }'
    const yaml = policy(`loadBalancer: { localityLbSetting: { distribute: [{ from: us/*, to: ${to} }] } }`)
    const spec = specOf(yaml, at('us/west/a'))
    expect(spec.priorities.locality).toBe('weighted')
    const weights = Object.fromEntries(spec.endpoints.map((e) => [e.locality, e.localityWeight!]))
    expect(Object.keys(weights).sort()).toEqual(['eu/west/a', 'us/east/a', 'us/east/b'])
    const sum = Object.values(weights).reduce((a, b) => a + b, 0)
    expect(weights['us/east/a']! / sum).toBeCloseTo(0.6)
    expect(weights['us/east/b']! / sum).toBeCloseTo(0.1)
    expect(weights['eu/west/a']! / sum).toBeCloseTo(0.3)
    const elsewhere = specOf(yaml, at('asia/south/a'))
    expect(elsewhere.priorities.locality).toBe('none')
    expect(elsewhere.endpoints).toHaveLength(5)
  })

  it('of the whole mesh count where a rule has none', () => {
    const mesh = `
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
spec: { localityLbSetting: { failover: [{ from: us, to: eu }] } }
---
`
    const found = meshOf(mesh + policy(failing))
    expect(prioritiesOf(found, at('us/east/a'))).toMatchObject({ 'eu/west/a': 3, 'asia/south/a': 4 })
    expect(specOf(mesh + policy(failing)).decidedBy.locality).toBe('MeshConfig/istio-system/default')
    const own = policy(`${failing}, loadBalancer: { localityLbSetting: {} }`)
    expect(prioritiesOf(meshOf(mesh + own), at('us/east/a'))).toMatchObject({ 'eu/west/a': 3, 'asia/south/a': 3 })
  })
})

describe('a DestinationRule becomes', () => {
  it.each<[string, Partial<ClusterSpec>]>([
    [
      'loadBalancer: { consistentHash: { httpHeaderName: x } }',
      { lb: expect.objectContaining({ policy: 'RING_HASH', minimumRingSize: 1024, hashFunction: 'XX_HASH' }) },
    ],
    [
      'loadBalancer: { consistentHash: { useSourceIp: true, minimumRingSize: 64 } }',
      { lb: expect.objectContaining({ policy: 'RING_HASH', minimumRingSize: 64 }) },
    ],
    [
      'loadBalancer: { consistentHash: { useSourceIp: true, maglev: { tableSize: 101 } } }',
      { lb: expect.objectContaining({ policy: 'MAGLEV', tableSize: 101 }) },
    ],
    [
      'loadBalancer: { simple: ROUND_ROBIN, warmupDurationSecs: 30s }',
      { lb: { policy: 'ROUND_ROBIN', slowStart: { windowMs: 30_000, aggression: 1, minWeightPercent: 10 } } },
    ],
    [
      'loadBalancer: { simple: PEAK_EWMA, warmup: { duration: 1m, minimumPercent: 5, aggression: 2 } }',
      {
        lb: {
          ...{ policy: 'PEAK_EWMA', decayMs: 10_000 },
          slowStart: { windowMs: 60_000, aggression: 2, minWeightPercent: 5 },
        },
      },
    ],
    ['loadBalancer: { simple: LEAST_CONN }', { lb: { policy: 'LEAST_REQUEST', choiceCount: 2 } }],
    ['loadBalancer: { simple: PASSTHROUGH }', { kind: 'passthrough' }],
    ['connectionPool: { http: { h2UpgradePolicy: UPGRADE } }', { protocol: 'h2' }],
    [
      'outlierDetection: { splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2 }',
      { outlier: expect.objectContaining({ splitLocalOrigin: true, consecutiveLocalOrigin: 2, successRate: null }) },
    ],
    [
      'outlierDetection: { consecutiveErrors: 3 }',
      { outlier: expect.objectContaining({ consecutiveGatewayErrors: 3, consecutive5xx: 0 }) },
    ],
    [
      'outlierDetection: { outlierDetectionHttpErrorCodes: [429, 5xx] }',
      {
        outlier: expect.objectContaining({
          errorStatuses: [
            { start: 429, end: 430 },
            { start: 500, end: 600 },
          ],
        }),
      },
    ],
    ['outlierDetection: { minHealthPercent: 30 }', { panicThresholdPercent: 30 }],
    ['tls: { mode: DISABLE }', { tls: { mode: 'plaintext', allowedIds: [] } }],
    [
      'tls: { mode: ISTIO_MUTUAL, subjectAltNames: ["spiffe://cluster.local/ns/other/sa/x"] }',
      { tls: { mode: 'mtls', allowedIds: ['spiffe://cluster.local/ns/other/sa/x'] } },
    ],
  ])('%s', (blocks, expected) => {
    expect(specOf(policy(blocks))).toMatchObject(expected)
  })

  it('TLS by the names and roots that it gives, else the host and the roots of the system', () => {
    expect(specOf(policy('tls: { mode: SIMPLE }')).tls).toMatchObject({
      mode: 'external',
      external: { sni: host, ca: null, client: null, subjectAltNames: [{ kind: 'exact', value: host }] },
    })
    const files = 'clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem'
    expect(
      specOf(policy(`tls: { mode: MUTUAL, sni: a.example, subjectAltNames: [b.example, 10.0.0.1], ${files} }`)).tls,
    ).toMatchObject({
      external: {
        sni: 'a.example',
        ca: { kind: 'file', path: '/ca.pem' },
        client: { certificate: { kind: 'file', path: '/c.pem' }, key: { kind: 'file', path: '/k.pem' } },
        subjectAltNames: [{ value: 'b.example' }, { value: '10.0.0.1' }],
      },
    })
  })

  it('identities of the rule stand in for those of the endpoints', () => {
    const spec = specOf(policy('tls: { mode: ISTIO_MUTUAL, subjectAltNames: ["spiffe://cluster.local/ns/a/sa/b"] }'))
    expect(spec.endpoints.map((e) => e.spiffeId)).toEqual([null, null, null, null, null])
  })

  it('which object decided what', () => {
    const subset = 'subsets: [{ name: v1, labels: { version: v1 }, trafficPolicy: { outlierDetection: {} } }]'
    const pool = 'connectionPool: { http: { h2UpgradePolicy: DO_NOT_UPGRADE } }'
    const yaml =
      rule(`host: payments, trafficPolicy: { tls: { mode: DISABLE }, ${pool} }`) +
      rule(`host: payments, ${subset}`, 'second')
    expect(meshOf(yaml).cluster(`outbound|80|v1|${host}`, at(''))!.decidedBy).toEqual({
      tls: 'DestinationRule/default/payments',
      connectionPool: 'DestinationRule/default/payments',
      protocol: 'DestinationRule/default/payments',
      outlierDetection: 'DestinationRule/default/second',
    })
  })

  it.each<ClientClass>(['grpc', 'grpc-js'])('what %s understands', (clientClass) => {
    const foreign = clientOf('orders', { clientClass })
    const lbOf = (lb: string) => meshOf(policy(`loadBalancer: { ${lb} }`)).cluster(cluster, foreign)!.lb.policy
    expect(lbOf('simple: PEAK_EWMA, warmup: { duration: 1s }')).toBe('ROUND_ROBIN')
    expect(lbOf('consistentHash: { httpHeaderName: x, maglev: {} }')).toBe('RING_HASH')
  })
})

describe('the rule that counts', () => {
  const limit = (n: number, more = '') =>
    `host: ${host}, trafficPolicy: { connectionPool: { http: { http2MaxRequests: ${n} } } }${more}`
  const limitFor = (yaml: string, client: string, labels: Record<string, string> = {}) =>
    meshOf(yaml).cluster(cluster, clientOf(client, { labels }))!.limits.maxRequests

  it('is one that the caller’s namespace sees', () => {
    const hidden = rule(limit(1, ', exportTo: ["."]'))
    expect(limitFor(hidden, 'orders')).toBe(1)
    expect(limitFor(hidden, 'orders.shop')).toBe(Number.POSITIVE_INFINITY)
    const named = rule(limit(2, ', exportTo: [shop]'))
    expect(limitFor(named, 'orders.shop')).toBe(2)
    expect(limitFor(named, 'orders.other')).toBe(Number.POSITIVE_INFINITY)
    const root = rule(limit(3), 'root', 'istio-system')
    expect(limitFor(hidden + root, 'orders.shop')).toBe(3)
    expect(limitFor(hidden + root, 'orders')).toBe(1)
  })

  it('of the root namespace for its own callers: private first, then the service’s, then public', () => {
    const home = rule(limit(1))
    const open = rule(limit(2), 'open', 'istio-system')
    const closed = rule(limit(3, ', exportTo: ["."]'), 'closed', 'istio-system')
    expect(limitFor(home + open, 'tool.istio-system')).toBe(1)
    expect(limitFor(home + open + closed, 'tool.istio-system')).toBe(3)
  })

  it('with a workloadSelector is for some callers of its namespace', () => {
    const all = rule(limit(1))
    const some = rule(limit(2, ', workloadSelector: { matchLabels: { tier: batch } }'), 'batch')
    expect(limitFor(all + some, 'orders')).toBe(1)
    expect(limitFor(all + some, 'orders', { tier: 'batch' })).toBe(2)
    expect(limitFor(some, 'orders', { tier: 'web' })).toBe(Number.POSITIVE_INFINITY)
    // Another namespace's rule chooses nobody here.
    expect(limitFor(some, 'orders.shop', { tier: 'batch' })).toBe(Number.POSITIVE_INFINITY)
  })
})

describe('names for clients of gRPC', () => {
  const entry = (spec: string) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: api }
spec: { hosts: [api.example.com], ports: [{ number: 80, name: http, protocol: GRPC }], ${spec} }
`
  const name = 'outbound|80||api.example.com'
  const foreign = clientOf('orders', { clientClass: 'grpc' })

  it('one is theirs to resolve, of several they get the addresses', () => {
    expect(new Mesh({ yaml: entry('resolution: DNS') }).cluster(name, foreign)).toMatchObject({
      kind: 'logical-dns',
      dns: { names: [{ address: 'api.example.com', port: 80 }] },
    })
    const two = new Mesh({
      yaml: entry('resolution: DNS, endpoints: [{ address: a.example.com }, { address: 10.0.0.9 }]'),
    })
    expect(two.cluster(name, foreign)).toMatchObject({ kind: 'eds', endpoints: [{ address: '10.0.0.9' }] })
    expect(two.cluster(name, at(''))).toMatchObject({ kind: 'strict-dns', dns: { names: [{}, {}] } })
  })

  it('a port of gRPC or HTTP2 is spoken to over HTTP/2', () => {
    const spec = new Mesh({ yaml: entry('resolution: DNS') }).cluster(name, at(''))!
    expect(spec.protocol).toBe('h2')
    expect(spec.decidedBy.protocol).toBe('ServiceEntry/default/api')
  })
})
