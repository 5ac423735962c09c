import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatProblem } from '../../src/errors.ts'
import type { EndpointRecord } from '../store/store.ts'
import { documentOf, parseDocuments } from './document.ts'
import { kinds } from './kinds.ts'
import { type ExistingState, validateBatch } from './validate.ts'

const endpoint = (service: string, version: string): EndpointRecord => ({
  ...{ service, namespace: 'default', address: '10.0.0.1', port: 80, labels: { app: service, version }, locality: '' },
  ...{ weight: 1, spiffeId: 'spiffe://cluster.local/ns/default/sa/x', health: 'HEALTHY', instanceId: 'i' },
})
const existing: ExistingState = {
  objects: [],
  endpoints: [endpoint('payments', 'v1'), endpoint('payments', 'v2'), endpoint('orders', 'v1')],
  services: [],
}

function check(text: string, state = existing) {
  const { documents, problems } = parseDocuments(text, 'mesh.yaml')
  const batch = validateBatch(documents, state)
  const all = [...problems, ...batch.problems]
  return {
    ...batch,
    lines: all.map((p) => `${p.severity} ${formatProblem(p)}`),
    errors: all.filter((p) => p.severity === 'error').map(formatProblem),
    warnings: all.filter((p) => p.severity === 'warning').map(formatProblem),
  }
}

const head = (kind: string, apiVersion: string, name = 'a') =>
  `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: ${name}}\nspec:\n`
const indent = (spec: string) => `${spec.replace(/^/gm, '  ')}\n`
const vs = (spec: string, name = 'a') => head('VirtualService', 'networking.istio.io/v1', name) + indent(spec)
const dr = (spec: string, name = 'a') => head('DestinationRule', 'networking.istio.io/v1', name) + indent(spec)
const authz = (spec: string) => head('AuthorizationPolicy', 'security.istio.io/v1') + indent(spec)
const pa = (spec: string) => head('PeerAuthentication', 'security.istio.io/v1') + indent(spec)
const sp = (spec: string, name = 'a') => head('ServicePolicy', 'inmesh.dev/v1', name) + indent(spec)
const ts = (spec: string, name = 'a') => head('TrafficSplit', 'inmesh.dev/v1', name) + indent(spec)
const se = (spec: string) => head('ServiceEntry', 'networking.istio.io/v1') + indent(spec)
const we = (spec: string) => head('WorkloadEntry', 'networking.istio.io/v1') + indent(spec)
const wg = (spec: string) => head('WorkloadGroup', 'networking.istio.io/v1') + indent(spec)
const http = 'ports: [{number: 80, name: http, protocol: HTTP}]'
const route = 'route: [{destination: {host: payments}}]'

describe('a document', () => {
  it.each([
    ['just text', 'must be a mapping'],
    ['[1]', 'must be a mapping'],
    ['kind: VirtualService', 'apiVersion: is required'],
    ['apiVersion: v1', 'kind: is required'],
    [
      vs(`hosts: [a]`).replace('/v1', '/v9'),
      'apiVersion: "networking.istio.io/v9" is not an apiVersion of VirtualService',
    ],
    [vs('hosts: [a]').replace('VirtualService', 'VirtualServce'), 'unknown kind "VirtualServce"'],
    [vs('hosts: [a]').replace('VirtualService', 'Gateway'), 'Gateway is not supported yet'],
    [vs('hosts: [a]').replace('metadata: {name: a}', 'metadata: {}'), 'metadata.name: is required'],
    [vs('hosts: [a]').replace('name: a', 'name: A_b'), 'metadata.name: must be lower-case'],
    [vs('hosts: [a]').replace('name: a', 'name: a, labels: {x: 1}'), 'metadata.labels.x: must be a string, not 1'],
    [vs('hosts: [a]').replace('name: a', 'nmae: a'), 'metadata.nmae: unknown field (did you mean "name"?)'],
    [vs('hosts: [a]').replace('spec:', 'specs:'), 'specs: unknown field (did you mean "spec"?)'],
  ])('%#: %s', (text, message) => {
    const { errors, objects } = check(text)
    expect(errors.join('\n')).toContain(message)
    expect(errors.join('\n')).toContain('mesh.yaml:')
    expect(objects).toEqual([])
  })

  it('may carry what Kubernetes and `get` add to it', () => {
    const text = vs(`hosts: [payments]\nhttp: [{${route}}]`).replace(
      'name: a',
      'name: a, uid: x, generation: 3, resourceVersion: "7", creationTimestamp: null, managedFields: []',
    )
    expect(check(`${text}status: {ok: true}\n`).errors).toEqual([])
  })

  it('goes to the namespace it names, else to the default one', () => {
    const text = (namespace: string) => vs(`hosts: [a]`).replace('name: a', `name: a${namespace}`)
    expect(check(text('')).objects[0]?.namespace).toBe('default')
    expect(check(text(', namespace: shop')).objects[0]?.namespace).toBe('shop')
    const { documents } = parseDocuments(text(''))
    expect(validateBatch(documents, existing, { namespace: 'other' }).objects[0]?.namespace).toBe('other')
  })

  it('is kept as it was written, without defaults', () => {
    const { objects } = check(vs(`hosts: [Payments]\nhttp: [{${route}, timeout: 5s, mirror: {host: x}}]`))
    expect(objects[0]?.spec).toEqual({
      hosts: ['Payments'],
      http: [{ route: [{ destination: { host: 'payments' } }], timeout: '5s', mirror: { host: 'x' } }],
    })
  })
})

describe('a batch', () => {
  it('is refused whole because of one document, and names every problem in the order of the text', () => {
    const { objects, errors } = check(
      [vs('hosts: [a]\nhttp: 7'), sp('service: payments'), dr('hots: payments', 'b')].join('---\n'),
    )
    expect(objects).toEqual([])
    expect(errors).toEqual([
      'mesh.yaml:6:9: VirtualService/default/a spec.http: must be a list, not 7',
      'mesh.yaml:18:3: DestinationRule/default/b spec.host: is required',
      'mesh.yaml:18:3: DestinationRule/default/b spec.hots: unknown field (did you mean "host"?)',
    ])
  })

  it('may not hold one object twice', () => {
    expect(check(`${sp('service: a')}---\n${sp('service: b')}`).errors).toEqual([
      'mesh.yaml:7:1: ServicePolicy/default/a: is in this batch twice',
    ])
  })

  it('leaves Kubernetes workloads aside with a notice and refuses unknown groups', () => {
    const deployment = 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {anything: 1}\n'
    const { objects, warnings, errors } = check(`${deployment}---\n${sp('service: payments')}`)
    expect([objects.length, errors]).toEqual([1, []])
    expect(warnings[0]).toContain('Deployment/d: skipped')
    expect(check(deployment.replace('apps/v1', 'example.com/v1')).errors).toHaveLength(1)
  })
})

describe('fields', () => {
  it.each([
    // VirtualService
    [vs('http: []'), 'spec.hosts: must name at least one host'],
    [vs('hosts: []'), 'spec.hosts: must name at least one host'],
    [vs('hosts: ["*"]'), 'spec.hosts[0]: "*" is not a host name'],
    [vs('hosts: ["a b"]'), 'is not a host name'],
    [vs('hosts: ["*.b", x.b]'), 'spec.hosts[1]: overlaps "*.b"'],
    [vs('hosts: [a, A]'), 'spec.hosts[1]: "a" is listed twice'],
    [vs('hosts: [a]\nhttp: [{match: []}]'), 'spec.http[0]: needs one of route, redirect, directResponse, delegate'],
    [vs('hosts: [a]\nhttp: [{route: []}]'), 'needs one of route, redirect'],
    [vs('hosts: [a]\nhttp: [{route: [{destination: {host: "*.x"}}]}]'), 'cannot have a wildcard'],
    [
      vs('hosts: [a]\nhttp: [{route: [{destination: {host: a, subset: v1}, weight: -1}]}]'),
      'weight: must be at least 0',
    ],
    [vs('hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: 1.5}]}]'), 'weight: must be a whole number'],
    [
      vs('hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]}]'),
      'the weights sum to 0',
    ],
    [
      vs(
        'hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: 4294967295}, {destination: {host: b}, weight: 1}]}]',
      ),
      'more than 4294967295',
    ],
    [vs(`hosts: [a]\nhttp: [{${route}, match: [{uri: {regex: "(a"}}]}]`), 'is not an RE2 regex'],
    [vs(`hosts: [a]\nhttp: [{${route}, match: [{uri: {regex: "a(?=b)"}}]}]`), 'is not an RE2 regex'],
    [vs(`hosts: [a]\nhttp: [{${route}, match: [{headers: {x: {regex: "\\\\1(a)"}}}]}]`), 'is not an RE2 regex'],
    [vs(`hosts: [a]\nhttp: [{${route}, match: [{uri: {regex: "${'x'.repeat(1025)}"}}]}]`), 'at most 1024'],
    [
      vs(`hosts: [a]\nhttp: [{${route}, match: [{uri: {exact: /a, prefix: /b}}]}]`),
      'exactly one of exact, prefix, regex',
    ],
    [vs(`hosts: [a]\nhttp: [{${route}, match: [{uri: {}}]}]`), 'exactly one of exact, prefix, regex'],
    [
      vs(`hosts: [a]\nhttp: [{${route}, match: [{headers: {x: {prefix: ""}}}]}]`),
      'headers.x.prefix: must not be empty',
    ],
    [vs(`hosts: [a]\nhttp: [{${route}, match: [{headers: {"x y": {}}}]}]`), 'is not a header name'],
    [vs(`hosts: [a]\nhttp: [{${route}, match: [{headers: {method: {exact: GET}}}]}]`), 'use match.method'],
    [vs(`hosts: [a]\nhttp: [{${route}, match: [{hedaers: {}}]}]`), 'hedaers: unknown field (did you mean "headers"?)'],
    [vs(`hosts: [a]\nhttp: [{${route}, match: [{port: 0}]}]`), 'port: must be at least 1'],
    [
      vs(`hosts: [a]\nhttp: [{${route}, timeout: 5}]`),
      'timeout: must be a duration with its unit (like "250ms", "5s", "1h30m"), not 5',
    ],
    [
      vs(`hosts: [a]\nhttp: [{${route}, match: [{uri: /a}]}]`),
      'uri: must be one of { exact: ... }, { prefix: ... }, { regex: ... }, not "/a"',
    ],
    [vs(`hosts: [a]\nhttp: [{${route}, timeout: 5 s}]`), '"5 s" is not a duration'],
    [vs(`hosts: [a]\nhttp: [{${route}, timeout: -5s}]`), '"-5s" is not a duration'],
    [vs(`hosts: [a]\nhttp: [{${route}, retries: {attempts: 1, perTryTimeout: 0s}}]`), 'must be at least 1ms'],
    [vs(`hosts: [a]\nhttp: [{${route}, retries: {retryOn: 5xx}}]`), 'attempts is 0, which switches retries off'],
    [
      vs(`hosts: [a]\nhttp: [{${route}, retries: {attempts: 1, retryOn: "5xx,conect-failure"}}]`),
      '"conect-failure" is not a retry condition (did you mean "connect-failure"?)',
    ],
    [vs(`hosts: [a]\nhttp: [{${route}, retries: {attempts: 1, retryOn: "600"}}]`), '"600" is not a retry condition'],
    [vs(`hosts: [a]\nhttp: [{${route}, redirect: {uri: /x}}]`), 'http[0].redirect: cannot stand beside route'],
    [vs(`hosts: [a]\nhttp: [{directResponse: {status: 200}, redirect: {uri: /x}}]`), 'cannot stand beside redirect'],
    [vs(`hosts: [a]\nhttp: [{redirect: {uri: /x}, rewrite: {uri: /y}}]`), 'rewrite: cannot stand beside redirect'],
    [
      vs(
        `hosts: [a]\nhttp: [{directResponse: {status: 200}, fault: {abort: {httpStatus: 500, percentage: {value: 1}}}}]`,
      ),
      'fault: cannot stand beside directResponse',
    ],
    [vs('hosts: [a]\nhttp: [{redirect: {}}]'), 'redirect: changes nothing'],
    [
      vs('hosts: [a]\nhttp: [{redirect: {uri: /x, redirectCode: 200}}]'),
      'redirectCode: must be one of 301, 302, 303, 307, 308',
    ],
    [
      vs('hosts: [a]\nhttp: [{redirect: {port: 1, derivePort: FROM_REQUEST_PORT}}]'),
      'derivePort: cannot stand beside port',
    ],
    [vs('hosts: [a]\nhttp: [{redirect: {scheme: ftp}}]'), 'scheme: must be http or https'],
    [vs('hosts: [a]\nhttp: [{directResponse: {status: 99}}]'), 'status: must be at least 200'],
    [vs('hosts: [a]\nhttp: [{directResponse: {status: 200, body: {}}}]'), 'body: needs one of string, bytes'],
    [vs(`hosts: [a]\nhttp: [{${route}, rewrite: {}}]`), 'rewrite: changes nothing'],
    [
      vs(`hosts: [a]\nhttp: [{${route}, rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}}]`),
      'uriRegexRewrite: cannot stand beside uri',
    ],
    [
      vs(`hosts: [a]\nhttp: [{${route}, rewrite: {uriRegexRewrite: {match: "(a", rewrite: b}}}]`),
      'uriRegexRewrite.match: ',
    ],
    [
      vs(`hosts: [a]\nhttp: [{${route}, rewrite: {uriRegexRewrite: {match: "(a)", rewrite: "\\\\2"}}}]`),
      'uriRegexRewrite.rewrite: ',
    ],
    [
      vs(`hosts: [a]\nhttp: [{${route}, rewrite: {authority: x}, headers: {request: {set: {Host: y}}}}]`),
      'set.host: cannot stand beside rewrite.authority',
    ],
    [
      vs(`hosts: [a]\nhttp: [{${route}, headers: {request: {add: {connection: y}}}}]`),
      'cannot be edited: it belongs to the connection',
    ],
    [
      vs(`hosts: [a]\nhttp: [{${route}, headers: {response: {remove: [content-length]}}}]`),
      'cannot be removed: it belongs to the connection',
    ],
    [vs(`hosts: [a]\nhttp: [{${route}, headers: {request: {set: {x: "100%"}}}}]`), 'set.x: "100%" is not a format'],
    [vs(`hosts: [a]\nhttp: [{${route}, fault: {}}]`), 'fault: needs delay or abort'],
    [
      vs(`hosts: [a]\nhttp: [{${route}, fault: {abort: {percentage: {value: 1}}}}]`),
      'abort: needs one of httpStatus, grpcStatus',
    ],
    [
      vs(`hosts: [a]\nhttp: [{${route}, fault: {abort: {grpcStatus: unavailable, percentage: {value: 1}}}}]`),
      '"unavailable" is not a gRPC code (did you mean "UNAVAILABLE"?)',
    ],
    [
      vs(`hosts: [a]\nhttp: [{${route}, fault: {abort: {httpStatus: 500, percentage: {value: 101}}}}]`),
      'value: must be 0, or between 0.0001 and 100',
    ],
    [vs(`hosts: [a]\nhttp: [{${route}, fault: {delay: {fixedDelay: 0s}}}]`), 'fixedDelay: must be at least 1ms'],
    [
      vs(`hosts: [a]\nhttp: [{${route}, fault: {delay: {exponentialDelay: 1s}}}]`),
      'exponentialDelay: is not supported',
    ],
    [
      vs(`hosts: [a]\nhttp: [{${route}, mirror: {host: b}, mirrors: [{destination: {host: b}}]}]`),
      'mirrors: cannot stand beside mirror',
    ],
    [vs('hosts: [a]\nhttp: [{redirect: {uri: /x}, mirror: {host: b}}]'), 'mirror: needs a route'],
    [vs(`hosts: [a]\nhttp: [{${route}, corsPolicy: {maxAge: 1500ms}}]`), 'maxAge: must be whole seconds'],
    [vs(`hosts: [a]\nhttp: [{${route}, corsPolicy: {allowOrigins: [{regex: "(a"}]}}]`), 'is not an RE2 regex'],
    [vs('http: [{delegate: {name: b}}]'), 'delegate: is not possible here'],
    [vs(`hosts: []\ngateways: [mesh]\nhttp: [{${route}}]`), 'gateways: must not be set without hosts'],
    [vs('hosts: [a]\nexportTo: ["*", b]'), '"*" cannot stand beside others'],
    // DestinationRule
    [dr('host: a\nsubsets: [{name: v1}, {name: v1}]'), 'the subset "v1" is defined twice'],
    [dr('host: a\ntrafficPolicy: {tls: {mode: SIMPEL}}'), 'did you mean "SIMPLE"?'],
    [dr('host: a\ntrafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}'), 'must be at most 100'],
    [dr('host: a\ntrafficPolicy: {outlierDetection: {interval: 0s}}'), 'must be at least 1ms'],
    [dr('host: a\ntrafficPolicy: {connectionPool: {tcp: {maxConnection: 1}}}'), 'did you mean "maxConnections"?'],
    [dr('host: a\ntrafficPolicy: {loadBalancer: {simple: RR}}'), 'must be one of UNSPECIFIED, ROUND_ROBIN'],
    [
      dr('host: a\ntrafficPolicy: {portLevelSettings: [{port: {number: 80}}, {port: {number: 80}}]}'),
      'port 80 is set twice',
    ],
    [dr('host: a\nworkloadSelector: {matchLabels: {}}'), 'must name at least one label'],
    // ServiceEntry, WorkloadEntry, WorkloadGroup
    [se('hosts: ["*"]'), 'spec.hosts[0]: "*" is not a host name'],
    [se(`hosts: [a.b, A.b]\n${http}\nresolution: DNS`), 'hosts[1]: "a.b" is listed twice'],
    [se('hosts: [a.b]\nresolution: DNS'), 'ports: must name at least one port'],
    [se(`hosts: ["*.a.b"]\n${http}\nresolution: DNS`), 'a name with a wildcard cannot be resolved'],
    [se(`hosts: [a.b]\n${http}\nresolution: DYNAMIC_DNS`), 'DYNAMIC_DNS is for hosts with a wildcard'],
    [
      se('hosts: [a.b]\nports: [{number: 80, name: x}, {number: 80, name: y}]\nresolution: DNS'),
      'port 80 is listed twice',
    ],
    [se('hosts: [a.b]\nports: [{number: 80, name: x}, {number: 81, name: x}]\nresolution: DNS'), '"x" is listed twice'],
    [se('hosts: [a.b]\nports: [{number: 80, name: x, protocol: HTPP}]'), 'protocol: must be one of HTTP'],
    [se(`hosts: [a.b]\n${http}\nresolution: STATIC`), 'STATIC needs endpoints or a workloadSelector'],
    [
      se(`hosts: [a.b]\n${http}\nresolution: STATIC\nendpoints: [{address: c.d}]`),
      'must be an IP address with resolution STATIC',
    ],
    [
      se(`hosts: [a.b]\n${http}\nresolution: STATIC\nendpoints: [{address: 10.0.0.1, ports: {htp: 1}}]`),
      'is the name of no port of this service',
    ],
    [
      se(`hosts: [a.b]\n${http}\nresolution: DNS\nendpoints: [{address: c.d}]\nworkloadSelector: {labels: {a: b}}`),
      'workloadSelector: cannot stand beside endpoints',
    ],
    [
      se(`hosts: [a.b]\n${http}\nresolution: DNS_ROUND_ROBIN\nendpoints: [{address: c.d}, {address: e.f}]`),
      'DNS_ROUND_ROBIN takes one endpoint',
    ],
    [se(`hosts: [a.b]\n${http}\nresolution: NONE\nendpoints: [{address: c.d}]`), 'cannot stand beside resolution NONE'],
    [se(`hosts: [a.b]\n${http}\nresolution: DNS\nexportTo: ["~", "*"]`), 'cannot stand beside others'],
    [we('address: "10.0.0.300 "'), 'is neither an IP address nor a host name'],
    [we('address: 10.0.0.1\nlocality: a//b'), 'must be "region", "region/zone" or "region/zone/subzone"'],
    [wg('template: {}\nprobe: {}'), 'needs exactly one of httpGet, tcpSocket, grpc'],
    [wg('template: {}\nprobe: {exec: {command: [x]}}'), 'exec: is not possible'],
    // AuthorizationPolicy
    [authz('action: AUDIT\nrules: [{}]'), '"AUDIT" is not supported yet'],
    [authz('action: DENY'), 'a DENY policy without rules would never match'],
    [authz('rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]'), 'requestPrincipals: is not supported yet'],
    [authz('rules: [{from: [{source: {remoteIpBlocks: ["10.0.0.0/8"]}}]}]'), 'remoteIpBlocks: is not supported yet'],
    [authz('rules: [{from: [{source: {principal: ["*"]}}]}]'), 'principal: unknown field (did you mean "principals"?)'],
    [authz('rules: [{from: []}]'), 'from: must not be empty'],
    [authz('rules: [{to: [{operation: {paths: []}}]}]'), 'paths: must not be empty'],
    [authz('rules: [null]'), 'spec.rules[0]: must be a mapping'],
    [authz('rules: [{when: [{key: "request.auth.claims[iss]", values: [x]}]}]'), 'is not supported yet'],
    [authz('rules: [{when: [{key: source.namespce, values: [x]}]}]'), 'did you mean "source.namespace"?'],
    [authz(`rules: [{to: [{operation: {paths: ["/{*}${'.'.repeat(600)}"]}}]}]`), 'only {*} and {**} are operators'],
    [authz(`rules: [{to: [{operation: {paths: ["/{*}/${'.'.repeat(600)}"]}}]}]`), 'is too long'],
    [authz('targetRefs: []'), 'targetRefs: is not supported yet'],
    // PeerAuthentication
    [pa('mtls: {mode: strict}'), 'did you mean "STRICT"?'],
    [pa('portLevelMtls: {80: {mode: STRICT}}'), 'needs a selector'],
    [pa('selector: {matchLabels: {app: a}}\nportLevelMtls: {http: {mode: STRICT}}'), 'is not a port number'],
    [pa('selector: {matchLabels: {app: a}}\nportLevelMtls: {99999: {mode: STRICT}}'), 'is not a port number'],
    // ServicePolicy, TrafficSplit
    [sp('service: a\nretryAttempts: -1'), 'retryAttempts: must be at least 0'],
    [sp('service: a\ncb_threshold: 0'), 'must be at least 1'],
    [sp('service: a\nretry_attempts: 1\nretryAttempts: 2'), 'is another spelling of retryAttempts, set twice'],
    [sp('service: a\ncbWindowSec: 0'), 'cbWindowSec: must be more than 0'],
    [sp('service: a\nretryAttempts: "3"'), 'retryAttempts: must be a number, not "3": take the quotes away'],
    [sp('timeoutMs: 1'), 'spec.service: is required'],
    [sp('service: a\ntimeout: 5s'), 'timeout: unknown field'],
    [ts('destinationService: a\nv1Weight: 1.5'), 'must be a whole number'],
    [ts('destination_service: a\nheader_match: {x: 1}'), 'must be a string, not 1: put it in quotes'],
    [ts('destinationService: a\nv3Weight: 1'), 'v3Weight: unknown field (did you mean "v1Weight"?)'],
  ])('%#', (text, message) => {
    const { errors, objects } = check(text)
    expect(errors.join('\n')).toContain(message)
    expect(errors[0]).toMatch(/^mesh\.yaml:\d+:\d+: /)
    expect(objects).toEqual([])
  })

  it('points at the very key and value, in the spelling of the text', () => {
    expect(check(sp('service_name: a\nretry_attempts: -1\ncb_treshold: 3')).errors).toEqual([
      'mesh.yaml:6:19: ServicePolicy/default/a spec.retryAttempts: must be at least 0',
      'mesh.yaml:7:3: ServicePolicy/default/a spec.cb_treshold: unknown field (did you mean "cbThreshold"?)',
    ])
  })

  it.each([
    [
      vs(`hosts: [payments]\nhttp: [{${route}, fault: {abort: {httpStatus: 500}}}]`),
      'fault.abort: has no percentage, which means 0 %: nothing happens',
    ],
    [vs(`hosts: [payments]\nhttp: [{${route}}, {${route}}]`), 'is never reached: http[0] matches everything'],
    [vs(`hosts: [payments]\ngateways: [edge]\nhttp: [{${route}}]`), 'has no effect on calls inside the mesh'],
    [
      vs(`hosts: [payments]\nhttp: [{${route}, timeout: 1s, retries: {attempts: 1, perTryTimeout: 2s}}]`),
      'it is not shorter than timeout',
    ],
    [
      vs(`hosts: [payments]\nhttp: [{${route}, retries: {attempts: 1, retryOn: "5xx, reset"}}]`),
      'Istio refuses the blanks',
    ],
    [
      vs('hosts: [payments]\nhttp: [{route: [{destination: {host: ghost}}]}]'),
      'no workload has registered as ghost.default.svc.cluster.local yet',
    ],
    [
      vs('hosts: [payments]\nhttp: [{route: [{destination: {host: payments, subset: v9}}]}]'),
      'no DestinationRule defines the subset "v9"',
    ],
    [
      dr('host: payments\nsubsets: [{name: a, labels: {version: v9}}]'),
      'no endpoint of payments.default.svc.cluster.local has these labels',
    ],
    [
      dr('host: payments\ntrafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}'),
      'useClientProtocol: has no effect: calls begin in this process',
    ],
    [authz('rules: [{from: [{source: {principals: ["spiffe://a/b"]}}]}]'), 'written without spiffe://'],
    [authz('rules: [{from: [{source: {notNamespaces: [a]}}]}]'), 'callers without any identity match too'],
    [authz('rules: [{to: [{operation: {methods: [get]}}]}]'), 'methods are upper case'],
    [ts('destinationService: payments\nv1Weight: 0'), 'both weights are 0: every call goes to v1'],
  ])('accepts with a warning: %#', (text, message) => {
    const { warnings, errors, objects } = check(text)
    expect(errors).toEqual([])
    expect(warnings.join('\n')).toContain(message)
    expect(objects).toHaveLength(1)
  })

  it('accepts without a word what is right', () => {
    const good = [
      vs(
        'hosts: [payments]\nhttp: [{match: [{uri: {prefix: ""}, headers: {x: {regex: "(?i)a|b"}}}], route: [{destination: {host: payments, subset: v2, port: {number: 80}}, weight: 5}], timeout: 1m30.5s}]',
      ),
      dr('host: payments\nsubsets: [{name: a, labels: {version: v1}}]\ntrafficPolicy: {}'),
      authz('selector: {matchLabels: {app: payments}}\nrules:'),
      pa('mtls: {mode: STRICT}'),
      sp('service_name: payments\ncb_threshold: 100'),
      ts(
        'source_service: orders\ndestination_service: payments\nv1_weight: 95\nv2_weight: 5\nheader_match: {X-Canary: "true"}',
      ),
    ]
    for (const text of good) expect(check(text).lines, text).toEqual([])
  })

  it('reads column spellings into the one spelling that is stored', () => {
    expect(check(ts('destination_service: payments\nv2_weight: 5')).objects[0]?.spec).toEqual({
      destinationService: 'payments',
      v2Weight: 5,
    })
  })

  it('names splits and policies after their services when they have no name', () => {
    const unnamed = (text: string) => check(text.replace('metadata: {name: a}\n', '')).objects[0]?.name
    expect(unnamed(sp('service: payments'))).toBe('payments')
    expect(unnamed(ts('destinationService: payments'))).toBe('payments')
    expect(unnamed(ts('destinationService: payments\nsourceService: orders'))).toBe('payments-from-orders')
  })
})

describe('objects seen together', () => {
  it('a subset may be defined in the same batch', () => {
    const routes = vs('hosts: [payments]\nhttp: [{route: [{destination: {host: payments, subset: odd}}]}]')
    expect(check(routes).warnings.join()).toContain('subset "odd"')
    const rule = dr('host: payments.default.svc.cluster.local\nsubsets: [{name: odd, labels: {app: payments}}]')
    expect(check(`${routes}---\n${rule}`).warnings).toEqual([])
  })

  it('a host that another VirtualService has is a warning, unless it is the same object', () => {
    const batch = check(vs(`hosts: [payments]\nhttp: [{${route}}]`, 'first'))
    const state: ExistingState = {
      ...existing,
      objects: batch.objects.map((o) => ({
        ...o,
        uid: 'u',
        generation: 1,
        revision: 1,
        createdAt: 1,
        updatedAt: 1,
        updatedBy: '',
      })),
    }
    expect(
      check(vs(`hosts: [payments.default.svc.cluster.local]\nhttp: [{${route}}]`, 'second'), state).warnings[0],
    ).toContain('VirtualService/default/first has the host "payments.default.svc.cluster.local" too')
    expect(check(vs(`hosts: [payments]\nhttp: [{${route}}]`, 'first'), state).warnings).toEqual([])
  })

  it('a second ServicePolicy for a service is refused', () => {
    const { errors } = check(`${sp('service: payments', 'a')}---\n${sp('service: payments', 'b')}`)
    expect(errors[0]).toContain('"payments" has a policy already: ServicePolicy/default/b')
  })

  it('a second trafficPolicy for a host in one namespace is a warning', () => {
    const one = (name: string) => dr('host: payments\ntrafficPolicy: {loadBalancer: {simple: RANDOM}}', name)
    expect(check(`${one('a')}---\n${one('b')}`).warnings.join()).toContain('the older one decides')
  })
})

describe('any document', () => {
  it('never makes validation throw', () => {
    const leaf = fc.oneof(fc.string({ maxLength: 6 }), fc.integer(), fc.boolean(), fc.constant(null), fc.double())
    const key = fc.constantFrom(
      'hosts',
      'http',
      'route',
      'match',
      'uri',
      'headers',
      'destination',
      'host',
      'weight',
      'rules',
      'from',
      'source',
      'when',
      'key',
      'selector',
      'matchLabels',
      'trafficPolicy',
      'subsets',
      'name',
      'labels',
      'mtls',
      'mode',
      'service',
      'retries',
      'retryOn',
      'tls',
      '__proto__',
      'constructor',
      'toString',
    )
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { depthSize: 'small' },
        leaf,
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(key, tie('tree'), { maxKeys: 4 }),
      ),
    }))
    const document = fc.record({
      kind: fc.constantFrom(...kinds.map((k) => k.kind)),
      metadata: fc.oneof(fc.constant({ name: 'a' }), tree),
      spec: tree,
    })
    fc.assert(
      fc.property(document, (value) => {
        const kind = kinds.find((k) => k.kind === value.kind)!
        const { objects, problems } = validateBatch(
          [documentOf({ ...value, apiVersion: kind.apiVersions[0] })],
          existing,
        )
        expect(objects.length === 1 || problems.some((p) => p.severity === 'error')).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  it('is refused when a condition hides under __proto__', () => {
    const spec = JSON.parse(
      '{"hosts":["payments"],"http":[{"match":[{"headers":{"__proto__":{"exact":"x"}}}],"route":[{"destination":{"host":"payments"}}]}]}',
    )
    const value = { apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name: 'a' }, spec }
    expect(validateBatch([documentOf(value)], existing).objects).toEqual([])
  })
})

describe('every kind', () => {
  it.each(kinds.map((kind) => [kind.kind, kind] as const))('%s explains itself', (_, kind) => {
    expect(kind.docs.length).toBeGreaterThan(40)
    expect(kind.columns.length).toBeGreaterThan(0)
    expect(kind.names).toContain(kind.kind.toLowerCase())
  })
})
