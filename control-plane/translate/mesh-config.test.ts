import { describe, expect, it } from 'vitest'
import { parseDocuments, validateBatch } from '../resources/index.ts'
import { MeshIndex } from './mesh-index.ts'
import { clientOf, endpointOf, Mesh, objectsOf, revisionOf } from './testing/mesh.ts'

const client = clientOf('orders')
const meshConfig = (spec: string) => `
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
spec:
${spec}
`
const problemsOf = (yaml: string, options = {}) => {
  const parsed = parseDocuments(yaml, 'mesh.yaml')
  return validateBatch(parsed.documents, { objects: [], endpoints: [], services: [] }, options).problems
}

describe('MeshConfig', () => {
  it('decides about unknown hosts over the option of the control plane', () => {
    const yaml = meshConfig('  outboundTrafficPolicy: { mode: REGISTRY_ONLY }')
    expect(new Mesh({ yaml }).routes('unknown.example', client)?.virtualHosts[0]?.routes[0]?.action).toMatchObject({
      kind: 'direct',
      status: 502,
    })
    const open = new Mesh({
      yaml: meshConfig('  outboundTrafficPolicy: { mode: ALLOW_ANY }'),
      settings: { outboundTrafficPolicy: 'REGISTRY_ONLY' },
    })
    expect(open.routes('unknown.example', client)?.virtualHosts[0]?.routes[0]?.action.kind).toBe('forward')
    const silent = new Mesh({
      yaml: meshConfig('  outboundTrafficPolicy: {}'),
      settings: { outboundTrafficPolicy: 'REGISTRY_ONLY' },
    })
    expect(silent.routes('unknown.example', client)?.virtualHosts[0]?.routes[0]?.action.kind).toBe('direct')
  })

  describe('retries, field by field', () => {
    const endpoints = [endpointOf('payments')]
    const routeOf = (yaml: string) =>
      new Mesh({ yaml, endpoints }).routes('payments', client)!.virtualHosts[0]!.routes[0]!
    const config = meshConfig('  defaultHttpRetryPolicy: { attempts: 7, retryOn: "gateway-error,409" }')

    it('come from MeshConfig when nothing more specific speaks', () => {
      const { retry, decidedBy } = routeOf(config)
      expect(retry).toMatchObject({ numRetries: 7, statusCodes: [409] })
      expect(retry!.retryOn).toContain('gateway-error')
      expect(decidedBy.retries).toBe('MeshConfig/istio-system/default')
    })

    it('a ServicePolicy decides the number, MeshConfig still the conditions', () => {
      const policy = '{ apiVersion: inmesh.dev/v1, kind: ServicePolicy, spec: { service: payments, retryAttempts: 1 } }'
      const { retry, decidedBy } = routeOf(`${config}---\n${policy}`)
      expect(retry).toMatchObject({ numRetries: 1, statusCodes: [409] })
      expect(decidedBy.retries).toBe('ServicePolicy/default/payments')
    })

    it('attempts 0 switches them off', () => {
      expect(routeOf(meshConfig('  defaultHttpRetryPolicy: { attempts: 0 }')).retry).toBeNull()
    })
  })

  it('gives connect timeout and automatic mTLS to clusters whose rules are silent', () => {
    const endpoints = [endpointOf('payments'), endpointOf('ledger')]
    const rule = `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ledger }
spec:
  host: ledger
  trafficPolicy: { connectionPool: { tcp: { connectTimeout: 3s } }, tls: { mode: ISTIO_MUTUAL } }
`
    const mesh = new Mesh({ yaml: meshConfig('  connectTimeout: 7s\n  enableAutoMtls: false') + rule, endpoints })
    expect(mesh.cluster('outbound|80||payments.default.svc.cluster.local', client)).toMatchObject({
      connectTimeoutMs: 7_000,
      tls: { mode: 'plaintext' },
    })
    expect(mesh.cluster('outbound|80||ledger.default.svc.cluster.local', client)).toMatchObject({
      connectTimeoutMs: 3_000,
      tls: { mode: 'mtls' },
    })
  })

  it('makes aliases of the trust domain trusted by the roots of the mesh', () => {
    const trustBundles = new Map([['cluster.local', ['ROOT']]])
    const index = new MeshIndex(
      revisionOf({ yaml: meshConfig('  trustDomainAliases: [old.td, cluster.local]'), trustBundles }),
    )
    expect([...index.trustBundles]).toEqual([
      ['cluster.local', ['ROOT']],
      ['old.td', ['ROOT']],
    ])
    expect(index.settings.trustDomains).toEqual(['cluster.local', 'old.td'])
  })

  it('lives in the root namespace under one name, whatever the batch says of namespaces', () => {
    const object = objectsOf(meshConfig('  connectTimeout: 1s'))[0]!
    expect([object.namespace, object.name]).toEqual(['istio-system', 'default'])
    const elsewhere = meshConfig('  connectTimeout: 1s').replace(
      'spec:',
      'metadata: { name: own, namespace: shop }\nspec:',
    )
    expect(problemsOf(elsewhere)).toMatchObject([
      { severity: 'error', field: 'metadata.namespace', line: 4, message: expect.stringContaining('"istio-system"') },
      { severity: 'error', field: 'metadata.name', line: 4, message: expect.stringContaining('"default"') },
    ])
  })

  it('refuses what cannot change while the control plane runs', () => {
    const spec = '  trustDomain: other.td\n  rootNamespace: mesh'
    expect(problemsOf(meshConfig(spec))).toMatchObject([
      { severity: 'error', field: 'spec.trustDomain', line: 5, message: expect.stringContaining('--trust-domain') },
      { severity: 'error', field: 'spec.rootNamespace', line: 6, message: expect.stringContaining('--root-namespace') },
    ])
    const same = meshConfig('  trustDomain: other.td\n  rootNamespace: mesh')
    expect(problemsOf(same, { trustDomain: 'other.td', rootNamespace: 'mesh' })).toEqual([])
  })

  it('names each field that means nothing in process', () => {
    const spec = '  accessLogFile: /dev/stdout\n  defaultConfig: { concurrency: 2 }\n  ingressClass: istio'
    const problems = problemsOf(meshConfig(spec))
    expect(problems.map((p) => [p.severity, p.field, p.line])).toEqual([
      ['warning', 'spec.accessLogFile', 5],
      ['warning', 'spec.defaultConfig', 6],
      ['warning', 'spec.ingressClass', 7],
    ])
    expect(problems.every((p) => p.message.startsWith('has no effect'))).toBe(true)
  })

  it.each([
    [
      'retryOn: 5xx without attempts',
      '  defaultHttpRetryPolicy: { retryOn: 5xx }',
      'spec.defaultHttpRetryPolicy.retryOn',
    ],
    [
      'an unknown condition',
      '  defaultHttpRetryPolicy: { attempts: 1, retryOn: 5x }',
      'spec.defaultHttpRetryPolicy.retryOn',
    ],
    [
      'shares that are not 100',
      '  localityLbSetting: { distribute: [{ from: a, to: { b: 40 } }] }',
      'spec.localityLbSetting.distribute[0].to',
    ],
    ['an unknown mode', '  outboundTrafficPolicy: { mode: ALLOW_NONE }', 'spec.outboundTrafficPolicy.mode'],
    ['a number as duration', '  connectTimeout: 5', 'spec.connectTimeout'],
    ['a combined exportTo', '  defaultServiceExportTo: ["*", a]', 'spec.defaultServiceExportTo[0]'],
  ])('refuses %s', (_, spec, field) => {
    expect(problemsOf(meshConfig(spec))).toMatchObject([{ severity: 'error', field, line: 5 }])
  })

  it('is read from the ConfigMap of Istio, with the lines of its text', () => {
    const configMap = `apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data:
  mesh: |-
    connectTimeout: 7s
    accessLogFile: /dev/stdout
  meshNetworks: "networks: {}"
`
    expect(problemsOf(configMap)).toMatchObject([
      { severity: 'warning', field: 'spec.accessLogFile', line: 7, column: 5 },
    ])
    const index = new MeshIndex(revisionOf({ yaml: configMap }))
    expect(index.settings.connectTimeoutMs).toBe(7_000)
    expect(index.settings.meshConfig).toBe('MeshConfig/istio-system/default')
  })
})
