import { describe, expect, it } from 'vitest'
import type { ClusterSpec } from '../model/cluster.ts'
import type { RouteSpec, SessionSpec } from '../model/route.ts'
import { Kind } from './outcome.ts'
import type { LabExchange } from './testing/lab.ts'
import { Lab } from './testing/lab.ts'
import { clusterSpec, endpoint, endpoints, outlierSpec, retrySpec, routeSpec } from './testing/specs.ts'

const session: SessionSpec = { cookie: 'seat', ttlMs: 0, path: '' }
const labOf = (cluster: Partial<ClusterSpec> = {}, route: Partial<RouteSpec> = {}) =>
  Lab.of({ endpoints: endpoints(5), ...cluster }, { session, ...route })
const cookie = (text: string) => `seat=${Buffer.from(text).toString('base64')}`
const at = (lab: Lab, text: string, header = cookie(text)) =>
  lab.call(true, { cookie: header }).latest.host.spec.address

/** Set-Cookie of an answer, as a transport asks for it. */
function given(exchange: LabExchange): string[] {
  const headers: Record<string, string | string[] | undefined> = {}
  const { route } = exchange.call
  const view = { request: exchange, call: exchange.call, response: headers, routeName: '' }
  route.edits?.response?.apply(headers, view)
  return [headers['set-cookie'] ?? []].flat()
}

describe('a session', () => {
  it('stays with the host that its cookie names, whatever the balancer would choose', () => {
    const lab = labOf()
    for (let i = 0; i < 5; i++) for (let n = 0; n < 5; n++) expect(at(lab, `10.0.0.${n}:80;c`)).toBe(`10.0.0.${n}`)
    expect(at(lab, '', `a=b; ${cookie('10.0.0.3:80;c')}; c=d`)).toBe('10.0.0.3')
  })

  it('begins with any host, whose cookie the caller gets; one that has it already gets none', () => {
    const lab = labOf()
    const first = lab.call()
    first.latest.answer(200)
    const { address } = first.latest.host.spec
    expect(given(first)).toEqual([`${cookie(`${address}:80;c`)}; HttpOnly`])
    const second = lab.call(true, { cookie: given(first)[0]!.split(';')[0]! })
    expect(second.latest.host).toBe(first.latest.host)
    second.latest.answer(200)
    expect(given(second)).toEqual([])
  })

  it('says how long its cookie lives, and for which paths', () => {
    const lab = labOf({}, { session: { cookie: 'seat', ttlMs: 90_500, path: '/' } })
    const first = lab.call()
    first.latest.answer(200)
    expect(given(first)).toEqual([expect.stringMatching(/^seat=[\w+/]+=*; Max-Age=90; Path=\/; HttpOnly$/)])
    const elsewhere = labOf({}, { session: { ...session, path: '/shop' } })
    const other = elsewhere.call(true, { cookie: cookie('10.0.0.3:80;c') })
    expect(other.call.seat).toBeNull()
    other.latest.answer(200)
    expect(given(other)).toEqual([])
  })

  it.each([
    ['/shop', '/shop', true],
    ['/shop', '/shop/cart?x=/y', true],
    ['/shop/', '/shop/cart', true],
    ['/shop', '/shopping', false],
    ['/shop/', '/shop', false],
  ])('with the path %s is about %s: %s', (path, asked, about) => {
    const lab = labOf({}, { session: { ...session, path } })
    const exchange = Object.assign(lab.exchange(true, { cookie: cookie('10.0.0.3:80;c') }), { path: asked })
    lab.run(exchange)
    expect(exchange.call.seat !== null).toBe(about)
  })

  it('of a host with several addresses goes to the first that is known; IPv6 in brackets', () => {
    const lab = labOf({ endpoints: [endpoint(1), endpoint(2), endpoint(3, { address: 'fd00::3' })] })
    for (let i = 0; i < 5; i++) {
      expect(at(lab, '[fd00::9]:80,[fd00::3]:80,10.0.0.1:80;c')).toBe('fd00::3')
      expect(at(lab, '10.0.0.2:80')).toBe('10.0.0.2')
    }
    const call = lab.call(true, { cookie: cookie('[fd00::3]:80;c') })
    call.latest.answer(200)
    expect(given(call)).toEqual([])
  })

  it.each([
    ['no host of the cluster', '10.9.9.9:80;c'],
    ['another port', '10.0.0.1:81;c'],
    ['nothing', ';'],
    ['nonsense', '\u0000\u0001'],
    ['too much', `10.0.0.1:80;${'c'.repeat(2_000)}`],
  ])('whose cookie names %s is a new one', (_, text) => {
    const call = labOf().call(true, { cookie: cookie(text) })
    expect(call.call.seat).toBeNull()
    call.latest.answer(200)
    expect(given(call)).toHaveLength(1)
  })

  it('goes elsewhere while its host is ejected, refuses connections, drains or is gone, and is told so', () => {
    const all = endpoints(3)
    const outlier = outlierSpec({ consecutive5xx: 1, maxEjectionPercent: 100, baseEjectionTimeMs: 5_000 })
    const lab = labOf({ endpoints: all, outlier })
    const moved = () => at(lab, '10.0.0.1:80;c') !== '10.0.0.1'
    lab.call(true, { cookie: cookie('10.0.0.1:80;c') }).latest.answer(503)
    expect(moved()).toBe(true)
    const away = lab.call(true, { cookie: cookie('10.0.0.1:80;c') })
    away.latest.answer(200)
    expect(given(away)).toHaveLength(1)
    lab.advance(20_000)
    expect(moved()).toBe(false)
    lab.call(true, { cookie: cookie('10.0.0.1:80;c') }).latest.end(Kind.ConnectFailure, null)
    expect(moved()).toBe(true)
    lab.advance(20_000)
    expect(moved()).toBe(false)
    const draining = [all[0]!, { ...all[1]!, health: 'DRAINING' as const }, all[2]!]
    lab.apply([clusterSpec('c', { endpoints: draining })], [routeSpec('c', { session })])
    expect(moved()).toBe(true)
    lab.apply(
      [clusterSpec('c', { endpoints: draining, sessionHosts: ['HEALTHY', 'DRAINING'] })],
      [routeSpec('c', { session })],
    )
    expect(moved()).toBe(false)
    lab.apply([clusterSpec('c', { endpoints: all, sessionHosts: [] })], [routeSpec('c', { session })])
    expect(new Set(Array.from({ length: 9 }, () => at(lab, '10.0.0.1:80;c'))).size).toBe(3)
    lab.apply([clusterSpec('c', { endpoints: [all[0]!, all[2]!] })], [routeSpec('c', { session })])
    expect(moved()).toBe(true)
  })

  it('a retry goes to another host, and the session with it', () => {
    const lab = labOf({}, { retry: retrySpec({ retryOn: ['5xx'], numRetries: 1, baseIntervalMs: 1 }) })
    const exchange = lab.call(true, { cookie: cookie('10.0.0.2:80;c') })
    exchange.latest.answer(503)
    lab.advance(100)
    expect(exchange.attempts.map((a) => a.host.spec.address)).toEqual(['10.0.0.2', expect.not.stringMatching(/2$/)])
    exchange.latest.answer(200)
    const { address } = exchange.latest.host.spec
    expect(given(exchange)).toEqual([`${cookie(`${address}:80;c`)}; HttpOnly`])
  })

  it('stays with its destination where several are drawn by weight', () => {
    const lab = new Lab()
    const clusters = [
      { name: 'a', weight: 1 },
      { name: 'b', weight: 99 },
    ]
    lab.apply(
      clusters.map(({ name }) => clusterSpec(name, { endpoints: endpoints(3) })),
      [routeSpec('a', { session, action: { kind: 'forward', clusters } })],
    )
    for (let i = 0; i < 30; i++) expect(lab.call(true, { cookie: cookie('10.0.0.1:80;a') }).call.cluster.name).toBe('a')
    const unknown = lab.call(true, { cookie: cookie('10.0.0.1:80;gone') })
    expect(unknown.call.seat?.spec.address).toBe('10.0.0.1')
    unknown.latest.answer(200)
    expect(given(unknown)).toHaveLength(1)
  })

  it('costs nothing where there are none', () => {
    const lab = Lab.of({})
    const { call } = lab.call(true, { cookie: cookie('10.0.0.1:80;c') })
    expect([call.route.session, call.route.edits, call.seat]).toEqual([null, null, null])
  })
})
