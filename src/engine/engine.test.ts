import { describe, expect, it } from 'vitest'
import { Kind } from './outcome.ts'
import { Lab, type LabExchange } from './testing/lab.ts'
import { breakerSpec, clusterSpec, endpoint, endpoints, outlierSpec, retrySpec, routeSpec } from './testing/specs.ts'

class Link {
  retired = 0
  retire(): void {
    this.retired++
  }
}

function linked(exchange: LabExchange): Link {
  const link = new Link()
  exchange.latest.host.http = link
  return link
}

describe('a new snapshot', () => {
  it('keeps what is compiled of what did not change', () => {
    const lab = new Lab()
    const listener = { name: 'svc', routes: { name: 'svc', virtualHosts: [] } }
    const spec = clusterSpec('c')
    const snapshot = {
      ...lab.engine.snapshot,
      listeners: new Map([
        ['svc', listener],
        ['svc.ns', listener],
      ]),
      clusters: new Map([['c', spec]]),
    }
    lab.engine.apply(snapshot)
    const { engine, cluster } = lab
    const before = engine.outbound('svc')
    expect(engine.outbound('svc.ns')).toBe(before)
    engine.apply({ ...snapshot, clusters: new Map([['c', { ...spec, endpoints: endpoints(5) }]]) })
    expect(engine.outbound('svc')).toBe(before)
    expect(lab.cluster).toBe(cluster)
    expect(cluster.hosts.length).toBe(5)
  })

  it('compiles routes again when the gates of their cluster are others', () => {
    const lab = Lab.of({})
    const routes = lab.engine.snapshot.listeners
    const apply = (breaker: boolean) =>
      lab.engine.apply({
        ...lab.engine.snapshot,
        listeners: routes,
        clusters: new Map([['c', clusterSpec('c', { breaker: breaker ? breakerSpec() : null })]]),
      })
    const before = lab.engine.outbound('svc')
    apply(true)
    const gated = lab.engine.outbound('svc')
    expect(gated).not.toBe(before)
    expect(lab.call().call.route.policies).toEqual([lab.cluster.breaker])
    apply(true)
    expect(lab.engine.outbound('svc')).toBe(gated)
    apply(false)
    expect(lab.call().call.route.policies).toEqual([])
  })

  it('keeps the state of breaker, hosts and outlier detection', () => {
    const over = { breaker: breakerSpec(), outlier: outlierSpec({ maxEjectionPercent: 100, consecutive5xx: 2 }) }
    const lab = Lab.of({ ...over, endpoints: endpoints(2) })
    lab.answers(4, 500)
    const { breaker, outlier, hosts } = lab.cluster
    expect(breaker!.state).toBe('open')
    const until = hosts.map((h) => h.ejectedUntil)
    lab.apply([clusterSpec('c', { ...over, lb: { policy: 'RANDOM' }, endpoints: endpoints(3) })], [routeSpec('c')])
    expect(lab.cluster.breaker).toBe(breaker)
    expect(lab.cluster.outlier).toBe(outlier)
    expect(lab.cluster.hosts.slice(0, 2)).toEqual(hosts)
    expect(lab.cluster.hosts.slice(0, 2).map((h) => h.ejectedUntil)).toEqual(until)
    expect(lab.cluster.usable.length).toBe(1)
  })

  it('lets calls in flight end by the route and the cluster that they began with', () => {
    const lab = Lab.of({ endpoints: endpoints(1) }, { timeoutMs: 1_000 })
    const calls = [lab.call(), lab.call()]
    const { cluster } = lab
    const link = linked(calls[0]!)
    lab.apply([], [])
    expect(lab.engine.clusters.size).toBe(0)
    expect(link.retired).toBe(0)
    calls[0]!.latest.answer(200)
    expect(calls[0]!.call.status).toBe(200)
    expect(link.retired).toBe(0)
    lab.advance(1_100)
    expect(calls[1]!.call.status).toBe(504)
    expect(link.retired).toBe(1)
    expect(cluster.active).toBe(0)
    expect(lab.engine.wheel.size).toBe(0)
  })

  it('leaves a retry of a removed cluster nowhere to go', () => {
    const lab = Lab.of({}, { retry: retrySpec() })
    const call = lab.call()
    lab.apply([], [])
    call.latest.end(Kind.ConnectFailure, null)
    lab.advance(500)
    expect(call.attempts.length).toBe(1)
    expect(call.rejection?.status).toBe(503)
  })

  it('sends retries to hosts of now', () => {
    const lab = Lab.of({ endpoints: endpoints(1) }, { retry: retrySpec() })
    const call = lab.call()
    lab.apply([clusterSpec('c', { endpoints: [endpoint(7)] })], [])
    call.latest.end(Kind.ConnectFailure, null)
    expect(call.latest.host.address).toBe('10.0.0.7|80')
  })

  it('finds a host that flapped unchanged, and retires the links of one that is gone for good', () => {
    const lab = Lab.of({ endpoints: endpoints(2) })
    const call = lab.call()
    const link = linked(call)
    const { host } = call.latest
    const rest = lab.cluster.hosts.filter((h) => h !== host).map((h) => h.spec)
    lab.apply([clusterSpec('c', { endpoints: rest })], [])
    expect(host.gone).toBe(true)
    lab.apply([clusterSpec('c', { endpoints: endpoints(2) })], [])
    expect(lab.cluster.hosts).toContain(host)
    expect(host.gone).toBe(false)
    call.latest.answer(200)
    expect(link.retired).toBe(0)
    lab.apply([clusterSpec('c', { endpoints: rest })], [])
    expect(link.retired).toBe(1)
    expect(host.http).toBe(null)
  })

  it('uses only the best priority, and all hosts in a panic', () => {
    const all = [
      endpoint(0, { health: 'UNHEALTHY' }),
      endpoint(1, { priority: 1 }),
      endpoint(2, { priority: 1 }),
      endpoint(3, { priority: 2 }),
    ]
    const usable = (panicThresholdPercent: number) =>
      Lab.of({ endpoints: all, panicThresholdPercent }).cluster.usable.map((h) => h.spec.address)
    for (const threshold of [0, 75, 100]) expect(usable(threshold)).toEqual(['10.0.0.1', '10.0.0.2'])
    for (const i of [1, 2, 3]) all[i] = { ...all[i]!, health: 'UNHEALTHY' }
    expect(usable(0)).toEqual([])
    expect(usable(1).length).toBe(4)
  })
})
