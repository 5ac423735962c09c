import { describe, expect, it } from 'vitest'
import type { MirrorSpec, RouteSpec } from '../model/route.ts'
import type { Shadow } from './mirror.ts'
import { Lab } from './testing/lab.ts'
import { breakerSpec, clusterSpec, retrySpec, routeSpec } from './testing/specs.ts'

const mirror = (over: Partial<MirrorSpec> = {}): MirrorSpec => ({
  cluster: 'm',
  perMillion: 1_000_000,
  shadowSuffix: true,
  compare: false,
  maxBodyBytes: 65_536,
  ...over,
})

function labOf(mirrors: readonly MirrorSpec[], over: Partial<RouteSpec> = {}): Lab {
  const lab = new Lab()
  lab.apply([clusterSpec('c'), clusterSpec('m', { breaker: breakerSpec() })], [routeSpec('c', { mirrors, ...over })])
  return lab
}

function shadowsOf(lab: Lab): Shadow[] {
  const exchange = lab.exchange()
  const shadows: Shadow[] = []
  exchange.shadow = (shadow) => shadows.push(shadow)
  lab.run(exchange)
  return shadows
}

describe('a mirror', () => {
  it('gets a copy on a route of its own: no retries, no faults, the gates of its cluster', () => {
    const fault = { delay: null, abort: null, headers: [], maxActive: 1 }
    const [shadow] = shadowsOf(labOf([mirror({ compare: true })], { retry: retrySpec(), fault }))
    expect(shadow).toMatchObject({ cluster: 'm', compare: true, maxBodyBytes: 65_536 })
    expect(shadow!.route).toMatchObject({ name: 'mirror', shadow: true, retry: null, mirror: null, timeoutMs: 15_000 })
    expect(shadow!.route!.cluster.name).toBe('m')
    expect(shadow!.route!.policies).toHaveLength(1)
  })

  it('shares the time limit of the route when that is short', () => {
    expect(shadowsOf(labOf([mirror()], { timeoutMs: 200 }))[0]!.route!.timeoutMs).toBe(200)
  })

  it.each([
    ['svc', 'svc-shadow'],
    ['svc:8080', 'svc-shadow:8080'],
  ])('is asked as a shadow: %s is %s', (before, after) => {
    const [shadow] = shadowsOf(labOf([mirror()]))
    expect(shadow!.route!.edits!.authority(before)).toBe(after)
    expect(shadowsOf(labOf([mirror({ shadowSuffix: false })]))[0]!.route!.edits).toBeNull()
  })

  it('sees what the route makes of a request', () => {
    const rewrite = { path: { kind: 'full', value: '/new' }, authority: 'other:80' } as const
    const request = [{ kind: 'set', name: 'x', value: '1', keepEmpty: false }] as const
    const lab = labOf([mirror()], { rewrite, headers: { request, response: [{ kind: 'remove', name: 'server' }] } })
    const { edits } = shadowsOf(lab)[0]!.route!
    expect(edits!.path('/a?b')).toBe('/new?b')
    expect(edits!.authority('svc')).toBe('other-shadow:80')
    const headers: string[] = []
    edits!.request(headers, lab.exchange(), lab.call().call)
    expect(headers).toEqual(['x', '1'])
    expect(edits!.response).toBeNull()
  })

  it('of several takes its own share each', () => {
    const lab = labOf([mirror({ perMillion: 300_000 }), mirror({ perMillion: 600_000 }), mirror({ perMillion: 0 })])
    let [first, second] = [0, 0]
    const { mirror: compiled } = lab.call().call.route
    for (let i = 0; i < 3_000; i++) {
      const exchange = lab.exchange()
      const seen: Shadow[] = []
      exchange.shadow = (shadow) => seen.push(shadow)
      lab.run(exchange)
      first += seen.length === 0 ? 1 : 0
      second += seen.length === 2 ? 1 : 0
    }
    expect(compiled).not.toBeNull()
    expect(Math.abs(first / 3_000 - 0.7 * 0.4)).toBeLessThan(0.04)
    expect(Math.abs(second / 3_000 - 0.3 * 0.6)).toBeLessThan(0.04)
  })

  it('that does not exist has no route', () => {
    const lab = labOf([mirror({ cluster: 'none' })])
    expect(shadowsOf(lab)).toMatchObject([{ cluster: 'none', route: null }])
  })

  it('appears with its cluster', () => {
    const lab = new Lab()
    const route = routeSpec('c', { mirrors: [mirror()] })
    lab.apply([clusterSpec('c')], [route])
    expect(shadowsOf(lab)[0]!.route).toBeNull()
    lab.apply([clusterSpec('c'), clusterSpec('m')], [route])
    expect(shadowsOf(lab)[0]!.route).not.toBeNull()
  })

  it('hears nothing of calls that no gate admits', () => {
    const abort = { perMillion: 1_000_000, how: { kind: 'http' as const, status: 500 } }
    const fault = { delay: null, abort, headers: [], maxActive: Number.POSITIVE_INFINITY }
    expect(shadowsOf(labOf([mirror()], { fault }))).toEqual([])
  })

  it('of no share costs nothing', () => {
    expect(labOf([mirror({ perMillion: 0 })]).call().call.route.mirror).toBeNull()
  })
})
