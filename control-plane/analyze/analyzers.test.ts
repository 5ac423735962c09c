import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { defaults } from '../options.ts'
import { endpointOf, stored } from '../translate/testing/mesh.ts'
import { analyze, validationCodes } from './analyze.ts'
import { analyzers } from './analyzers.ts'

const endpoints = [
  endpointOf('payments v1 10.0.0.1'),
  endpointOf('payments v2 10.0.0.2'),
  endpointOf('orders v1 10.0.0.3'),
]
const registry = { endpoints, services: [] }

/** "IST0101 3 nobody}}]" of each finding: code, line, and what stands there from its column on. */
function found(text: string): string[] {
  const lines = text.split('\n')
  return analyze({ text, settings: defaults, registry }).map(
    ({ code, line, column }) => `${code} ${line} ${lines[line! - 1]!.slice(column! - 1)}`,
  )
}

/** Five lines before the spec, which is indented by 2. */
const head = (kind: string, group: string, name: string) =>
  `apiVersion: ${group}/v1\nkind: ${kind}\nmetadata:\n  name: ${name}\nspec:\n`
const indent = (spec: string) => `${spec.replace(/^/gm, '  ')}\n`
const document = (kind: string, group: string) => (spec: string, name: string) => head(kind, group, name) + indent(spec)
const vs = document('VirtualService', 'networking.istio.io')
const dr = document('DestinationRule', 'networking.istio.io')
const se = document('ServiceEntry', 'networking.istio.io')
const sidecar = document('Sidecar', 'networking.istio.io')
const authz = document('AuthorizationPolicy', 'security.istio.io')
const pa = document('PeerAuthentication', 'security.istio.io')
const sp = document('ServicePolicy', 'inmesh.dev')
const ts = document('TrafficSplit', 'inmesh.dev')
const rl = document('RateLimit', 'inmesh.dev')
const route = document('HTTPRoute', 'gateway.networking.k8s.io')
const grpc = document('GRPCRoute', 'gateway.networking.k8s.io')
const all = (...documents: string[]) => documents.join('---\n')

const to = 'route: [{destination: {host: payments}}]'
const rules = (text: string, name = 'a') => vs(`hosts: [payments]\nhttp:\n${text}`, name)
const limits = 'rules: [{requests: 1, per: 1s}]'
const parent = 'parentRefs: [{group: "", kind: Service, name: payments, port: 80}]'
const backend = 'rules: [{backendRefs: [{name: payments, port: 80}]}]'
const inRoot = (text: string) => text.replace('  name:', '  namespace: istio-system\n  name:')
const when = (tls: string) => `host: payments\ntrafficPolicy: {tls: ${tls}}`

const outside = (ports: string, more = '') => `hosts: [pay.example.com]\nresolution: DNS\nports: [${ports}]${more}`
const https = '{number: 443, name: https, protocol: HTTPS}'
const http = '{number: 80, name: http, protocol: HTTP}'

/** What fires, with its place; and its neighbour that does not. */
const cases: readonly [code: string, bad: string, places: readonly string[], good: string][] = [
  ['IST0101', rules('- route: [{destination: {host: paymnets}}]'), ['8 paymnets'], rules(`- ${to}`)],
  [
    'IST0101',
    rules('- route: [{destination: {host: payments, subset: v9}}]'),
    ['8 v9'],
    all(
      rules('- route: [{destination: {host: payments, subset: main}}]'),
      dr('host: payments\nsubsets: [{name: main, labels: {version: v1}}]', 'd'),
    ),
  ],
  ['IST0101', rules(`- ${to}\n  mirror: {host: nobody}`), ['9 nobody'], rules(`- ${to}\n  mirror: {host: orders}`)],
  [
    'IST0101',
    rules('- delegate: {name: d}'),
    ['8 {name: d}'],
    all(rules('- delegate: {name: d}'), vs(`hosts: []\nhttp: [{${to}}]`, 'd')),
  ],
  [
    'IST0101',
    vs(`hosts: [payments]\ngateways: [mesh, edge]\nhttp: [{${to}}]`, 'a'),
    ['7 edge'],
    vs(`hosts: [payments]\ngateways: [mesh]\nhttp: [{${to}}]`, 'a'),
  ],
  ['IST0101', sp('service: nobody', 'a'), ['6 nobody'], sp('service: payments', 'a')],
  ['IST0101', ts('destinationService: nobody', 'a'), ['6 nobody'], ts('destinationService: payments', 'a')],
  [
    'IST0101',
    route(`${parent}\n${backend.replace('payments', 'nobody')}`, 'a'),
    ['7 nobody'],
    route(`${parent}\n${backend}`, 'a'),
  ],
  ['IST0106', rules('- rout: []'), ['8 rout:'], rules(`- ${to}`)],
  ['IST0106', 'a: [', ['1 '], rules(`- ${to}`)],
  ['INM0002', rules(`- ${to}\n  fault: {abort: {httpStatus: 500}}`), ['9 {httpStatus: 500}}'], rules(`- ${to}`)],
  [
    'IST0109',
    all(rules(`- ${to}`), rules(`- ${to}`, 'b')),
    ['6 payments', '15 payments'],
    all(rules(`- ${to}`), vs(`hosts: [payments]\ngateways: [edge]\nhttp: [{${to}}]`, 'b')),
  ],
  [
    'IST0109',
    all(
      vs(`hosts: [payments]\nexportTo: ["."]\nhttp: [{${to}}]`, 'a'),
      rules(`- ${to}`, 'b').replace('name: b', 'name: b\n  namespace: default'),
    ),
    ['6 payments', '16 payments'],
    all(
      vs(`hosts: [payments.default.svc.cluster.local]\nexportTo: ["."]\nhttp: [{${to}}]`, 'a'),
      vs(
        'hosts: [payments.default.svc.cluster.local]\nexportTo: ["."]\nhttp: [{route: [{destination: {host: payments.default.svc.cluster.local}}]}]',
        'b',
      ).replace('name: b', 'name: b\n  namespace: shop'),
    ),
  ],
  [
    'IST0109',
    all(route(`${parent}\n${backend}`, 'a'), grpc(`${parent}\n${backend}`, 'b')),
    ['6 {group: "", kind: Serv'],
    route(`${parent}\n${backend}`, 'a'),
  ],
  [
    'IST0110',
    all(
      sidecar('workloadSelector: {labels: {app: orders}}', 'a'),
      sidecar('workloadSelector: {labels: {app: orders}}', 'b'),
    ),
    ['6 {labels: {app: orders}', '13 {labels: {app: orders}'],
    all(
      sidecar('workloadSelector: {labels: {app: orders}}', 'a'),
      sidecar('workloadSelector: {labels: {app: payments}}', 'b'),
    ),
  ],
  [
    'IST0111',
    all(sidecar('egress: []', 'a'), sidecar('egress: []', 'b')),
    ['1 apiVersion:', '8 apiVersion:'],
    sidecar('egress: []', 'a'),
  ],
  [
    'IST0128',
    dr('host: pay.example.com\ntrafficPolicy: {tls: {mode: SIMPLE}}', 'a'),
    ['7 {mode: SIMPLE}}'],
    dr('host: pay.example.com\ntrafficPolicy: {tls: {mode: SIMPLE, caCertificates: /ca.pem}}', 'a'),
  ],
  [
    'IST0129',
    dr('host: pay.example.com\ntrafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]}', 'a'),
    ['7 {mode: SIMPLE}}]}'],
    dr('host: pay.example.com\ntrafficPolicy: {portLevelSettings: [{port: {number: 443}}]}', 'a'),
  ],
  [
    'IST0130',
    rules(`- match: [{uri: {prefix: /a}}]\n  ${to}\n- match: [{uri: {exact: /a/b}}]\n  ${to}`),
    ['10 {uri: {exact: /a/b}}]'],
    rules(`- match: [{uri: {exact: /a/b}}]\n  ${to}\n- match: [{uri: {prefix: /a}}]\n  ${to}`),
  ],
  [
    'IST0131',
    rules(`- match:\n    - uri: {prefix: /a}\n    - uri: {prefix: /a/b}\n  ${to}`),
    ['10 uri:'],
    rules(`- match:\n    - uri: {prefix: /a/b}\n    - uri: {prefix: /a}\n  ${to}`),
  ],
  [
    'IST0131',
    rules(`- match: [{uri: {prefix: api}}]\n  ${to}`),
    ['8 api'],
    rules(`- match: [{uri: {prefix: /api}}]\n  ${to}`),
  ],
  [
    'IST0166',
    authz('selector: {matchLabels: {app: nobody}}\nrules: [{}]', 'a'),
    ['6 {app: nobody}}'],
    authz('selector: {matchLabels: {app: orders}}\nrules: [{}]', 'a'),
  ],
  [
    'IST0166',
    inRoot(pa('selector: {matchLabels: {app: orders}}\nmtls: {mode: STRICT}', 'a')),
    ['7 {matchLabels: {app: or'],
    pa('selector: {matchLabels: {app: orders}}\nmtls: {mode: STRICT}', 'a'),
  ],
  ['IST0167', rl(limits, 'a').replace('name: a', 'name: a\n  namespace: empty'), ['1 apiVersion:'], rl(limits, 'a')],
  [
    'IST0167',
    all(pa('mtls: {mode: STRICT}', 'a'), pa('mtls: {mode: PERMISSIVE}', 'b')),
    ['8 apiVersion:'],
    all(pa('mtls: {mode: STRICT}', 'a'), pa('selector: {matchLabels: {app: orders}}\nmtls: {mode: PERMISSIVE}', 'b')),
  ],
  [
    'IST0171',
    `${route(`${parent}\n${backend}`, 'a')}status:\n  parents:\n    - conditions:\n        - {type: Accepted, status: "True"}\n        - {type: ResolvedRefs, status: "False", reason: BackendNotFound}\n`,
    ['12 {type: ResolvedRefs, s'],
    `${route(`${parent}\n${backend}`, 'a')}status: {parents: [{conditions: [{type: Accepted, status: "True"}]}]}\n`,
  ],
  [
    'IST0173',
    dr('host: payments\nsubsets: [{name: v9, labels: {version: v9}}]', 'a'),
    ['7 {version: v9}}]'],
    dr('host: payments\nsubsets: [{name: v2, labels: {version: v2}}]', 'a'),
  ],
  ['IST0174', dr('host: nobody', 'a'), ['6 nobody'], dr('host: payments', 'a')],
  [
    'KIA0102',
    authz('rules: [{to: [{operation: {methods: [GET, POTS]}}]}]', 'a'),
    ['6 POTS'],
    authz('rules: [{to: [{operation: {methods: [GET, P*]}}]}]', 'a'),
  ],
  [
    'KIA0104',
    authz('rules: [{to: [{operation: {hosts: [nobody, "payments:80", "*.com"]}}]}]', 'a'),
    ['6 nobody'],
    authz('rules: [{to: [{operation: {hosts: [payments.default]}}]}]', 'a'),
  ],
  [
    'KIA0105',
    all(pa('mtls: {mode: DISABLE}', 'p'), authz('rules: [{from: [{source: {namespaces: [x]}}]}]', 'a')),
    ['13 [x'],
    all(pa('mtls: {mode: PERMISSIVE}', 'p'), authz('rules: [{from: [{source: {namespaces: [x]}}]}]', 'a')),
  ],
  [
    'KIA0106',
    authz('rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/nobody]}}]}]', 'a'),
    ['6 cluster.local/ns/default/sa/nobody'],
    authz('rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/orders, "*/sa/x"]}}]}]', 'a'),
  ],
  [
    'KIA0201',
    all(
      dr('host: payments\nsubsets: [{name: v1, labels: {version: v1}}]', 'a'),
      dr('host: payments.default.svc.cluster.local\nsubsets: [{name: v1, labels: {version: v1}}]', 'b'),
    ),
    ['7 v1', '15 v1'],
    all(
      dr('host: payments\nsubsets: [{name: v1, labels: {version: v1}}]', 'a'),
      dr('host: payments\nsubsets: [{name: v2, labels: {version: v2}}]', 'b'),
    ),
  ],
  [
    'KIA0203',
    dr('host: payments\nsubsets: [{name: v1, labels: {verison: v1}}]', 'a'),
    ['7 v1'],
    dr('host: payments\nsubsets: [{name: v1, labels: {version: v1, app: payments}}]', 'a'),
  ],
  [
    'KIA0205',
    all(
      inRoot(pa('mtls: {mode: DISABLE}', 'p')),
      inRoot(dr('host: "*.local"\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL}}', 'd')),
    ),
    ['16 ISTIO_MUTUAL'],
    inRoot(dr('host: "*.local"\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL}}', 'd')),
  ],
  [
    'KIA0206',
    all(pa('mtls: {mode: DISABLE}', 'p'), dr(when('{mode: ISTIO_MUTUAL}'), 'd')),
    ['14 ISTIO_MUTUAL'],
    all(pa('mtls: {mode: STRICT}', 'p'), dr(when('{mode: ISTIO_MUTUAL}'), 'd')),
  ],
  [
    'KIA0207',
    all(pa('mtls: {mode: STRICT}', 'p'), dr(when('{mode: DISABLE}'), 'd')),
    ['14 DISABLE'],
    all(pa('mtls: {mode: PERMISSIVE}', 'p'), dr(when('{mode: DISABLE}'), 'd')),
  ],
  [
    'KIA0208',
    all(
      inRoot(pa('mtls: {mode: STRICT}', 'p')),
      inRoot(dr('host: "*.svc.cluster.local"\ntrafficPolicy: {tls: {mode: DISABLE}}', 'd')),
    ),
    ['16 DISABLE'],
    all(
      inRoot(pa('mtls: {mode: PERMISSIVE}', 'p')),
      inRoot(dr('host: "*.svc.cluster.local"\ntrafficPolicy: {tls: {mode: DISABLE}}', 'd')),
    ),
  ],
  [
    'IST0112',
    all(rules('- route: [{destination: {host: pay.example.com}}]'), se(outside(`${https}, ${http}`), 'e')),
    ['8 {host: pay.example.com'],
    all(rules('- route: [{destination: {host: pay.example.com}}]'), se(outside(https), 'e')),
  ],
  ['IST0118', se(outside(https.replace('HTTPS', 'HTTP')), 'e'), ['8 https'], se(outside(https), 'e')],
  ['IST0134', se(outside('{number: 9000, name: db, protocol: TCP}'), 'e'), ['8 TCP'], se(outside(https), 'e')],
  [
    'IST0166',
    se(
      'hosts: [db.example.com]\nresolution: STATIC\nports: [{number: 80, name: http, protocol: HTTP}]\nworkloadSelector: {labels: {app: db}}',
      'e',
    ),
    ['9 {app: db}'],
    se(
      'hosts: [db.example.com]\nresolution: STATIC\nports: [{number: 80, name: http, protocol: HTTP}]\nworkloadSelector: {labels: {app: orders}}',
      'e',
    ),
  ],
  [
    'IST0177',
    all(se(outside(https), 'e'), se(outside(https.replace('HTTPS', 'TLS').replace('https', 'tls')), 'f')),
    ['8 HTTPS', '17 TLS'],
    all(se(outside(https), 'e'), se(outside(http), 'f')),
  ],
  [
    'IST0101',
    rules('- route: [{destination: {host: pay.example.com}}]'),
    ['8 pay.example.com'],
    all(
      rules('- route: [{destination: {host: api.example.com}}]'),
      se(outside(https).replace('pay', '"*').replace('com]', 'com"]').replace('DNS', 'NONE'), 'e'),
    ),
  ],
  [
    'INM0101',
    rules('- route: [{destination: {host: payments, subset: v2}}]'),
    ['8 v2'],
    all(
      rules('- route: [{destination: {host: payments, subset: v2}}]'),
      dr('host: payments\nsubsets: [{name: v2, labels: {version: v2}}]', 'd'),
    ),
  ],
  [
    'INM0102',
    all(sp('service: payments', 'a'), sp('service: payments', 'b')),
    ['6 payments', '13 payments'],
    sp('service: payments', 'a'),
  ],
  [
    'INM0103',
    sp('service: payments\nretryNonIdempotent: true', 'a'),
    ['7 true'],
    sp('service: payments\nretryNonIdempotent: true\nretryAttempts: 0', 'a'),
  ],
  [
    'INM0104',
    rules(`- ${to}\n  timeout: 1s\n  retries: {attempts: 3, perTryTimeout: 400ms}`),
    ['10 400ms'],
    rules(`- ${to}\n  timeout: 1s\n  retries: {attempts: 1, perTryTimeout: 400ms}`),
  ],
  [
    'INM0104',
    all(rules(`- ${to}\n  retries: {attempts: 3, perTryTimeout: 400ms}`), sp('service: payments\ntimeoutMs: 900', 'p')),
    ['9 400ms'],
    rules(`- ${to}\n  retries: {attempts: 3, perTryTimeout: 400ms}`),
  ],
  [
    'INM0105',
    all(
      rules(`- match: [{sourceLabels: {app: orders}}]\n  ${to}\n  timeout: 9s`),
      sp('service: orders\ntimeoutMs: 2000', 'p'),
    ),
    ['10 9s'],
    all(
      rules(`- match: [{sourceLabels: {app: orders}}]\n  ${to}\n  timeout: 1s`),
      sp('service: orders\ntimeoutMs: 2000', 'p'),
    ),
  ],
  [
    'INM0105',
    all(
      ts('sourceService: orders\ndestinationService: payments', 'a'),
      sp('service: orders\ntimeoutMs: 500', 'p'),
      sp('service: payments\ntimeoutMs: 900', 'q'),
    ),
    ['6 orders'],
    all(
      ts('sourceService: orders\ndestinationService: payments', 'a'),
      sp('service: orders\ntimeoutMs: 900', 'p'),
      sp('service: payments\ntimeoutMs: 900', 'q'),
    ),
  ],
  [
    'INM0106',
    dr('host: payments\ntrafficPolicy: {outlierDetection: {consecutive5xxErrors: 0}}', 'a'),
    ['7 {consecutive5xxErrors:'],
    dr(
      'host: payments\ntrafficPolicy: {outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 3}}',
      'a',
    ),
  ],
  [
    'INM0106',
    dr('host: payments\ntrafficPolicy: {outlierDetection: {minHealthPercent: 60}}', 'a'),
    ['7 60'],
    dr('host: payments\ntrafficPolicy: {outlierDetection: {minHealthPercent: 50}}', 'a'),
  ],
]

describe('each analyzer says its code at the place of the mistake, and nothing about its neighbour', () => {
  it.each(cases)('%s %#', (code, bad, places, good) => {
    const bads = found(bad).filter((line) => line.startsWith(code))
    expect(bads.map((line, i) => line.slice(0, `${code} ${places[i]}`.length))).toEqual(
      places.map((place) => `${code} ${place}`),
    )
    expect(found(good).filter((line) => line.startsWith(code))).toEqual([])
  })

  it('has a case for every code, and a line in docs/analyze.md', () => {
    const codes = [...Object.keys(validationCodes), ...analyzers.flatMap((a) => Object.keys(a.codes))].sort()
    expect([...new Set(cases.map(([code]) => code))].sort()).toEqual(codes)
    const page = readFileSync(join(import.meta.dirname, '../../docs/analyze.md'), 'utf8')
    for (const code of codes) expect(page).toContain(`| ${code} |`)
  })
})

describe('an analysis', () => {
  it('of files alone does not guess who is there', () => {
    const alone = (text: string) =>
      analyze({ text, settings: defaults }).map(({ code, severity, line }) => `${severity} ${code} ${line}`)
    const text = all(
      rules('- route: [{destination: {host: payments}}]'),
      dr('host: payments\nsubsets: [{name: v1, labels: {version: v1}}]', 'd'),
      authz('selector: {matchLabels: {app: x}}\nrules: [{from: [{source: {principals: [a/ns/b/sa/c]}}]}]', 'z'),
    )
    expect(alone(text)).toEqual([])
    expect(alone(text.replace('{host: payments}', '{host: paymnets}'))).toEqual(['warning IST0101 8'])
    expect(alone(text.replace('{host: payments}', '{host: payments, subset: v9}'))).toEqual(['error IST0101 8'])
    expect(alone(rules('- route: [{destination: {host: payments, subset: v9}}]'))).toEqual(['warning INM0101 8'])
  })

  it('of files over a store sees both as one: what is replaced is not looked at', () => {
    const input = (name: string, spec: unknown) => ({
      ...{ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', namespace: 'default', name },
      ...{ labels: {}, annotations: {}, spec },
    })
    const http = [{ route: [{ destination: { host: 'payments' } }] }]
    const objects = stored([
      input('a', { hosts: ['nobody'], http: [{ delegate: { name: 'x' } }] }),
      input('b', { hosts: ['payments'], http }),
      input('c', { hosts: ['orders'], http: [{ route: [{ destination: { host: 'ghost' } }] }] }),
    ])
    const findings = analyze({ text: rules(`- ${to}`), objects, registry, settings: defaults })
    expect(findings.map(({ code, subject, line }) => `${code} ${subject} ${line ?? '-'}`)).toEqual([
      'IST0109 VirtualService/default/b -',
      'IST0101 VirtualService/default/c -',
      'IST0109 VirtualService/default/a 6',
    ])
  })

  it('says nothing about objects of Kubernetes', () => {
    expect(found('apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {anything: 1}\n')).toEqual([])
  })

  it('does not take servers outside of the mesh for its own', () => {
    const strict = inRoot(pa('mtls: {mode: STRICT}', 'p'))
    const tls = dr('host: pay.example.com\ntrafficPolicy: {tls: {mode: SIMPLE, caCertificates: /ca.pem}}', 'd')
    expect(found(all(strict, se(outside(https), 'e'), tls))).toEqual([])
  })

  it('of a mesh-wide rule leaves hosts aside that have a rule of their own', () => {
    const wide = inRoot(dr('host: "*.local"\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL}}', 'd'))
    const plain = pa('selector: {matchLabels: {app: payments}}\nmtls: {mode: DISABLE}', 'p')
    expect(found(all(plain, wide))).toEqual(['KIA0205 16 ISTIO_MUTUAL}}'])
    expect(found(all(plain, wide, dr(when('{mode: DISABLE}'), 'own')))).toEqual([])
  })
})
