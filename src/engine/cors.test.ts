import { describe, expect, it } from 'vitest'
import type { CorsSpec } from '../model/route.ts'
import { compileCors } from './cors.ts'
import type { ResponseHeaders } from './format.ts'
import { Lab } from './testing/lab.ts'

const spec: CorsSpec = {
  allowOrigins: [
    { kind: 'exact', value: 'https://shop.example', ignoreCase: false },
    { kind: 'suffix', value: '.shop.example', ignoreCase: false },
  ],
  allowMethods: 'GET, POST',
  allowHeaders: 'x-a',
  exposeHeaders: 'x-b',
  maxAge: '86400',
  allowCredentials: true,
  forwardUnmatchedPreflights: true,
}

function request(headers: Record<string, string>, method = 'OPTIONS') {
  return { method, authority: 'svc', path: '/', header: (name: string) => headers[name] }
}
const asked = { 'access-control-request-method': 'PUT', 'access-control-request-headers': 'x-q' }

function preflight(over: Partial<CorsSpec>, headers: Record<string, string>, method?: string) {
  const rejection = compileCors({ ...spec, ...over }).preflight(request(headers, method))
  if (rejection === null) return null
  expect(rejection).toMatchObject({ status: 200, details: 'cors_response', body: '' })
  const pairs = rejection.headers
  return Object.fromEntries(pairs.flatMap((name, i) => (i % 2 === 0 ? [[name, pairs[i + 1]]] : [])))
}

describe('a preflight', () => {
  it('of an origin that may is answered here', () => {
    expect(preflight({}, { origin: 'https://a.shop.example', ...asked })).toEqual({
      'access-control-allow-origin': 'https://a.shop.example',
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'GET, POST',
      'access-control-allow-headers': 'x-a',
      'access-control-max-age': '86400',
    })
    const bare = { allowMethods: '*', allowHeaders: '*', maxAge: '', allowCredentials: false }
    expect(preflight(bare, { origin: 'https://shop.example', ...asked })).toEqual({
      'access-control-allow-origin': 'https://shop.example',
      'access-control-allow-methods': 'PUT',
      'access-control-allow-headers': 'x-q',
    })
  })

  it('of any origin, when the star allows it', () => {
    const allowOrigins = [{ kind: 'exact' as const, value: '*', ignoreCase: false }]
    expect(preflight({ allowOrigins }, { origin: 'null', ...asked })).toMatchObject({
      'access-control-allow-origin': 'null',
    })
  })

  it('of another origin goes to the peer, or is answered with nothing', () => {
    const evil = { origin: 'https://evil.example', ...asked }
    expect(preflight({}, evil)).toBeNull()
    expect(preflight({ forwardUnmatchedPreflights: false }, evil)).toEqual({})
  })

  it.each<[string, Record<string, string>, string?]>([
    ['without an origin', asked],
    ['without a method asked for', { origin: 'https://shop.example' }],
    ['by another method', { origin: 'https://shop.example', ...asked }, 'GET'],
  ])('%s is none', (_name, headers, method) => {
    expect(preflight({ forwardUnmatchedPreflights: false }, headers, method)).toBeNull()
  })

  it('is answered before faults and gates', () => {
    const abort = { perMillion: 1_000_000, how: { kind: 'http' as const, status: 500 } }
    const fault = { delay: null, abort, headers: [], maxActive: Number.POSITIVE_INFINITY }
    const lab = Lab.of({}, { cors: spec, fault })
    const target = lab.engine.outbound('svc')!.match(request({ origin: 'https://shop.example', ...asked }), lab.random)
    expect(target).toMatchObject({ kind: 'direct', rejection: { details: 'cors_response' } })
  })
})

describe('the answer to a request', () => {
  function answer(origin: string | undefined, headers: ResponseHeaders): ResponseHeaders {
    const view = request(origin === undefined ? {} : { origin }, 'GET')
    compileCors(spec).response.apply(headers, { request: view, call: null, response: headers, routeName: '' })
    return headers
  }

  it('says what its origin may read, whatever the peer said', () => {
    expect(answer('https://shop.example', { 'access-control-allow-origin': '*' })).toEqual({
      'access-control-allow-origin': 'https://shop.example',
      'access-control-allow-credentials': 'true',
      'access-control-expose-headers': 'x-b',
    })
  })

  it.each(['https://evil.example', '', undefined])('from %s is left alone', (origin) => {
    expect(answer(origin, { 'access-control-allow-origin': '*' })).toEqual({ 'access-control-allow-origin': '*' })
  })

  it('that this process gives in place of the peer says it too', () => {
    const lab = Lab.of({ endpoints: [] }, { cors: spec })
    const { route } = lab.call().call
    expect(route.edits!.local!.names).toContain('access-control-allow-origin')
    expect(route.edits!.response!.names).toContain('access-control-allow-origin')
  })
})
