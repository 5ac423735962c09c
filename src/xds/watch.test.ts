import { create, toBinary } from '@bufbuild/protobuf'
import { beforeEach, describe, expect, it } from 'vitest'
import { AdsHarness } from '../../test/support/ads-harness.ts'
import {
  ads,
  anyOf,
  cluster,
  clusterInit,
  endpoints,
  type Init,
  listener,
  route,
  routeInit,
  routerFilter,
} from '../../test/support/xds-resources.ts'
import { ClusterSchema, Cluster_LbPolicy as LbPolicy } from '../gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../gen/envoy/config/listener/v3/listener_pb.js'
import type { RouteActionSchema } from '../gen/envoy/config/route/v3/route_components_pb.js'
import { RouteConfigurationSchema } from '../gen/envoy/config/route/v3/route_pb.js'
import { HTTPFaultSchema } from '../gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { StatefulSessionSchema } from '../gen/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js'
import { HttpConnectionManagerSchema } from '../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { CookieBasedSessionStateSchema } from '../gen/envoy/extensions/http/stateful_session/cookie/v3/cookie_pb.js'
import { DiscoveryResponseSchema } from '../gen/envoy/service/discovery/v3/discovery_pb.js'
import type { Snapshot } from '../model/snapshot.ts'
import { TypeUrl } from './proto.ts'
import { WatchGraph } from './watch.ts'

/** The graph on top of the protocol, with a test as the control plane. */
class Mesh {
  readonly ads = new AdsHarness()
  readonly removed: string[] = []
  readonly graph = new WatchGraph(this.ads.state, (name, before, stayed) =>
    this.removed.push(`${name} ${before}>${stayed}`),
  )
  readonly published: Snapshot[] = []

  constructor() {
    this.ads.step({ kind: 'start' })
  }

  get snapshot(): Snapshot {
    return this.graph.snapshot
  }

  settle(): void {
    for (;;) {
      const { subscribe, unsubscribe, snapshot } = this.graph.evaluate()
      for (const ref of subscribe) this.ads.step({ kind: 'subscribe', ...ref })
      for (const ref of unsubscribe) this.ads.step({ kind: 'unsubscribe', ...ref })
      if (snapshot !== null) this.published.push(snapshot)
      if (subscribe.length === 0 && snapshot === null) break
    }
    this.ads.step({ kind: 'flush' })
  }

  respond(...args: Parameters<AdsHarness['respond']>): void {
    this.ads.respond(...args)
    this.settle()
  }

  wait(ms: number): void {
    this.ads.wait(ms)
    this.settle()
  }

  /** Names that the server was asked for last. */
  asked(typeUrl: string): readonly string[] {
    return this.ads.requests.filter((r) => r.typeUrl === typeUrl).at(-1)?.resourceNames ?? []
  }

  /** payments -> r -> the clusters, each with one endpoint. */
  serve(version: string, ...clusters: string[]): void {
    this.respond(TypeUrl.listener, version, [listener('payments', 'r')])
    this.respond(TypeUrl.route, version, [route('r', ...clusters)])
    this.respond(
      TypeUrl.cluster,
      version,
      clusters.map((c) => cluster(c)),
    )
    this.respond(
      TypeUrl.endpoints,
      version,
      clusters.map((c, i) => endpoints(c, `10.0.0.${i + 1}:80`)),
    )
  }
}

describe('what the process dials', () => {
  let mesh: Mesh
  beforeEach(() => {
    mesh = new Mesh()
    mesh.graph.watchAuthority('payments')
    mesh.settle()
  })

  it('is subscribed step by step: listener, routes, clusters, endpoints', () => {
    expect(mesh.asked(TypeUrl.listener)).toEqual(['payments'])
    mesh.respond(TypeUrl.listener, 'v1', [listener('payments', 'r')])
    expect(mesh.asked(TypeUrl.route)).toEqual(['r'])
    mesh.respond(TypeUrl.route, 'v1', [route('r', 'c1', 'c2')])
    expect(mesh.asked(TypeUrl.cluster)).toEqual(['c1', 'c2'])
    mesh.respond(TypeUrl.cluster, 'v1', [cluster('c1', 'eds-of-c1'), cluster('c2')])
    expect(mesh.asked(TypeUrl.endpoints)).toEqual(['eds-of-c1', 'c2'])
  })

  it('is published once, when the last endpoint set is there', () => {
    mesh.serve('v1', 'c1', 'c2')
    expect(mesh.published).toHaveLength(1)
    expect(mesh.snapshot.listeners.get('payments')?.routes.name).toBe('r')
    expect([...mesh.snapshot.clusters.keys()]).toEqual(['c1', 'c2'])
    expect(mesh.snapshot.clusters.get('c2')?.endpoints).toMatchObject([{ address: '10.0.0.2', port: 80 }])
    expect(mesh.graph.problem('payments')).toBeUndefined()
  })

  it('says what it waits for until then', () => {
    expect(mesh.graph.problem('payments')).toBe('waiting for Listener payments')
    mesh.respond(TypeUrl.listener, 'v1', [listener('payments', 'r')])
    expect(mesh.graph.problem('payments')).toBe('waiting for RouteConfiguration r')
    mesh.respond(TypeUrl.route, 'v1', [route('r', 'c')])
    expect(mesh.graph.problem('payments')).toBe('waiting for Cluster c')
    mesh.respond(TypeUrl.cluster, 'v1', [cluster('c')])
    expect(mesh.graph.problem('payments')).toBe('waiting for ClusterLoadAssignment c')
  })

  it('is unsubscribed from end to end when it is dialled no more', () => {
    mesh.serve('v1', 'c1')
    mesh.graph.unwatchAuthority('payments')
    mesh.settle()
    for (const type of [TypeUrl.listener, TypeUrl.route, TypeUrl.cluster, TypeUrl.endpoints])
      expect(mesh.asked(type)).toEqual([])
    expect(mesh.snapshot.listeners.size + mesh.snapshot.clusters.size).toBe(0)
  })

  it('includes the clusters of its mirrors', () => {
    mesh.respond(TypeUrl.listener, 'v1', [listener('payments', 'r')])
    const table = routeInit('r', { c1: 1 })
    const action = table.virtualHosts![0]!.routes![0]!.action as { value: Init<typeof RouteActionSchema> }
    action.value.requestMirrorPolicies = [{ cluster: 'shadow' }]
    mesh.respond(TypeUrl.route, 'v1', [anyOf(RouteConfigurationSchema, table)])
    expect(mesh.asked(TypeUrl.cluster)).toEqual(['c1', 'shadow'])
  })

  it('has the sessions of its listener on routes that say nothing about them', () => {
    const state = anyOf(CookieBasedSessionStateSchema, { cookie: { name: 'seat' } })
    const session = anyOf(StatefulSessionSchema, { sessionState: { name: 'x', typedConfig: state } })
    const manager = anyOf(HttpConnectionManagerSchema, {
      routeSpecifier: { case: 'rds', value: { routeConfigName: 'r', configSource: ads } },
      httpFilters: [{ name: 'session', configType: { case: 'typedConfig', value: session } }, routerFilter],
    })
    const seated = anyOf(ListenerSchema, { name: 'payments', apiListener: { apiListener: manager } })
    mesh.serve('v1', 'c1')
    expect(mesh.snapshot.listeners.get('payments')?.routes.virtualHosts[0]?.routes[0]?.session).toBeUndefined()
    mesh.respond(TypeUrl.listener, 'v2', [seated])
    const { routes } = mesh.snapshot.listeners.get('payments')!
    expect(routes.virtualHosts[0]?.routes[0]?.session).toEqual({ cookie: 'seat', ttlMs: 0, path: '' })
  })

  it('has the fault of its listener on routes that say nothing about faults', () => {
    const fault: Init<typeof HTTPFaultSchema> = {
      abort: { errorType: { case: 'httpStatus', value: 418 }, percentage: { numerator: 100 } },
    }
    const manager = anyOf(HttpConnectionManagerSchema, {
      routeSpecifier: { case: 'rds', value: { routeConfigName: 'r', configSource: ads } },
      httpFilters: [
        { name: 'fault', configType: { case: 'typedConfig', value: anyOf(HTTPFaultSchema, fault) } },
        routerFilter,
      ],
    })
    const faulty = anyOf(ListenerSchema, { name: 'payments', apiListener: { apiListener: manager } })
    mesh.serve('v1', 'c1')
    expect(mesh.snapshot.listeners.get('payments')?.routes.virtualHosts[0]?.routes[0]?.fault).toBeNull()
    mesh.respond(TypeUrl.listener, 'v2', [faulty])
    const { routes } = mesh.snapshot.listeners.get('payments')!
    expect(routes.virtualHosts[0]?.routes[0]?.fault?.abort).toMatchObject({ how: { kind: 'http', status: 418 } })
    const before = mesh.published.length
    mesh.settle()
    expect(mesh.published.length).toBe(before)
    mesh.respond(TypeUrl.listener, 'v3', [listener('payments', 'r')])
    expect(mesh.snapshot.listeners.get('payments')?.routes.virtualHosts[0]?.routes[0]?.fault).toBeNull()
  })

  it('shares clusters among authorities and keeps them until the last one goes', () => {
    mesh.serve('v1', 'c1')
    mesh.graph.watchAuthority('payments:80')
    mesh.settle()
    mesh.respond(TypeUrl.listener, 'v2', [listener('payments', 'r'), listener('payments:80', 'r')])
    expect(mesh.asked(TypeUrl.cluster)).toEqual(['c1'])
    mesh.graph.unwatchAuthority('payments')
    mesh.settle()
    expect(mesh.asked(TypeUrl.cluster)).toEqual(['c1'])
    expect([...mesh.snapshot.listeners.keys()]).toEqual(['payments:80'])
  })
})

describe('a new version', () => {
  let mesh: Mesh
  beforeEach(() => {
    mesh = new Mesh()
    mesh.graph.watchAuthority('payments')
    mesh.settle()
    mesh.serve('v1', 'old')
  })

  it('of routes is used when its clusters and endpoints have come, and the old one is whole until then', () => {
    const before = mesh.snapshot
    mesh.respond(TypeUrl.route, 'v2', [route('r', 'new')])
    mesh.respond(TypeUrl.cluster, 'v2', [cluster('old'), cluster('new')])
    expect(mesh.snapshot).toBe(before)
    expect(mesh.asked(TypeUrl.cluster)).toEqual(['old', 'new'])
    mesh.respond(TypeUrl.endpoints, 'v2', [endpoints('new', '10.0.0.9:80')])
    expect([...mesh.snapshot.clusters.keys()]).toEqual(['new'])
    expect(mesh.asked(TypeUrl.cluster)).toEqual(['new'])
    expect(mesh.asked(TypeUrl.endpoints)).toEqual(['new'])
  })

  it('of a cluster that changes its EDS name waits for those endpoints', () => {
    const before = mesh.snapshot.clusters.get('old')
    mesh.respond(TypeUrl.cluster, 'v2', [cluster('old', 'elsewhere')])
    expect(mesh.snapshot.clusters.get('old')).toBe(before)
    expect(mesh.asked(TypeUrl.endpoints)).toEqual(expect.arrayContaining(['elsewhere', 'old']))
    mesh.respond(TypeUrl.endpoints, 'v2', [endpoints('elsewhere', '10.0.0.9:80')])
    expect(mesh.snapshot.clusters.get('old')?.endpoints).toMatchObject([{ address: '10.0.0.9' }])
    expect(mesh.asked(TypeUrl.endpoints)).toEqual(['elsewhere'])
  })

  it('keeps the identity of what did not change', () => {
    const { listeners, clusters } = mesh.snapshot
    mesh.respond(TypeUrl.endpoints, 'v2', [endpoints('old', '10.0.0.1:80', '10.0.0.2:80')])
    expect(mesh.snapshot.listeners).toBe(listeners)
    expect(mesh.snapshot.clusters.get('old')).not.toBe(clusters.get('old'))
    expect(mesh.snapshot.clusters.get('old')?.limits).toBe(clusters.get('old')?.limits)
  })

  it('that is the same as the old one publishes nothing', () => {
    const before = mesh.snapshot
    mesh.respond(TypeUrl.listener, 'v9', [listener('payments', 'r')])
    mesh.respond(TypeUrl.cluster, 'v9', [cluster('old')])
    expect(mesh.snapshot).toBe(before)
  })

  it('counts snapshots up by one', () => {
    mesh.respond(TypeUrl.endpoints, 'v2', [endpoints('old')])
    mesh.respond(TypeUrl.endpoints, 'v3', [endpoints('old', '10.0.0.5:80')])
    expect(mesh.published.map((s) => s.sequence)).toEqual([1, 2, 3])
  })
})

describe('what does not come', () => {
  let mesh: Mesh
  beforeEach(() => {
    mesh = new Mesh()
    mesh.graph.watchAuthority('payments')
    mesh.settle()
  })

  it('listener: the authority is absent after 15 s, and there again when it comes', () => {
    mesh.wait(15_000)
    expect([...mesh.snapshot.absent]).toEqual(['payments'])
    expect(mesh.graph.problem('payments')).toContain('knows no Listener payments')
    mesh.serve('v1', 'c')
    expect(mesh.snapshot.absent.size).toBe(0)
    expect(mesh.snapshot.listeners.has('payments')).toBe(true)
  })

  it('routes: the listener is published without any', () => {
    mesh.respond(TypeUrl.listener, 'v1', [listener('payments', 'r')])
    mesh.wait(15_000)
    expect(mesh.snapshot.listeners.get('payments')?.routes).toEqual({ name: 'r', virtualHosts: [] })
  })

  it('cluster: the listener is published after 15 s without it', () => {
    mesh.respond(TypeUrl.listener, 'v1', [listener('payments', 'r')])
    mesh.respond(TypeUrl.route, 'v1', [route('r', 'c1', 'missing')])
    mesh.respond(TypeUrl.cluster, 'v1', [cluster('c1')])
    mesh.respond(TypeUrl.endpoints, 'v1', [endpoints('c1', '10.0.0.1:80')])
    expect(mesh.snapshot.listeners.size).toBe(0)
    mesh.wait(15_000)
    expect(mesh.snapshot.listeners.has('payments')).toBe(true)
    expect([...mesh.snapshot.clusters.keys()]).toEqual(['c1'])
  })

  it('endpoints: the cluster is published without any', () => {
    mesh.respond(TypeUrl.listener, 'v1', [listener('payments', 'r')])
    mesh.respond(TypeUrl.route, 'v1', [route('r', 'c1')])
    mesh.respond(TypeUrl.cluster, 'v1', [cluster('c1')])
    mesh.wait(15_000)
    expect(mesh.snapshot.clusters.get('c1')?.endpoints).toEqual([])
  })

  it('a listener that is deleted is absent at once', () => {
    mesh.serve('v1', 'c1')
    mesh.respond(TypeUrl.listener, 'v2', [])
    expect([...mesh.snapshot.absent]).toEqual(['payments'])
    expect(mesh.snapshot.listeners.size).toBe(0)
  })

  it('a cluster that is deleted is left out, and used again when the same comes back', () => {
    mesh.serve('v1', 'c1')
    mesh.respond(TypeUrl.cluster, 'v2', [])
    expect(mesh.snapshot.clusters.size).toBe(0)
    expect(mesh.snapshot.listeners.has('payments')).toBe(true)
    mesh.respond(TypeUrl.cluster, 'v3', [cluster('c1')])
    mesh.respond(TypeUrl.endpoints, 'v3', [endpoints('c1', '10.0.0.1:80')])
    expect(mesh.snapshot.clusters.get('c1')?.endpoints).toHaveLength(1)
  })
})

describe('what is refused', () => {
  const bad = (name: string) => anyOf(ClusterSchema, { ...clusterInit(name), lbPolicy: LbPolicy.CLUSTER_PROVIDED })
  let mesh: Mesh
  beforeEach(() => {
    mesh = new Mesh()
    mesh.graph.watchAuthority('payments')
    mesh.settle()
  })

  it('listener at first: calls fail at once, with the reason', () => {
    mesh.respond(TypeUrl.listener, 'v1', [anyOf(ListenerSchema, { name: 'payments', apiListener: {} })])
    const answer = { kind: 'direct', status: 503 }
    expect(mesh.snapshot.absent.size).toBe(0)
    expect(mesh.snapshot.listeners.get('payments')?.routes.virtualHosts[0]?.routes[0]?.action).toMatchObject(answer)
    expect(mesh.graph.problem('payments')).toBe('Listener payments: api_listener.api_listener: is missing')
  })

  it('listener at first: the next good one replaces the answer', () => {
    mesh.respond(TypeUrl.listener, 'v1', [anyOf(ListenerSchema, { name: 'payments', apiListener: {} })])
    mesh.serve('v2', 'c1')
    expect(mesh.snapshot.listeners.get('payments')?.routes.name).toBe('r')
    expect(mesh.graph.problem('payments')).toBeUndefined()
  })

  it('cluster at first: the listener is published without it', () => {
    mesh.respond(TypeUrl.listener, 'v1', [listener('payments', 'r')])
    mesh.respond(TypeUrl.route, 'v1', [route('r', 'c1')])
    mesh.respond(TypeUrl.cluster, 'v1', [bad('c1')])
    expect(mesh.snapshot.listeners.has('payments')).toBe(true)
    expect(mesh.snapshot.clusters.size).toBe(0)
  })

  it('cluster of a new route: the route that works stays', () => {
    mesh.serve('v1', 'c1')
    mesh.respond(TypeUrl.route, 'v2', [route('r', 'c2')])
    mesh.respond(TypeUrl.cluster, 'v2', [cluster('c1'), bad('c2')])
    expect([...mesh.snapshot.clusters.keys()]).toEqual(['c1'])
    mesh.respond(TypeUrl.cluster, 'v3', [cluster('c1'), cluster('c2')])
    mesh.respond(TypeUrl.endpoints, 'v3', [endpoints('c2', '10.0.0.2:80')])
    expect([...mesh.snapshot.clusters.keys()]).toEqual(['c2'])
  })
})

describe('endpoints that go', () => {
  it('are published, and reported when more than half went at once', () => {
    const mesh = new Mesh()
    mesh.graph.watchAuthority('payments')
    mesh.settle()
    mesh.serve('v1', 'c')
    const all = ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.3:80', '10.0.0.4:80']
    mesh.respond(TypeUrl.endpoints, 'v2', [endpoints('c', ...all)])
    mesh.respond(TypeUrl.endpoints, 'v3', [endpoints('c', ...all.slice(0, 2))])
    expect(mesh.removed).toEqual([])
    mesh.respond(TypeUrl.endpoints, 'v4', [endpoints('c')])
    expect(mesh.removed).toEqual(['c 2>0'])
    expect(mesh.snapshot.clusters.get('c')?.endpoints).toEqual([])
  })
})

describe('a process without dialled names', () => {
  it('has an empty snapshot and asks for nothing', () => {
    const mesh = new Mesh()
    mesh.settle()
    expect(mesh.snapshot.sequence).toBe(0)
    expect(mesh.ads.requests).toEqual([])
  })

  it('is not confused by responses', () => {
    const mesh = new Mesh()
    const response = create(DiscoveryResponseSchema, {
      typeUrl: TypeUrl.cluster,
      resources: [cluster('x')],
      nonce: 'n',
    })
    mesh.ads.step({ kind: 'response', bytes: toBinary(DiscoveryResponseSchema, response) })
    mesh.settle()
    expect(mesh.snapshot.sequence).toBe(0)
  })
})
