import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Mesh } from '../../src/index.ts'
import { call, TrafficMesh } from '../support/traffic-mesh.ts'

/** A rule that answers with its own name. */
const rule = (name: string, match: string) =>
  `    - { name: ${name}, match: [${match}], directResponse: { status: 200, body: { string: ${name} } } }\n`
const rest = (name: string) => `    - directResponse: { status: 200, body: { string: ${name} } }\n`
const vs = (name: string, host: string, rules: string) =>
  `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: ${name} }\nspec:\n  hosts: ["${host}"]\n  http:\n${rules}---\n`
const to = 'route: [{ destination: { host: echo } }]'

const yaml = [
  vs(
    'payments',
    'payments',
    [
      rule('regex', '{ uri: { regex: "(?i)/RE/[a-z]+" } }'),
      rule('full', '{ uri: { regex: "/full" } }'),
      rule('case', '{ uri: { prefix: /CaSe }, ignoreUriCase: true }'),
      rule('joined', '{ uri: { exact: /joined }, headers: { x-a: { exact: "1,2" } } }'),
      rule('without', '{ uri: { exact: /without }, withoutHeaders: { x-a: { exact: "1" } } }'),
      rule('without-empty', '{ uri: { exact: /without-empty }, withoutHeaders: { x-a: { exact: "" } } }'),
      rule('query', '{ uri: { exact: /query }, queryParams: { key: { exact: "" } } }'),
      rule('query-there', '{ uri: { exact: /query-there }, queryParams: { key: {} } }'),
      rule('raw', '{ uri: { prefix: /raw/ } }'),
      rule('percent', '{ uri: { exact: /%61 } }'),
      rule('authority', '{ uri: { exact: /auth }, authority: { exact: payments } }'),
      rule('authority-port', '{ uri: { exact: /auth }, authority: { prefix: "payments:" } }'),
      rule('port', '{ uri: { exact: /port }, port: 8080 }'),
      rule('there', '{ uri: { exact: /there }, headers: { X-A: {} } }'),
      rule('star', '{ uri: { exact: /star }, headers: { x-a: { regex: "*" } } }'),
      rule('method', '{ uri: { exact: /method }, method: { regex: "P.*" } }'),
      `    - { match: [{ uri: { exact: /zero } }], route: [{ destination: { host: echo }, weight: 0 }] }\n`,
      `    - { match: [{ uri: { exact: /rewrite } }], rewrite: { uri: /rewritten/x }, ${to} }\n`,
      `    - { match: [{ uri: { prefix: /pre } }], rewrite: { uri: / }, ${to} }\n`,
      `    - { match: [{ uri: { prefix: /CI/ }, ignoreUriCase: true }], rewrite: { uri: /x/ }, ${to} }\n`,
      `    - { match: [{ uri: { exact: /host } }], headers: { request: { set: { Host: other.example } } }, ${to} }\n`,
      `    - { match: [{ uri: { prefix: /del } }], delegate: { name: child } }\n`,
      `    - { match: [{ uri: { exact: /own-query } }], redirect: { uri: "/n?own=1" } }\n`,
      `    - { match: [{ uri: { exact: /secure } }], redirect: { scheme: https, port: 443 } }\n`,
      `    - { match: [{ uri: { exact: /dialled } }], redirect: { uri: /x, derivePort: FROM_REQUEST_PORT } }\n`,
      rest('rest'),
    ].join(''),
  ),
  vs('child', '', rule('child', '{ uri: { prefix: /del/sub } }') + rule('child-out', '{ uri: { prefix: /out } }')),
  vs('wide', '*.shop.example', rest('wide')),
  vs('narrow', '*.a.shop.example', rest('narrow')),
  vs('outside', 'outside.example', rest('outside')),
  vs('address', '10.9.8.7', rest('address')),
]
  .join('')
  .replace('hosts: [""]', 'hosts: []')

describe('edges of matching and rewriting', () => {
  const mesh = new TrafficMesh(yaml)
  let web: Mesh
  beforeAll(async () => {
    await mesh.serve('payments')
    await mesh.serve('echo')
    web = await mesh.join('web')
  })
  afterAll(() => mesh.close())

  it.each<[url: string, decides: string, headers?: Record<string, string>, method?: string]>([
    ['http://payments/re/Abc', 'regex'],
    ['http://payments/re/abc1', 'rest'],
    ['http://payments/fullx', 'rest'],
    ['http://payments/full?x=/y', 'full'],
    ['http://payments/cAsE/x', 'case'],
    ['http://payments/joined', 'joined', { 'x-a': '1,2' }],
    ['http://payments/without', 'without'],
    ['http://payments/without', 'rest', { 'x-a': '1' }],
    ['http://payments/without', 'without', { 'x-a': '2' }],
    ['http://payments/without-empty', 'rest'],
    ['http://payments/without-empty', 'without-empty', { 'x-a': '1' }],
    ['http://payments/query?key', 'query'],
    ['http://payments/query?key=', 'query'],
    ['http://payments/query', 'rest'],
    ['http://payments/query?key=1', 'rest'],
    ['http://payments/query?key&key=1', 'query'],
    ['http://payments/query-there?a=b&key=5', 'query-there'],
    ['http://payments/query-there?k%65y=5', 'rest'],
    ['http://payments/raw%2Fx', 'rest'],
    ['http://payments/raw/%2F', 'raw'],
    ['http://payments/a', 'rest'],
    ['http://payments/%61', 'percent'],
    ['http://payments/auth', 'authority'],
    ['http://payments:80/auth', 'authority'],
    ['http://payments:8080/auth', 'authority-port'],
    ['http://payments.default/auth', 'rest'],
    ['http://payments:8080/port', 'port'],
    ['http://payments/port', 'rest'],
    ['http://payments/there', 'there', { 'x-a': '' }],
    ['http://payments/there', 'rest'],
    ['http://payments/star', 'star', { 'x-a': 'z' }],
    ['http://payments/star', 'rest'],
    ['http://payments/method', 'method', {}, 'PATCH'],
    ['http://payments/method', 'rest'],
    ['http://payments/zero', 'echo /zero payments'],
    ['http://payments/rewrite?a=b', 'echo /rewritten/x?a=b payments'],
    ['http://payments/pre/x', 'echo //x payments'],
    ['http://payments/prefix', 'echo /fix payments'],
    ['http://payments/ci/y', 'echo /x/y payments'],
    ['http://payments/host', 'echo /host other.example'],
    ['http://payments/del/sub/x', 'child'],
    ['http://payments/del/other', 'rest'],
    ['http://payments/out', 'rest'],
    ['http://payments/own-query?x=1', '301 http://payments/n?own=1'],
    ['http://payments/secure?x=1', '301 https://payments/secure?x=1'],
    ['http://payments:8080/dialled', '301 http://payments:8080/x'],
    ['http://payments//x', 'rest'],
    ['http://b.shop.example/', 'wide'],
    ['http://a.shop.example/', 'wide'],
    ['http://B.A.Shop.Example:80/', 'narrow'],
    ['http://outside.example.:80/', 'outside'],
    ['http://10.9.8.7/', 'address'],
  ])('%s is decided by %s %j', async (url, decides, headers = {}, method = 'GET') => {
    const { status, headers: answered, text, echo } = await call(web, url, { method, headers })
    const where = answered.get('location')
    const is = echo === null ? text : `${echo.service} ${echo.url} ${echo.host}`
    expect(where === null ? is : `${status} ${where}`).toBe(decides)
  })
})
