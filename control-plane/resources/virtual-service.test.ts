import { describe, expect, it } from 'vitest'
import { formatProblem } from '../../src/errors.ts'
import { parseDocuments } from './document.ts'
import { validateBatch } from './validate.ts'

const services = ['payments', 'audit'].map((service) => ({ service, namespace: 'default', firstSeenAt: 0 }))

function check(text: string) {
  const { documents } = parseDocuments(text, 'mesh.yaml')
  const { problems } = validateBatch(documents, { objects: [], endpoints: [], services })
  const lines = (severity: string) => problems.filter((p) => p.severity === severity).map(formatProblem)
  return { errors: lines('error'), warnings: lines('warning') }
}

function vs(http: string, name = 'a', spec = 'hosts: [payments]'): string {
  const rules = `${http.replace(/^/gm, '    ')}`
  return `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ${name}}\nspec:\n  ${spec}\n  http:\n${rules}\n---\n`
}

const to = 'route: [{destination: {host: payments}}]'
const rules = (...matches: string[]) => vs(matches.map((match) => `- match: [${match}]\n  ${to}`).join('\n'))

describe('rules that no call gets to', () => {
  it.each([
    ['{uri: {prefix: /a}}', '{uri: {prefix: /ab}}'],
    ['{uri: {prefix: /a}}', '{uri: {exact: /a/b}, method: {exact: GET}}'],
    ['{uri: {exact: /a}}', '{uri: {exact: /a}}'],
    ['{uri: {prefix: /A}, ignoreUriCase: true}', '{uri: {prefix: /ab}}'],
    ['{uri: {regex: "/a.*"}}', '{uri: {exact: /abc}}'],
    ['{uri: {regex: "/a.*"}}', '{uri: {regex: "/a.*"}, headers: {x: {}}}'],
    ['{uri: {prefix: /}, headers: {x: {}}}', '{headers: {x: {exact: "1"}}}'],
    ['{headers: {x: {prefix: a}}}', '{headers: {x: {exact: ab}, y: {}}}'],
    ['{withoutHeaders: {x: {exact: ab}}}', '{withoutHeaders: {x: {prefix: a}}}'],
    ['{queryParams: {q: {exact: "1"}}}', '{queryParams: {q: {exact: "1"}}, port: 80}'],
    ['{sourceLabels: {app: web}}', '{sourceLabels: {app: web, version: v1}}'],
    ['{sourceNamespace: web}', '{sourceNamespace: web, uri: {prefix: /x}}'],
  ])('%s leaves nothing for %s', (first, second) => {
    const { errors, warnings } = check(rules(first, second))
    expect(errors).toEqual([])
    expect(warnings.join()).toContain('spec.http[1].match[0]: is never reached: http[0].match[0] matches all')
  })

  it.each([
    ['{uri: {prefix: /ab}}', '{uri: {prefix: /a}}'],
    ['{uri: {exact: /a}}', '{uri: {prefix: /a}}'],
    ['{uri: {prefix: /a}}', '{uri: {prefix: /A}, ignoreUriCase: true}'],
    ['{uri: {prefix: /a}, method: {exact: GET}}', '{uri: {prefix: /a}}'],
    ['{uri: {prefix: /a}}', '{uri: {regex: "/ab"}}'],
    ['{uri: {regex: "/a.*"}}', '{uri: {prefix: /a}}'],
    ['{headers: {x: {exact: a}}}', '{headers: {x: {}}}'],
    ['{withoutHeaders: {x: {prefix: a}}}', '{withoutHeaders: {x: {exact: ab}}}'],
    ['{withoutHeaders: {x: {}}}', '{headers: {x: {}}}'],
    ['{port: 80}', '{port: 81}'],
    ['{sourceLabels: {app: web, version: v1}}', '{sourceLabels: {app: web}}'],
    ['{sourceNamespace: web}', '{uri: {prefix: /x}}'],
  ])('%s leaves something for %s', (first, second) => {
    expect(check(rules(first, second))).toEqual({ errors: [], warnings: [] })
  })

  it.each([
    ['{uri: {prefix: api}}', 'uri.prefix: never matches: paths begin with "/"'],
    ['{method: {exact: get}}', 'method.exact: never matches: methods are upper case'],
    ['{uri: {exact: ""}}', 'uri.exact: never matches: paths begin with "/"'],
    ['{uri: {exact: "/a?b=1"}}', 'uri.exact: never matches: the query is not compared, use queryParams'],
  ])('%s has no call', (match, message) => {
    const { errors, warnings } = check(rules(match))
    expect({ errors, warnings }).toEqual({ errors: [], warnings: [expect.stringContaining(message)] })
  })
  it.each([
    [vs(`- ${to}`, 'a', 'hosts: [payments.default]'), 'spec.hosts[0]: is no service'],
    [vs('- route: [{destination: {host: payments.default.svc}}]'), 'destination.host: is no service'],
  ])('a short name with a dot is noticed', (text, message) => {
    const { errors, warnings } = check(text)
    expect(errors).toEqual([])
    expect(warnings.join()).toContain(message)
    expect(warnings.join()).toContain('did you mean "payments.default.svc.cluster.local"?')
  })
  it('a group of a regex rewrite in another notation is noticed', () => {
    const rewrite = "rewrite: {uriRegexRewrite: {match: '/a/(.*)', rewrite: '/b/$1'}}"
    expect(check(vs(`- ${to}\n  ${rewrite}`)).warnings.join()).toContain(
      '"$1" is sent as it is: groups are written \\1',
    )
  })
  it('an empty rewrite of the path is refused', () => {
    expect(check(vs(`- ${to}\n  rewrite: {uri: ""}`)).errors.join()).toContain('spec.http[0].rewrite.uri: is empty')
  })
  it.each(['{uri: {prefix: ""}}', '{uri: {exact: "*"}, method: {exact: OPTIONS}}'])('%s has calls', (match) => {
    expect(check(rules(match))).toEqual({ errors: [], warnings: [] })
  })

  it('counts alternatives of the same rule, and not rules that delegate', () => {
    expect(check(rules('{uri: {prefix: /a}}, {uri: {prefix: /a/b}}')).warnings.join()).toContain(
      'http[0].match[1]: is never reached: match[0] matches all that this does',
    )
    const delegating = vs(`- delegate: {name: d}\n- match: [{uri: {prefix: /a}}]\n  ${to}`)
    expect(check(delegating + vs(`- ${to}`, 'd', 'hosts: []')).warnings.join()).not.toContain('never reached')
  })

  it('a scheme that no call of the mesh has', () => {
    expect(check(rules('{scheme: {exact: https}}')).warnings.join()).toContain('match[0].scheme: never matches')
    expect(check(rules('{scheme: {prefix: http}}')).warnings).toEqual([])
  })
})

describe('parts that have no effect', () => {
  it.each([
    [vs('[]'), 'has no rules for HTTP'],
    [
      vs('- route: [{destination: {host: payments}, weight: 1}, {destination: {host: audit}}]'),
      'route[1]: has no weight',
    ],
    [
      vs(`- mirror: {host: audit}\n  mirrorPercent: 1\n  mirrorPercentage: {value: 2}\n  ${to}`),
      'http[0].mirrorPercent: has no effect beside mirrorPercentage',
    ],
    [vs(`- mirror: {host: nobody}\n  ${to}`), 'http[0].mirror.host: no workload has registered as nobody'],
    [
      vs(`- mirrors: [{destination: {host: audit, subset: x}}]\n  ${to}`),
      'mirrors[0].destination.subset: no DestinationRule',
    ],
    [vs('- delegate: {name: d}'), 'http[0].delegate: VirtualService/default/d does not exist: the rule has no effect'],
    [
      vs('- delegate: {name: d}') + vs(`- ${to}`, 'd', 'hosts: [audit]'),
      'VirtualService/default/d has hosts of its own',
    ],
    [
      vs('- delegate: {name: d}') + vs(`- ${to}`, 'd', 'exportTo: ["~"]'),
      'VirtualService/default/d is not exported to default',
    ],
    [
      `${vs(`- ${to}`)}apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {parentRefs: [{group: "", kind: Service, name: payments}]}\n`,
      'spec.hosts[0]: HTTPRoute/default/r is attached to "payments.default.svc.cluster.local": the older one decides',
    ],
  ])('%#: %s', (text, message) => {
    const { errors, warnings } = check(text)
    expect(errors).toEqual([])
    expect(warnings.join('\n')).toContain(message)
  })
})
