import { describe, expect, it } from 'vitest'
import { AdsHarness } from '../../test/support/ads-harness.ts'
import { anyOf, cluster, clusterInit, listener, route, routerFilter } from '../../test/support/xds-resources.ts'
import { ClusterSchema, Cluster_LbPolicy as LbPolicy } from '../gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../gen/envoy/config/listener/v3/listener_pb.js'
import { HttpConnectionManagerSchema } from '../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { parseBootstrap } from './bootstrap/bootstrap.ts'
import { type DataErrors, ownDataErrors } from './data-errors.ts'
import { TypeUrl } from './proto.ts'
import type { Dialect } from './resources/dialect.ts'
import { WatchGraph } from './watch.ts'

/** Mistakes that other xDS clients are known to have made; those of routes and rules are in resources/foreign.test.ts. */

const dialect: Dialect = { providers: new Map(), serverIdentity: null, serverRoots: null }
const keep: DataErrors = { deletion: 'keep', refusal: 'keep', timerIsTransient: false }

const started = (errors: DataErrors): AdsHarness => {
  const ads = new AdsHarness({ errors, dialect })
  ads.step({ kind: 'start' })
  return ads
}
const settle = (ads: AdsHarness, graph: WatchGraph) => {
  for (;;) {
    const { subscribe, unsubscribe, snapshot } = graph.evaluate()
    for (const ref of subscribe) ads.step({ kind: 'subscribe', ...ref })
    for (const ref of unsubscribe) ads.step({ kind: 'unsubscribe', ...ref })
    if (subscribe.length === 0 && snapshot === null) break
  }
  ads.step({ kind: 'flush' })
}

describe('a client of xDS', () => {
  it.each([
    ['kept', keep],
    ['dropped', ownDataErrors],
  ])('takes a resource that is deleted and comes back byte for byte (%s meanwhile)', (_what, errors) => {
    const ads = started(errors)
    ads.subscribe(TypeUrl.cluster, 'c')
    ads.respond(TypeUrl.cluster, '1', [cluster('c')])
    ads.respond(TypeUrl.cluster, '2', [])
    expect(ads.stateOf(TypeUrl.cluster, 'c')).toBe('DOES_NOT_EXIST')
    ads.actions = []
    ads.respond(TypeUrl.cluster, '3', [cluster('c')])
    expect(ads.stateOf(TypeUrl.cluster, 'c')).toBe('ACKED')
    expect(ads.actions).toContainEqual(expect.objectContaining({ kind: 'changed', typeUrl: TypeUrl.cluster }))
  })

  it('comes back soon, however often a stream that had answered was closed', () => {
    const ads = started(keep)
    ads.subscribe(TypeUrl.cluster, 'c')
    for (let i = 0; i < 10; i++) {
      ads.respond(TypeUrl.cluster, `${i}`, [cluster('c')])
      const before = ads.streams
      ads.end(0, '')
      ads.wait(1_000)
      expect(ads.streams).toBe(before + 1)
    }
  })

  it('answers calls when their listener does not exist, instead of letting them wait', () => {
    const ads = started(keep)
    const graph = new WatchGraph(ads.state, () => undefined)
    graph.watchAuthority('echo')
    settle(ads, graph)
    ads.wait(15_000)
    settle(ads, graph)
    expect(graph.snapshot.absent.has('echo')).toBe(true)
  })

  it('answers calls when the first version of their listener is refused, and when their routes do not come', () => {
    const ads = started(keep)
    const graph = new WatchGraph(ads.state, () => undefined)
    graph.watchAuthority('refused')
    graph.watchAuthority('without-routes')
    settle(ads, graph)
    const noRouter = anyOf(HttpConnectionManagerSchema, {
      routeSpecifier: { case: 'routeConfig', value: {} as never },
      httpFilters: [{ ...routerFilter, name: 'x' }, routerFilter],
    })
    ads.respond(TypeUrl.listener, '1', [
      anyOf(ListenerSchema, { name: 'refused', apiListener: { apiListener: noRouter } }),
      listener('without-routes', 'r'),
    ])
    settle(ads, graph)
    expect(graph.snapshot.listeners.get('refused')?.routes.virtualHosts[0]?.routes[0]?.action).toMatchObject({
      kind: 'direct',
      status: 503,
    })
    ads.wait(15_000)
    settle(ads, graph)
    expect(graph.snapshot.listeners.get('without-routes')?.routes.virtualHosts).toEqual([])
  })

  it('refuses with INVALID_ARGUMENT, and types that it never asked for as well', () => {
    const ads = started(keep)
    ads.subscribe(TypeUrl.cluster, 'c')
    ads.respond(TypeUrl.cluster, '1', [
      anyOf(ClusterSchema, { ...clusterInit('c'), lbPolicy: LbPolicy.CLUSTER_PROVIDED }),
    ])
    expect(ads.last.errorDetail).toMatchObject({ code: 3, message: expect.stringContaining('Cluster c: lb_policy') })
    ads.respond('type.googleapis.com/some.Thing', '1', [])
    expect(ads.last).toMatchObject({ typeUrl: 'type.googleapis.com/some.Thing', errorDetail: { code: 3 } })
  })

  it('tells apart servers that differ in a feature', () => {
    const { servers } = parseBootstrap(
      {
        xds_servers: [[], ['fail_on_data_errors']].map((server_features) => ({
          server_uri: 'same:1',
          channel_creds: [{ type: 'insecure' }],
          server_features,
        })),
      },
      'bootstrap',
    )
    expect(servers.map((server) => server.failOnDataErrors)).toEqual([false, true])
  })
})

describe('a server', () => {
  it('waits for routes that come by RDS, refuses all when they do not exist, and keeps those of before', () => {
    const ads = started(keep)
    const graph = new WatchGraph(ads.state, () => undefined)
    graph.watchInbound('server')
    settle(ads, graph)
    ads.respond(TypeUrl.listener, '1', [
      anyOf(ListenerSchema, {
        name: 'server',
        filterChains: [
          {
            filters: [
              {
                name: 'hcm',
                configType: {
                  case: 'typedConfig',
                  value: anyOf(HttpConnectionManagerSchema, {
                    routeSpecifier: {
                      case: 'rds',
                      value: {
                        routeConfigName: 'in',
                        configSource: { configSourceSpecifier: { case: 'ads', value: {} } },
                      } as never,
                    },
                    httpFilters: [routerFilter],
                  }),
                },
              },
            ],
          },
        ],
      }),
    ])
    settle(ads, graph)
    expect(graph.snapshot.inbound.size).toBe(0)
    ads.wait(15_000)
    settle(ads, graph)
    expect(graph.snapshot.inbound.get('server')?.routes?.table.virtualHosts).toEqual([])
    ads.respond(TypeUrl.route, '1', [route('in', 'c')])
    settle(ads, graph)
    const before = graph.snapshot.inbound.get('server')
    expect(before?.routes?.table.virtualHosts[0]?.routes[0]?.served).toBeUndefined()
    ads.respond(TypeUrl.route, '2', [])
    settle(ads, graph)
    expect(graph.snapshot.inbound.get('server')).toBe(before)
  })
})
