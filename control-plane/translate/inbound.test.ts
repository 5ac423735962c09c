import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { documentOf, validateBatch } from '../resources/index.ts'
import type { ObjectInput } from '../store/store.ts'
import { type TestRequest, verdict } from './testing/decide.ts'
import { clientOf, endpointOf, Mesh, objectsOf, stored } from './testing/mesh.ts'

const name = 'inmesh/inbound/10.0.0.1:8080'
const payments = clientOf('payments')

function policy(spec: string, name = 'p', namespace = 'default'): string {
  return `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n---\n`
}

function authentication(spec: string, name = 'p', namespace = 'default'): string {
  return policy(spec, name, namespace).replace('AuthorizationPolicy', 'PeerAuthentication')
}

describe('the name of a server listener', () => {
  it('is ours only in its one spelling', () => {
    const mesh = new Mesh({})
    expect(mesh.inbound('inmesh/inbound/[::]:8080', payments).name).toBe('inmesh/inbound/[::]:8080')
    for (const other of [
      'inmesh/inbound/10.0.0.1',
      'inmesh/inbound/10.0.0.1:0',
      'x/10.0.0.1:80',
      'inmesh/inbound/10.0.0.999:80',
    ])
      expect(
        mesh.translation.resolve('type.googleapis.com/envoy.config.listener.v3.Listener', other, payments),
      ).toBeUndefined()
  })
})

describe('AuthorizationPolicy', () => {
  const rbac = (yaml: string, client = payments) => new Mesh({ yaml }).inbound(name, client).rbac

  it('enforces nothing where no policy selects the workload', () => {
    expect(rbac(policy('{selector: {matchLabels: {app: other}}}') + policy('{}', 'p', 'shop'))).toEqual([])
  })

  it('denies everything by an ALLOW policy without rules, however it is written', () => {
    for (const spec of ['{}', '{rules: []}', '{rules: }'])
      expect(rbac(policy(spec)), spec).toEqual([
        { filterName: 'envoy.filters.http.rbac', action: 'ALLOW', policies: [] },
      ])
  })

  it('puts DENY before ALLOW, joins policies of the root namespace, and names rules', () => {
    const yaml =
      policy('{rules: [{}, {to: [{operation: {methods: [GET]}}]}]}', 'allow') +
      policy('{action: DENY, rules: [{to: [{operation: {ports: ["9"]}}]}]}', 'deny', 'istio-system') +
      policy('{selector: {matchLabels: {app: payments}}, rules: [{}]}', 'mesh-wide', 'istio-system')
    expect(rbac(yaml).map((filter) => [filter.action, filter.policies.map((p) => p.name)])).toEqual([
      ['DENY', ['ns[istio-system]-policy[deny]-rule[0]']],
      [
        'ALLOW',
        [
          'ns[default]-policy[allow]-rule[0]',
          'ns[default]-policy[allow]-rule[1]',
          'ns[istio-system]-policy[mesh-wide]-rule[0]',
        ],
      ],
    ])
  })

  it('takes the rule of a policy that it cannot read for "deny"', () => {
    const [object] = objectsOf(policy('{rules: [{}]}', 'odd'))
    const objects = [{ ...object!, spec: { rules: 'not rules' } }]
    const inbound = new Mesh({ objects }).inbound(name, payments)
    expect(verdict(inbound, {})).toBe('deny')
    expect(inbound.rbac[0]?.policies[0]?.name).toBe('ns[default]-policy[odd]-unreadable')
  })
})

describe('PeerAuthentication', () => {
  const mode = (yaml: string, client = payments, at = name) =>
    new Mesh({ objects: objectsOf(yaml) }).inbound(at, client).tlsMode
  const strict = '{mtls: {mode: STRICT}}'
  const selector = 'selector: {matchLabels: {app: payments}}'

  it.each<[string, string, string]>([
    ['none', '', 'PERMISSIVE'],
    ['mesh', authentication(strict, 'a', 'istio-system'), 'STRICT'],
    [
      'namespace before mesh',
      authentication(strict, 'a', 'istio-system') + authentication('{mtls: {mode: DISABLE}}'),
      'DISABLE',
    ],
    [
      'workload before namespace',
      authentication(strict) + authentication(`{${selector}, mtls: {mode: PERMISSIVE}}`, 'w'),
      'PERMISSIVE',
    ],
    [
      'port before workload',
      authentication(`{${selector}, mtls: {mode: DISABLE}, portLevelMtls: {8080: {mode: STRICT}}}`),
      'STRICT',
    ],
    [
      'another port',
      authentication(`{${selector}, mtls: {mode: STRICT}, portLevelMtls: {8081: {mode: DISABLE}}}`),
      'STRICT',
    ],
    [
      'UNSET inherits',
      authentication(strict) + authentication(`{${selector}, mtls: {mode: UNSET}, portLevelMtls: {8080: {}}}`, 'w'),
      'STRICT',
    ],
    [
      'the oldest of one scope',
      authentication(strict, 'z') + authentication('{mtls: {mode: PERMISSIVE}}', 'a'),
      'STRICT',
    ],
    ['another workload', authentication('{selector: {matchLabels: {app: x}}, mtls: {mode: STRICT}}'), 'PERMISSIVE'],
    ['another namespace', authentication(strict, 'a', 'shop'), 'PERMISSIVE'],
    [
      'a selector in the root namespace is ignored',
      authentication(`{${selector}, mtls: {mode: STRICT}}`, 'a', 'istio-system'),
      'PERMISSIVE',
    ],
  ])('%s', (_, yaml, expected) => {
    expect(mode(yaml)).toBe(expected)
  })

  it('is strict when it cannot be read', () => {
    const [object] = objectsOf(authentication('{mtls: {mode: DISABLE}}'))
    const mesh = new Mesh({ objects: [{ ...object!, spec: { mtls: { mode: 'SOMETHING' } } }] })
    expect(mesh.inbound(name, payments).tlsMode).toBe('STRICT')
  })

  it('lets clients know which endpoints take plaintext only', () => {
    const endpoints = [endpointOf('payments v1 10.0.0.1'), endpointOf('payments v2 10.0.0.2')]
    const yaml = authentication('{selector: {matchLabels: {version: v2}}, mtls: {mode: DISABLE}}')
    const found = new Mesh({ yaml, endpoints }).endpoints(
      'outbound|80||payments.default.svc.cluster.local',
      clientOf('x'),
    )
    expect(found?.map((e) => [e.address, e.tlsMode, e.spiffeId])).toEqual([
      ['10.0.0.1', 'mtls', 'spiffe://cluster.local/ns/default/sa/payments'],
      ['10.0.0.2', 'plaintext', null],
    ])
  })
})

interface Row {
  id: string
  policies: string[]
  request: TestRequest & {
    protocol?: string
    token?: string
    sourceIp?: string
    destIp?: string
    destPort?: number
    rawTarget?: string
  }
  expect: string
  alsoOk?: string[]
  meshConfig?: {
    trustDomain?: string
    trustDomainAliases?: string[]
    pathNormalization?: string
    useRemoteAddress?: boolean
  }
  workload?: { namespace?: string; labels?: Record<string, string> }
  shadow?: unknown
  providers?: unknown
}

const table = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../test/conformance/authorization.json'), 'utf8'),
) as {
  defaults: { workload: { namespace: string; labels: Record<string, string> } }
  policies: Record<string, { kind: string; metadata: { annotations?: Record<string, string> } }>
  rows: Row[]
}

describe('the authorization truth table', () => {
  /** What is not about translation: other protocols, tokens, path normalisation, proxies, and kinds to come. */
  const elsewhere = (row: Row) =>
    (row.request.protocol ?? 'http1').startsWith('http') === false ||
    row.request.token !== undefined ||
    row.request.rawTarget !== undefined ||
    row.shadow !== undefined ||
    row.providers !== undefined ||
    row.meshConfig?.pathNormalization !== undefined ||
    row.meshConfig?.useRemoteAddress !== undefined ||
    row.expect === '400' ||
    row.id.startsWith('z-') ||
    row.expect === '401'

  const admit = (row: Row) =>
    validateBatch(
      row.policies.map((id) => documentOf(table.policies[id])),
      { objects: [], endpoints: [], services: [] },
    )
  const notYet = (row: Row) =>
    row.expect !== 'invalid' &&
    admit(row).problems.some((p) => p.severity === 'error' && /not supported yet/.test(p.message))

  const rows = table.rows.filter((row) => !elsewhere(row) && !notYet(row))

  it('has enough rows that concern translation', () => {
    expect(rows.length).toBeGreaterThan(180)
  })

  it.each(rows.map((row) => [row.id, row] as const))('%s', (_, row) => {
    const { objects, problems } = admit(row)
    const errors = problems.filter((p) => p.severity === 'error')
    if (row.expect === 'invalid') {
      expect(errors).not.toEqual([])
      return
    }
    expect(errors).toEqual([])
    const aliases = row.meshConfig?.trustDomainAliases ?? []
    const meshConfig: ObjectInput = {
      ...{ apiVersion: 'mesh.istio.io/v1alpha1', kind: 'MeshConfig', namespace: 'istio-system', name: 'default' },
      ...{ labels: {}, annotations: {}, spec: { trustDomainAliases: aliases } },
    }
    const mesh = new Mesh({
      objects: stored(aliases.length === 0 ? objects : [...objects, meshConfig]),
      settings: { trustDomain: row.meshConfig?.trustDomain ?? 'cluster.local' },
    })
    const { namespace, labels } = { ...table.defaults.workload, ...row.workload }
    const { request } = row
    const port = request.destPort ?? 8080
    const client = clientOf(`orders.${namespace}`, { labels })
    const inbound = mesh.inbound(`inmesh/inbound/10.2.3.4:${port}`, client)
    const outcome = verdict(inbound, {
      ...request,
      host: request.host ?? 'orders.shop.svc.cluster.local',
      destinationPort: port,
      ...(request.destIp === undefined ? {} : { destinationIp: request.destIp }),
    })
    expect([row.expect, ...(row.alsoOk ?? [])]).toContain(outcome)
  })
})
