import { describe, expect, it } from 'vitest'
import { clientOf, endpointOf, Mesh } from './testing/mesh.ts'

const frontend = clientOf('frontend')

function entry(spec: string, name = 'api', namespace = 'default'): string {
  return `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: ${namespace}}
spec:
${spec.trim().replace(/^/gm, '  ')}
---
`
}
const ports = 'ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]'
const meshOf = (yaml: string, more: object = {}) =>
  new Mesh({ yaml, endpoints: [endpointOf('payments v1 10.0.0.1')], ...more })
const clusterOf = (mesh: Mesh, host: string, port = 80, client = frontend) =>
  mesh.cluster(`outbound|${port}||${host}`, client)

describe('a ServiceEntry', () => {
  it('makes a host known, whose name the data plane resolves', () => {
    const mesh = meshOf(entry(`hosts: [api.example.com]\n${ports}\nresolution: DNS`))
    const cluster = clusterOf(mesh, 'api.example.com')
    expect(cluster).toMatchObject({
      kind: 'strict-dns',
      tls: { mode: 'plaintext' },
      lb: { policy: 'LEAST_REQUEST' },
      connectTimeoutMs: 10_000,
      breaker: null,
      dns: { names: [{ address: 'api.example.com', port: 443, hostname: 'api.example.com' }] },
    })
    const route = mesh.routes('api.example.com', frontend)!.virtualHosts[0]!.routes[0]!
    expect(route.timeoutMs).toBe(Number.POSITIVE_INFINITY)
    expect(route.retry).toMatchObject({ numRetries: 2 })
    expect(route.retry?.retryOn).toContain('connect-failure')
  })

  it('is known at its ports only, and where it is exported to', () => {
    const mesh = meshOf(entry(`hosts: [api.example.com]\n${ports}\nresolution: DNS\nexportTo: ["."]`))
    const known = (authority: string, client = frontend) =>
      mesh.routes(authority, client)?.virtualHosts[0]?.routes[0]?.action
    const passthrough = { clusters: [{ name: 'PassthroughCluster' }] }
    expect(known('api.example.com')).not.toMatchObject(passthrough)
    expect(known('api.example.com:81')).toMatchObject(passthrough)
    expect(known('api.example.com', clientOf('web', { namespace: 'other' }))).toMatchObject(passthrough)
  })

  it('has endpoints at the ports that they have, by name or by the target port', () => {
    const endpoints =
      'endpoints: [{address: 10.1.0.1, ports: {http: 8443}, weight: 3, labels: {version: v2}}, {address: 10.1.0.2, locality: r/z}]'
    const mesh = meshOf(entry(`hosts: [api.example.com]\n${ports}\nresolution: STATIC\n${endpoints}`))
    const cluster = clusterOf(mesh, 'api.example.com')
    expect(cluster?.kind).toBe('eds')
    expect(cluster?.endpoints.map((e) => [e.address, e.port, e.weight, e.locality, e.tlsMode])).toEqual(
      [
        ['10.1.0.1', 8443, 3, '', 'plaintext'],
        ['10.1.0.2', 443, 1, 'r/z', 'plaintext'],
      ].toSorted((a, b) => String(a[3]).localeCompare(String(b[3]))),
    )
  })

  it('inside the mesh: who answers is the service account of the entry', () => {
    const endpoints = 'endpoints: [{address: 10.1.0.1, serviceAccount: vm, labels: {security.istio.io/tlsMode: istio}}]'
    const spec = `hosts: [vm.shop]\n${ports}\nresolution: STATIC\nlocation: MESH_INTERNAL\n${endpoints}`
    const cluster = clusterOf(meshOf(entry(spec, 'vm', 'shop')), 'vm.shop')
    expect(cluster?.tls.mode).toBe('auto')
    expect(cluster?.endpoints[0]).toMatchObject({ tlsMode: 'mtls', spiffeId: 'spiffe://cluster.local/ns/shop/sa/vm' })
  })

  it('chooses WorkloadEntries and registered workloads by labels', () => {
    const workload = `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm1}
spec: {address: 10.2.0.1, labels: {app: payments}}
---
`
    const spec = `hosts: [both.example]\n${ports}\nresolution: STATIC\nlocation: MESH_INTERNAL\nworkloadSelector: {labels: {app: payments}}`
    const cluster = clusterOf(meshOf(workload + entry(spec)), 'both.example')
    expect(cluster?.endpoints.map((e) => `${e.address}:${e.port}`).sort()).toEqual(['10.0.0.1:8080', '10.2.0.1:443'])
  })

  it('DNS_ROUND_ROBIN is one host; a DestinationRule originates TLS', () => {
    const rule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec: {host: api.example.com, trafficPolicy: {tls: {mode: SIMPLE}}}
---
`
    const mesh = meshOf(entry(`hosts: [api.example.com]\n${ports}\nresolution: DNS_ROUND_ROBIN`) + rule)
    const cluster = clusterOf(mesh, 'api.example.com')
    expect(cluster?.kind).toBe('logical-dns')
    expect(cluster?.tls).toMatchObject({ mode: 'external', external: { insecureSkipVerify: false, client: null } })
  })

  it('with a wildcard lets calls out that REGISTRY_ONLY would not', () => {
    const settings = { settings: { outboundTrafficPolicy: 'REGISTRY_ONLY' } }
    const mesh = meshOf(entry('hosts: ["*.example.com"]\nports: [{number: 80, name: http, protocol: HTTP}]'), settings)
    const action = (authority: string) => mesh.routes(authority, frontend)?.virtualHosts[0]?.routes[0]?.action
    expect(action('a.example.com')).toMatchObject({ clusters: [{ name: 'PassthroughCluster' }] })
    expect(action('a.example.com:81')).toMatchObject({ kind: 'direct', status: 502 })
    expect(action('example.com')).toMatchObject({ kind: 'direct', status: 502 })
  })

  it('is a remark only where workloads register themselves', () => {
    const mesh = meshOf(entry(`hosts: [payments.default.svc.cluster.local]\n${ports}\nresolution: DNS`))
    expect(clusterOf(mesh, 'payments.default.svc.cluster.local')?.kind).toBe('eds')
  })
})
