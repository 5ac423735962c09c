import { fromBinary } from '@bufbuild/protobuf'
import { AnySchema, anyUnpack } from '@bufbuild/protobuf/wkt'
import { describe, expect, it } from 'vitest'
import { ListenerSchema } from '../../src/gen/envoy/config/listener/v3/listener_pb.js'
import { InboundPolicySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { TypeUrl } from '../../src/xds/proto.ts'
import { parseDocuments, validateBatch } from '../resources/index.ts'
import { clientOf, endpointOf, Mesh, objectsOf } from './testing/mesh.ts'
import type { ClientView } from './types.ts'

const endpoints = ['payments.shop', 'ledger.bank', 'audit.bank'].map((name) => endpointOf(name))
const sidecar = (name: string, namespace: string, spec: string) => `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
`
/** What a client of namespace shop reaches: the host, 'out' = dialled as it is, 'refused' = 502. */
function reaches(mesh: Mesh, authority: string, client: ClientView = clientOf('orders.shop')): string {
  const route = mesh.routes(authority, client)?.virtualHosts[0]?.routes[0]
  if (route?.action.kind !== 'forward') return 'refused'
  const name = route.action.clusters[0]!.name
  return name === 'PassthroughCluster' ? 'out' : name.split('|')[3]!.split('.')[0]!
}
const ledger = 'ledger.bank.svc.cluster.local'

describe('what a Sidecar lets a client see', () => {
  it.each([
    ['everything without egress', '{}', ['payments', 'ledger', 'audit']],
    ['*/*', '{ egress: [{ hosts: ["*/*"] }] }', ['payments', 'ledger', 'audit']],
    ['./*', '{ egress: [{ hosts: ["./*"] }] }', ['payments', 'out', 'out']],
    ['a namespace by name', '{ egress: [{ hosts: ["bank/*"] }] }', ['out', 'ledger', 'audit']],
    ['one host of any namespace', `{ egress: [{ hosts: ["*/${ledger}"] }] }`, ['out', 'ledger', 'out']],
    ['a host in the wrong namespace', `{ egress: [{ hosts: ["shop/${ledger}"] }] }`, ['out', 'out', 'out']],
    ['a suffix', '{ egress: [{ hosts: ["*/*.bank.svc.cluster.local", "./*"] }] }', ['payments', 'ledger', 'audit']],
    ['~/*', '{ egress: [{ hosts: ["~/*"] }] }', ['out', 'out', 'out']],
    ['all but one', `{ egress: [{ hosts: ["*/*", "~bank/${ledger}"] }] }`, ['payments', 'out', 'audit']],
    [
      'REGISTRY_ONLY by an empty policy',
      '{ egress: [{ hosts: ["./*"] }], outboundTrafficPolicy: {} }',
      ['payments', 'refused', 'refused'],
    ],
  ])('%s', (_, spec, expected) => {
    const mesh = new Mesh({ yaml: sidecar('default', 'shop', spec), endpoints })
    expect(['payments', 'ledger.bank', 'audit.bank'].map((name) => reaches(mesh, name))).toEqual(expected)
    expect(reaches(mesh, 'ledger', clientOf('orders.bank')), 'other namespaces see what they saw').toBe('ledger')
  })

  it('an entry with a port is all that counts for this port', () => {
    const spec = '{ egress: [{ port: { number: 9090 }, hosts: ["bank/*"] }, { hosts: ["./*"] }] }'
    const mesh = new Mesh({ yaml: sidecar('default', 'shop', spec), endpoints })
    expect(['payments', 'payments:9090', 'ledger.bank', 'ledger.bank:9090'].map((a) => reaches(mesh, a))).toEqual([
      ...['payments', 'out', 'out', 'ledger'],
    ])
  })

  it('a selector beats the namespace, the namespace beats the root', () => {
    const yaml = [
      sidecar('mesh-wide', 'istio-system', '{ egress: [{ hosts: ["~/*"] }] }'),
      sidecar('default', 'shop', '{ egress: [{ hosts: ["./*"] }] }'),
      sidecar('auditor', 'shop', '{ workloadSelector: { labels: { app: auditor } }, egress: [{ hosts: ["bank/*"] }] }'),
    ].join('')
    const mesh = new Mesh({ yaml, endpoints })
    const seen = (client: string) => ['payments.shop', 'ledger.bank'].map((a) => reaches(mesh, a, clientOf(client)))
    expect(seen('auditor.shop')).toEqual(['out', 'ledger'])
    expect(seen('orders.shop')).toEqual(['payments', 'out'])
    expect(seen('orders.elsewhere')).toEqual(['out', 'out'])
  })

  it('what is hidden is unknown to foreign clients too', () => {
    const mesh = new Mesh({ yaml: sidecar('default', 'shop', '{ egress: [{ hosts: ["./*"] }] }'), endpoints })
    const grpc = clientOf('orders.shop', { clientClass: 'grpc' })
    expect(mesh.routes('payments', grpc)).toBeDefined()
    expect(mesh.routes('ledger.bank', grpc)).toBeUndefined()
  })

  it('decides about unknown hosts over MeshConfig and the control plane', () => {
    const yaml = sidecar('default', 'shop', '{ outboundTrafficPolicy: { mode: ALLOW_ANY } }')
    const mesh = new Mesh({ yaml, endpoints, settings: { outboundTrafficPolicy: 'REGISTRY_ONLY' } })
    expect(reaches(mesh, 'example.com')).toBe('out')
    expect(reaches(mesh, 'example.com', clientOf('orders.bank'))).toBe('refused')
  })

  it('a destination behind a rule that is seen is reached though it is not', () => {
    const rule = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: books, namespace: shop }
spec: { hosts: [books.example], http: [{ route: [{ destination: { host: ${ledger} } }] }] }
`
    const mesh = new Mesh({ yaml: sidecar('default', 'shop', '{ egress: [{ hosts: ["./*"] }] }') + rule, endpoints })
    expect(reaches(mesh, 'books.example')).toBe('ledger')
    expect(mesh.cluster(`outbound|80||${ledger}`, clientOf('orders.shop'))?.endpoints).toHaveLength(1)
  })
})

describe('limits of a server', () => {
  const policyOf = (yaml: string, port = 8080) => {
    const mesh = new Mesh({ yaml, endpoints })
    const name = `inmesh/inbound/10.0.0.1:${port}`
    const resource = mesh.translation.resolve(TypeUrl.listener, name, clientOf('payments.shop'))!
    const listener = anyUnpack(fromBinary(AnySchema, resource.any), ListenerSchema)!
    return anyUnpack(listener.metadata!.typedFilterMetadata['inmesh.inbound']!, InboundPolicySchema)!
  }
  const pool = (connections: number, requests: number) =>
    `{ tcp: { maxConnections: ${connections} }, http: { http2MaxRequests: ${requests} } }`
  const rule = `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payments, namespace: shop }
spec:
  host: payments
  trafficPolicy:
    connectionPool: ${pool(4, 40)}
    portLevelSettings: [{ port: { number: 9090 }, connectionPool: { http: { http2MaxRequests: 90 } } }]
`
  const limits = (yaml: string, port?: number) => {
    const { maxConnections, maxRequests } = policyOf(yaml, port)
    return [maxConnections, maxRequests]
  }

  it('are those of its own DestinationRule, by port, else none', () => {
    expect(limits('')).toEqual([0, 0])
    expect(limits(rule)).toEqual([4, 40])
    expect(limits(rule, 9090)).toEqual([0, 90])
  })

  it('a Sidecar replaces them whole, its port entry replaces the Sidecar', () => {
    const own = sidecar(
      'default',
      'shop',
      `{ inboundConnectionPool: { tcp: { maxConnections: 2 } }, ingress: [{ port: { number: 9090 }, connectionPool: ${pool(1, 10)} }] }`,
    )
    expect(limits(rule + own)).toEqual([2, 0])
    expect(limits(rule + own, 9090)).toEqual([1, 10])
  })

  it('carry the path normalization of the mesh', () => {
    expect(policyOf('').pathNormalization).toBe('BASE')
    const mesh = `
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
spec: { pathNormalization: { normalization: MERGE_SLASHES } }
`
    expect(policyOf(mesh).pathNormalization).toBe('MERGE_SLASHES')
  })
})

describe('a Sidecar that is refused or warned about', () => {
  const problemsOf = (yaml: string, existing = '') => {
    const world = { objects: objectsOf(existing), endpoints: [], services: [] }
    return validateBatch(parseDocuments(yaml, 'sidecars.yaml').documents, world).problems
  }

  it.each([
    ['error', '{ egress: [{ hosts: [payments] }] }', 'spec.egress[0].hosts[0]'],
    ['error', '{ egress: [{ hosts: ["~/payments.shop"] }] }', 'spec.egress[0].hosts[0]'],
    ['error', '{ egress: [{ hosts: [] }] }', 'spec.egress[0].hosts'],
    ['error', '{ egress: [{ hosts: ["./*", "*/*"] }] }', 'spec.egress[0].hosts[1]'],
    ['error', '{ egress: [{ hosts: ["./*"] }, { port: { number: 80 }, hosts: ["./*"] }] }', 'spec.egress[0]'],
    ['warning', '{ egress: [{ hosts: ["./payments"] }] }', 'spec.egress[0].hosts[0]'],
    ['warning', '{ egress: [{ captureMode: NONE, hosts: ["./*"] }] }', 'spec.egress[0].captureMode'],
    ['warning', '{ ingress: [{ port: { number: 80 }, bind: 0.0.0.0 }] }', 'spec.ingress[0].bind'],
    ['error', '{ outboundTrafficPolicy: { egressProxy: { host: x } } }', 'spec.outboundTrafficPolicy.egressProxy'],
  ])('%s for %s', (severity, spec, field) => {
    expect(problemsOf(sidecar('default', 'shop', spec))).toMatchObject([
      { severity, field, file: 'sidecars.yaml', line: 5 },
    ])
  })

  it('a second one without selector in a namespace names both', () => {
    const problems = problemsOf(sidecar('second', 'shop', '{}'), sidecar('first', 'shop', '{}'))
    expect(problems).toMatchObject([{ severity: 'error', file: 'sidecars.yaml' }])
    expect(problems[0]!.message).toContain('Sidecar/shop/second and Sidecar/shop/first')
    expect(problemsOf(sidecar('first', 'shop', '{}'), sidecar('first', 'shop', '{}'))).toEqual([])
    expect(problemsOf(sidecar('second', 'bank', '{}'), sidecar('first', 'shop', '{}'))).toEqual([])
  })
})
