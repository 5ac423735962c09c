import { describe, expect, it } from 'vitest'
import { formatProblem } from '../../src/errors.ts'
import { parseDocuments } from './document.ts'
import { kinds } from './kinds.ts'
import { validateBatch } from './validate.ts'

const services = ['payments', 'v1', 'v2'].map((service) => ({ service, namespace: 'default', firstSeenAt: 0 }))

function check(text: string) {
  const { documents, problems } = parseDocuments(text, 'mesh.yaml')
  const batch = validateBatch(documents, { objects: [], endpoints: [], services })
  const lines = (severity: string) =>
    [...problems, ...batch.problems].filter((p) => p.severity === severity).map(formatProblem)
  return { errors: lines('error'), warnings: lines('warning'), objects: batch.objects }
}

const parent = '[{group: "", kind: Service, name: payments}]'
function route(rules: string, { kind = 'HTTPRoute', parents = parent, name = 'a', more = '' } = {}): string {
  return `apiVersion: gateway.networking.k8s.io/v1\nkind: ${kind}\nmetadata: {name: ${name}}\nspec:\n  parentRefs: ${parents}\n${more}  rules:\n${rules.replace(/^/gm, '  ')}\n---\n`
}
const to = 'backendRefs: [{name: v1, port: 80}]'
const filter = (text: string, backends = to) => route(`- filters: [${text}]\n  ${backends}`)

describe('HTTPRoute', () => {
  it('a route that says everything is accepted', () => {
    const rules = `
- name: all
  matches:
    - path: {type: PathPrefix, value: /a}
      method: GET
      headers: [{name: x, value: "1"}]
      queryParams: [{type: RegularExpression, name: q, value: "[0-9]+"}]
  filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, value: d}], remove: [e]}}
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, percent: 10}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: v1, port: 80}, fraction: {numerator: 1}}}
  backendRefs: [{name: v1, port: 80, weight: 1}, {group: "", kind: Service, name: v2, namespace: default, port: 80}]
  timeouts: {request: 2s, backendRequest: 500ms}
  retry: {codes: [500], attempts: 1, backoff: 10ms}
- matches: [{path: {type: Exact, value: /old}}]
  filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.example, port: 8443, statusCode: 301}}]`
    expect(check(route(rules))).toMatchObject({ errors: [], warnings: [] })
  })

  it('v1beta1 too, with and without rules', () => {
    const text = route(`- ${to}`).replace('/v1', '/v1beta1')
    expect(check(text)).toMatchObject({ errors: [], warnings: [] })
    expect(check(text.replace(/ {2}rules:[\s\S]*---/, '')).warnings[0]).toContain('no backend')
  })

  it.each([
    // Matches.
    ['- matches: [{path: {value: a}}]', 'spec.rules[0].matches[0].path.value: must begin with "/"'],
    ['- matches: [{path: {value: /a//b}}]', 'path.value: must not contain "//"'],
    ['- matches: [{path: {value: /a/../b}}]', 'must not contain "/../"'],
    ['- matches: [{path: {value: /a%2Fb}}]', 'must not contain "%2F"'],
    ['- matches: [{path: {value: /a/..}}]', 'must not end with'],
    ['- matches: [{path: {value: "/a b"}}]', 'has a character'],
    ['- matches: [{path: {type: RegularExpression, value: "a("}}]', 'path.value:'],
    ['- matches: [{path: {type: RegularExpression, value: "(?=a)"}}]', 'path.value:'],
    ['- matches: [{path: {type: Suffix, value: /a}}]', 'path.type:'],
    ['- matches: [{method: get}]', 'matches[0].method:'],
    ['- matches: [{headers: [{type: RegularExpression, name: x, value: "("}]}]', 'headers[0].value:'],
    ['- matches: [{headers: [{name: "a b", value: x}]}]', 'headers[0].name:'],
    ['- matches: [{queryParams: [{name: x}]}]', 'queryParams[0].value: is required'],
    ['- matchs: [{}]', 'spec.rules[0].matchs: unknown field (did you mean "matches"?)'],
    [`- name: x\n  ${to}\n- name: x\n  ${to}`, 'spec.rules[1].name: "x" is the name of a rule before it'],
    // Backends.
    ['- backendRefs: [{name: v1}]', 'spec.rules[0].backendRefs[0].port: is required'],
    ['- backendRefs: [{name: V_1, port: 80}]', 'backendRefs[0].name: "V_1" is not a name of a Service'],
    ['- backendRefs: [{name: v1, port: 80, weight: 1000001}]', 'backendRefs[0].weight: must be at most 1000000'],
    // Timeouts and retries.
    [
      `- timeouts: {request: 1s, backendRequest: 2s}\n  ${to}`,
      'timeouts.backendRequest: must not be longer than request',
    ],
    [`- timeouts: {request: 1.5s}\n  ${to}`, 'timeouts.request: "1.5s" is not a duration'],
    [`- timeouts: {request: 1d}\n  ${to}`, 'timeouts.request: "1d" is not a duration'],
    [`- retry: {codes: [200]}\n  ${to}`, 'retry.codes[0]: must be at least 400'],
    // Filters.
    [
      `- filters: [{type: RequestRedirect, requestRedirect: {}}]\n  ${to}`,
      'backendRefs: cannot stand beside a RequestRedirect',
    ],
  ])('refuses %s', (rules, message) => {
    const { errors, objects } = check(route(rules))
    expect(errors.join('\n')).toContain(message)
    expect(errors.join('\n')).toMatch(/mesh\.yaml:\d+/)
    expect(objects).toEqual([])
  })

  it.each([
    [
      '{type: ExtensionRef, extensionRef: {group: x, kind: y, name: z}}',
      'filters[0].type: ExtensionRef is not supported',
    ],
    ['{type: RequestMirror}', 'filters[0].requestMirror: must be set for RequestMirror'],
    ['{type: URLRewrite, urlRewrite: {hostname: "*.x"}}', 'urlRewrite.hostname: cannot have a wildcard'],
    ['{type: CORS, cors: {allowOrigins: [a]}}', 'cors.allowOrigins[0]: "a" is not an origin'],
    ['{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}', 'path.replaceFullPath: must be set'],
    [
      '{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /a, replacePrefixMatch: /b}}}',
      'replacePrefixMatch: cannot stand beside ReplaceFullPath',
    ],
    ['{type: URLRewrite, urlRewrite: {}, cors: {}}', 'filters[0].cors: cannot stand in a filter of type URLRewrite'],
    [
      '{type: URLRewrite, urlRewrite: {}}, {type: URLRewrite, urlRewrite: {}}',
      'filters[1].type: there is a URLRewrite before it',
    ],
    [
      '{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X, value: a}], remove: [x]}}',
      'requestHeaderModifier.remove[0]: "x" is changed twice',
    ],
    [
      '{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: Content-Length, value: "1"}]}}',
      'responseHeaderModifier.set[0]: content-length cannot be edited',
    ],
    [
      '{type: RequestMirror, requestMirror: {backendRef: {name: v1, port: 80}, percent: 1, fraction: {numerator: 1}}}',
      'requestMirror.fraction: cannot stand beside percent',
    ],
    [
      '{type: RequestMirror, requestMirror: {backendRef: {name: v1, port: 80}, fraction: {numerator: 101}}}',
      'requestMirror.fraction: must not be more than 1',
    ],
    [
      '{type: RequestMirror, requestMirror: {backendRef: {name: v1, port: 80}, percent: 101}}',
      'percent: must be at most 100',
    ],
  ])('refuses the filter %s', (text, message) => {
    expect(check(filter(text)).errors.join('\n')).toContain(message)
  })

  it('refuses a redirect beside a rewrite, and codes that are none', () => {
    const both = '{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}'
    expect(check(filter(both, '')).errors.join()).toContain('RequestRedirect cannot stand beside URLRewrite')
    const code = '{type: RequestRedirect, requestRedirect: {statusCode: 305}}'
    expect(check(filter(code, '')).errors.join()).toContain('requestRedirect.statusCode: must be one of 301, 302')
  })

  it.each(['[{}, {path: {value: /b}}]', '[{path: {type: Exact, value: /a}}]'])(
    'ReplacePrefixMatch needs one match with a prefix, not %s',
    (matches) => {
      const rule = (kind: string, field: string) =>
        route(
          `- matches: ${matches}\n  filters: [{type: ${kind}, ${field}: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]`,
        )
      for (const text of [rule('URLRewrite', 'urlRewrite'), rule('RequestRedirect', 'requestRedirect')])
        expect(check(text).errors.join()).toContain('ReplacePrefixMatch needs exactly one match, with a PathPrefix')
    },
  )

  it('refuses filters of backends that act on what is decided before', () => {
    const backend = (text: string) =>
      check(route(`- backendRefs: [{name: v1, port: 80, filters: [${text}]}]`)).errors.join()
    expect(backend('{type: RequestRedirect, requestRedirect: {}}')).toContain(
      'RequestRedirect is not supported in a backend',
    )
    expect(backend('{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /a}}}')).toContain(
      'backendRefs[0].filters[0].urlRewrite.path: is only possible in a filter of the rule',
    )
    expect(backend('{type: URLRewrite, urlRewrite: {hostname: a.b}}')).toBe('')
  })

  it.each([
    [route(`- ${to}`, { parents: '[{name: edge}]' }), 'spec.parentRefs: has no effect on calls inside the mesh'],
    [
      route(`- ${to}`, { parents: `[{name: edge}, ${parent.slice(1)}` }),
      'parentRefs[0]: is ignored: a Gateway has no calls',
    ],
    [route(`- ${to}`, { parents: '[{kind: Service, name: payments}]' }), 'parentRefs[0]: says no group'],
    [
      route(`- ${to}`, { parents: '[{group: "", kind: Service, name: nobody}]' }),
      'no workload has registered as nobody',
    ],
    [
      route(`- ${to}`, { more: '  hostnames: [a.example]\n' }),
      'spec.hostnames: has no effect on calls inside the mesh',
    ],
    [route('- backendRefs: [{name: nobody, port: 80}]'), 'backendRefs[0].name: no workload has registered as nobody'],
    [route('- backendRefs: [{group: x, kind: Y, name: v1}]'), 'its share of the calls is answered with 500'],
    [route('- matches: [{}]'), 'spec.rules[0]: has no backend that gets calls: they are answered with 500'],
    [route(`- matches: [{headers: [{name: x, value: a}, {name: X, value: b}]}]\n  ${to}`), 'headers[1]: has no effect'],
    [
      route(`- ${to}\n- matches: [{path: {type: RegularExpression, value: /a.*}}]\n  ${to}`),
      'rules[1].matches[0].path: is never reached',
    ],
    [route(`- sessionPersistence: {}\n  ${to}`), 'spec.rules[0].sessionPersistence: has no effect: use consistentHash'],
  ])('warns: %#', (text, message) => {
    const { errors, warnings } = check(text)
    expect(errors).toEqual([])
    expect(warnings.join('\n')).toContain(message)
  })

  it('refuses the same parent twice, but not two of its ports', () => {
    const twice = (a: string, b: string) =>
      check(route(`- ${to}`, { parents: `[${a}, ${b}]`.replaceAll('@', 'group: "", kind: Service, name: payments') }))
        .errors
    expect(twice('{@}', '{@, namespace: default}').join()).toContain('parentRefs[1]: is listed twice')
    expect(twice('{@, port: 80}', '{@, port: 81}')).toEqual([])
  })

  it('warns beside a VirtualService of the same host, and beside a GRPCRoute', () => {
    const virtualService =
      'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: p}\nspec: {hosts: [payments], http: [{route: [{destination: {host: v1}}]}]}\n---\n'
    expect(check(virtualService + route(`- ${to}`)).warnings.join()).toContain('VirtualService/default/p has the host')
    expect(check(route(`- ${to}`) + route(`- ${to}`, { kind: 'GRPCRoute', name: 'g' })).warnings.join()).toContain(
      'HTTPRoute/default/a spec.parentRefs[0]: has no effect where GRPCRoute/default/g is attached too',
    )
  })
})

describe('GRPCRoute', () => {
  const grpc = (rules: string) => check(route(rules, { kind: 'GRPCRoute' }))

  it('is accepted', () => {
    const rules = `- matches: [{method: {service: pay.v1.Payments, method: Charge}, headers: [{name: x, value: a}]}]\n  ${to}`
    expect(grpc(rules)).toMatchObject({ errors: [], warnings: [] })
  })

  it.each([
    ['- matches: [{method: {}}]', 'matches[0].method: needs service or method'],
    ['- matches: [{method: {service: /a}}]', 'method.service: "/a" is not a name of a service'],
    ['- matches: [{method: {method: a.b}}]', 'method.method: "a.b" is not a name of a method'],
    ['- matches: [{method: {type: RegularExpression, method: "("}}]', 'method.method:'],
    ['- matches: [{path: {value: /a}}]', 'path: unknown field'],
    ['- filters: [{type: URLRewrite, urlRewrite: {}}]', 'URLRewrite is not supported in a rule of a GRPCRoute'],
    ['- timeouts: {request: 1s}', 'timeouts: unknown field'],
  ])('refuses %s', (rules, message) => {
    expect(grpc(rules).errors.join('\n')).toContain(message)
  })
})

it('both have names for the command line', () => {
  for (const kind of ['HTTPRoute', 'GRPCRoute'])
    expect(kinds.find((k) => k.kind === kind)?.names).toContain(`${kind.toLowerCase()}s`)
})
