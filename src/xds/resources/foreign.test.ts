import { describe, expect, it } from 'vitest'
import {
  ads,
  anyOf,
  bytesOf,
  clusterInit,
  endpointsInit,
  type Init,
  listenerInit,
  routerFilter,
} from '../../../test/support/xds-resources.ts'
import { priorityLoads } from '../../engine/balance/priority-load.ts'
import { compileMatch } from '../../engine/compile-match.ts'
import { Inbound } from '../../engine/inbound.ts'
import { Rejection } from '../../engine/rejection.ts'
import { inboundRequest, peerOf } from '../../engine/testing/inbound-request.ts'
import { ClusterSchema } from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../gen/envoy/config/listener/v3/listener_pb.js'
import { RBAC_Action as Action, type RBACSchema as RulesSchema } from '../../gen/envoy/config/rbac/v3/rbac_pb.js'
import type { RouteSchema } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { RouteConfigurationSchema } from '../../gen/envoy/config/route/v3/route_pb.js'
import { HTTPFaultSchema } from '../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { RBACPerRouteSchema, RBACSchema } from '../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { HttpConnectionManagerSchema } from '../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { RouteSpec } from '../../model/route.ts'
import { withRoutes } from '../inbound-routes.ts'
import { WatchedCluster } from '../watched-cluster.ts'
import { clusterType } from './cluster.ts'
import type { Dialect } from './dialect.ts'
import { endpointsType } from './endpoints.ts'
import { FieldError } from './field.ts'
import { listenerType } from './listener.ts'
import { routeType } from './route.ts'

/** What foreign control planes send to gRPC's clients and servers; numbers in brackets are gRFCs. */

const dialect: Dialect = { providers: new Map(), serverIdentity: null, serverRoots: null }
type RouteInit = Init<typeof RouteSchema>
type Action_ = NonNullable<RouteInit['action']>
type Forward = Extract<Action_, { case: 'route' }>['value']

const everything = { pathSpecifier: { case: 'prefix', value: '' } } as const
const toCluster = { clusterSpecifier: { case: 'cluster', value: 'c' } } as const
const forward = (value: object = {}): Action_ => ({ case: 'route', value: { ...toCluster, ...value } as Forward })

function refusal(decode: () => unknown): string {
  try {
    decode()
    return 'accepted'
  } catch (error) {
    if (error instanceof FieldError) return error.message
    throw error
  }
}

const table = (...routes: RouteInit[]) =>
  routeType.decode(
    bytesOf(RouteConfigurationSchema, { name: 'r', virtualHosts: [{ name: 'v', domains: ['*'], routes }] }),
    dialect,
  )
const routesOf = (...routes: RouteInit[]): readonly RouteSpec[] => table(...routes).value.virtualHosts[0]!.routes
const routeOf = (route: RouteInit = {}): RouteSpec => routesOf({ match: everything, action: forward(), ...route })[0]!
const matches = (match: RouteInit['match'], path: string, headers: Record<string, string> = {}) =>
  compileMatch(routeOf({ match }).match).matches(
    { method: 'POST', authority: 'a', path, header: (name) => headers[name] },
    path,
    { u32: () => 0 },
  )
const header = (name: string, more: object) =>
  ({ ...everything, headers: [{ name, ...more }] }) as NonNullable<RouteInit['match']>

describe('routes', () => {
  it('have back-offs in whole seconds as they are', () => {
    const retryPolicy = { retryOn: 'unavailable', retryBackOff: { baseInterval: { seconds: 1n } } }
    expect(routeOf({ action: forward({ retryPolicy }) }).retry).toMatchObject({
      baseIntervalMs: 1_000,
      maxIntervalMs: 10_000,
      numRetries: 1,
    })
  })

  it('take words of retry_on with white space, and leave out those that are not known (A44)', () => {
    const decoded = table({
      match: everything,
      action: forward({ retryPolicy: { retryOn: 'cancelled , what, internal' } }),
    })
    expect(decoded.value.virtualHosts[0]!.routes[0]!.retry?.retryOn).toEqual(['cancelled', 'internal'])
    expect(decoded.warnings.join()).toContain('"what" is not known')
  })

  it('may have faults for one destination (A33)', () => {
    const fault = anyOf(HTTPFaultSchema, {
      abort: { errorType: { case: 'grpcStatus', value: 14 }, percentage: { numerator: 100 } },
    })
    const clusters = [
      { name: 'a', weight: 1, typedPerFilterConfig: { 'envoy.filters.http.fault': fault } },
      { name: 'b', weight: 1 },
    ]
    const { action } = routeOf({
      action: {
        case: 'route',
        value: { clusterSpecifier: { case: 'weightedClusters', value: { clusters } } } as unknown as Forward,
      },
    })
    expect(action).toMatchObject({
      clusters: [{ name: 'a', fault: { abort: { how: { kind: 'grpc', code: 14 } } } }, { name: 'b' }],
    })
    expect(action).not.toHaveProperty('clusters.1.fault')
  })

  it('with an action for servers are a dead end for clients, and nothing worse', () => {
    const decoded = table({ match: everything, action: { case: 'nonForwardingAction', value: {} } })
    expect(decoded.value.virtualHosts[0]!.routes[0]).toMatchObject({
      served: true,
      action: { kind: 'direct', status: 503 },
    })
    expect(decoded.warnings).toEqual([])
  })

  it('to clusters that are chosen in unknown ways are left out (A28)', () => {
    const chosen = { clusterSpecifier: { case: 'clusterHeader', value: 'x' } }
    const routes = routesOf(
      { name: 'by header', match: everything, action: { case: 'route', value: chosen as Forward } },
      { name: 'next', match: everything, action: forward() },
    )
    expect(routes.map(({ name }) => name)).toEqual(['next'])
  })

  it.each<[string, boolean, NonNullable<RouteInit['match']>, string, Record<string, string>?]>([
    [
      'a|b is not a prefix a',
      false,
      { pathSpecifier: { case: 'safeRegex', value: { regex: '/a|/b' } as never } },
      '/ab',
    ],
    [
      'a|b is not a suffix b',
      false,
      { pathSpecifier: { case: 'safeRegex', value: { regex: '/a|/b' } as never } },
      '/a/b',
    ],
    ['a|b is b', true, { pathSpecifier: { case: 'safeRegex', value: { regex: '/a|/b' } as never } }, '/b'],
    [
      'absent, asked to be absent',
      true,
      header('x', { headerMatchSpecifier: { case: 'presentMatch', value: false } }),
      '/',
    ],
    [
      'there, asked to be absent',
      false,
      header('x', { headerMatchSpecifier: { case: 'presentMatch', value: false } }),
      '/',
      { x: '1' },
    ],
    [
      'absent, asked to be something else',
      false,
      header('x', { headerMatchSpecifier: { case: 'exactMatch', value: 'a' }, invertMatch: true }),
      '/',
    ],
    [
      'something else',
      true,
      header('x', { headerMatchSpecifier: { case: 'exactMatch', value: 'a' }, invertMatch: true }),
      '/',
      { x: 'b' },
    ],
    ['a query that calls of gRPC do not have', false, { ...everything, queryParameters: [{ name: 'q' }] }, '/pkg.S/M'],
    ['a path in another case', true, { pathSpecifier: { case: 'path', value: '/A' }, caseSensitive: false }, '/a'],
  ])('match: %s (%s)', (_what, expected, match, path, headers) => {
    expect(matches(match, path, headers)).toBe(expected)
  })
})

describe('time limits (A31)', () => {
  const limits = (max: object) => forward({ maxStreamDuration: max })
  it.each<[string, Action_, number, true | undefined]>([
    ['nothing said: the listener may', forward(), Number.POSITIVE_INFINITY, true],
    ['max_stream_duration', limits({ maxStreamDuration: { seconds: 3n } }), 3_000, undefined],
    [
      '0 is no limit, whatever the listener says',
      limits({ maxStreamDuration: {} }),
      Number.POSITIVE_INFINITY,
      undefined,
    ],
    [
      'grpc_timeout_header_max first',
      limits({ maxStreamDuration: { seconds: 3n }, grpcTimeoutHeaderMax: { seconds: 1n } }),
      1_000,
      undefined,
    ],
  ])('of a route: %s', (_what, action, timeoutMs, timeUnsaid) => {
    const route = routeOf({ action })
    expect([route.timeoutMs, route.timeUnsaid]).toEqual([timeoutMs, timeUnsaid])
  })

  it('of a listener are its max_stream_duration, not its idle_timeout', () => {
    const decode = (options: object) => {
      const init = {
        ...listenerInit('l', 'r'),
        apiListener: {
          apiListener: anyOf(HttpConnectionManagerSchema, {
            routeSpecifier: { case: 'rds', value: { routeConfigName: 'r', configSource: ads } },
            httpFilters: [routerFilter],
            commonHttpProtocolOptions: options,
          }),
        },
      }
      const { value } = listenerType.decode(bytesOf(ListenerSchema, init), dialect)
      return value.kind === 'client' ? value.maxStreamMs : undefined
    }
    expect(decode({ maxStreamDuration: { seconds: 7n } })).toBe(7_000)
    expect(decode({ idleTimeout: { nanos: 1_000_000 } })).toBe(Number.POSITIVE_INFINITY)
  })
})

describe('hashes (A42)', () => {
  it('may be of a rewritten header, or of the process', () => {
    const regexRewrite = { pattern: { regex: '^([^-]*)-.*$' }, substitution: '\\1' }
    const hashPolicy = [
      { policySpecifier: { case: 'header', value: { headerName: 'X-User', regexRewrite } }, terminal: true },
      { policySpecifier: { case: 'filterState', value: { key: 'io.grpc.channel_id' } } },
      { policySpecifier: { case: 'filterState', value: { key: 'else' } } },
    ]
    expect(routeOf({ action: forward({ hashPolicy }) }).hash).toEqual([
      { kind: 'header', name: 'x-user', terminal: true, rewrite: { pattern: '^([^-]*)-.*$', substitution: '\\1' } },
      { kind: 'process', terminal: false },
    ])
  })
})

describe('clusters', () => {
  const spec = (init: object = {}) =>
    clusterType.decode(bytesOf(ClusterSchema, { ...clusterInit('c'), ...init }), dialect).value

  it('have 1024 requests at most, and no limit on retries, when nothing is said (A32)', () => {
    expect(spec().spec.limits).toMatchObject({ maxRequests: 1_024, maxRetries: Number.POSITIVE_INFINITY })
  })

  it('eject by statistics, and by errors in a row only where that is said (A50)', () => {
    expect(spec({ outlierDetection: {} }).spec.outlier).toMatchObject({
      consecutive5xx: 0,
      successRate: { minimumHosts: 5, requestVolume: 100, stdevFactor: 1.9, enforcingPercent: 100 },
      failurePercentage: null,
    })
    expect(spec({ outlierDetection: { consecutive5xx: 3 } }).spec.outlier?.consecutive5xx).toBe(3)
  })

  it('weigh localities as soon as one has a weight (A27)', () => {
    const use = (weight: number | undefined) => {
      const cluster = new WatchedCluster('c')
      const init = endpointsInit('c', '10.0.0.1:80')
      const group = { ...init.endpoints![0]!, loadBalancingWeight: weight }
      const { value } = endpointsType.decode(
        bytesOf(ClusterLoadAssignmentSchema, {
          ...init,
          endpoints: [group as NonNullable<typeof init.endpoints>[number]],
        }),
        dialect,
      )
      cluster.update(
        { kind: 'held', value: spec() },
        () => ({ kind: 'held', value }),
        () => undefined,
      )
      return cluster.spec?.priorities.locality
    }
    expect(use(3)).toBe('weighted')
    expect(use(undefined)).toBe('none')
  })

  it('spill over to the next priority when all of one is out, not before, unless they say so (A56)', () => {
    const factor = (policy?: object) =>
      endpointsType.decode(
        bytesOf(ClusterLoadAssignmentSchema, { ...endpointsInit('c', '10.0.0.1:80'), ...(policy && { policy }) }),
        dialect,
      ).value.overprovisioningPercent
    const levels = [
      { total: 100, healthy: 1 },
      { total: 100, healthy: 100 },
    ]
    expect(priorityLoads(levels, factor(), 0).loads).toEqual([100, 0])
    expect(priorityLoads([{ total: 100, healthy: 0 }, levels[1]!], factor(), 0).loads).toEqual([0, 100])
    expect(factor({ overprovisioningFactor: 140 })).toBe(140)
  })

  it('name certificate providers of the bootstrap only', () => {
    // See test/integration/foreign.test.ts for those that are there.
    expect(spec().spec.tls).toEqual({ mode: 'plaintext', allowedIds: [] })
  })
})

describe('servers (A36, A41)', () => {
  type Rules = Init<typeof RulesSchema>
  const allow = (id: string, more: object = {}): Rules => ({
    action: Action.ALLOW,
    policies: {
      p: {
        permissions: [{ rule: { case: 'any', value: true } }],
        principals: [
          {
            identifier: {
              case: 'authenticated',
              value: { principalName: { matchPattern: { case: 'exact', value: id } } } as never,
            },
          },
        ],
        ...more,
      },
    } as never,
  })
  const listener = (rbac: object, route: RouteInit = {}, more: object = {}) =>
    listenerType.decode(
      bytesOf(ListenerSchema, {
        name: 'grpc/server?xds.resource.listening_address=0.0.0.0:80',
        filterChains: [
          {
            filters: [
              {
                name: 'hcm',
                configType: {
                  case: 'typedConfig',
                  value: anyOf(HttpConnectionManagerSchema, {
                    routeSpecifier: {
                      case: 'routeConfig',
                      value: {
                        virtualHosts: [
                          {
                            domains: ['*'],
                            routes: [
                              { match: everything, action: { case: 'nonForwardingAction', value: {} }, ...route },
                            ],
                          },
                        ],
                      } as never,
                    },
                    httpFilters: [
                      { name: 'rbac', configType: { case: 'typedConfig', value: anyOf(RBACSchema, rbac) } },
                      routerFilter,
                    ],
                    ...more,
                  }),
                },
              },
            ],
          },
        ],
      }),
      dialect,
    ).value
  const server = (...args: Parameters<typeof listener>): Inbound => {
    const value = listener(...args)
    if (value.kind !== 'inbound' || value.routing === null || !('inline' in value.routing.routes))
      throw new Error('expected a server with routes in its listener')
    return new Inbound(withRoutes(value.spec, value.routing.routes.inline, value.routing.filters))
  }
  const admits = (inbound: Inbound, peer = peerOf('orders')) =>
    !(inbound.admit(inboundRequest({ peer })) instanceof Rejection)
  const orders = peerOf('orders').spiffeId

  it('know their callers by SPIFFE id, never by another name of the certificate', () => {
    expect(admits(server({ rules: allow(orders) }))).toBe(true)
    expect(admits(server({ rules: allow('orders') }))).toBe(false)
    expect(admits(server({ rules: allow('') }))).toBe(false)
  })

  it('enforce the rules of a route in the place of those of the filter that it names', () => {
    const override = (rbac: object) => ({ typedPerFilterConfig: { rbac: anyOf(RBACPerRouteSchema, rbac) } })
    expect(admits(server({ rules: allow(orders) }, override({ rbac: { rules: { action: Action.ALLOW } } })))).toBe(
      false,
    )
    expect(admits(server({ rules: allow('nobody') }, override({ rbac: { rules: allow(orders) } })))).toBe(true)
    expect(admits(server({ rules: allow('nobody') }, override({})))).toBe(true)
  })

  it('enforce nothing by LOG and by absent rules, and refuse all by empty ones', () => {
    expect(admits(server({ rules: { action: Action.LOG } }))).toBe(true)
    expect(admits(server({}))).toBe(true)
    expect(admits(server({ rules: { action: Action.ALLOW } }))).toBe(false)
  })

  it('serve requests of routes for servers only', () => {
    expect(admits(server({}, { action: forward() }))).toBe(false)
  })

  it.each<[string, Parameters<typeof listener>, string]>([
    ['conditions', [{ rules: allow(orders, { condition: {} }) }], 'condition: not supported'],
    [
      'headers of gRPC',
      [{ rules: allow(orders, { permissions: [{ rule: { case: 'header', value: { name: 'Grpc-Timeout' } } }] }) }],
      '"grpc-timeout" cannot be matched',
    ],
    [
      ':scheme',
      [{ rules: allow(orders, { permissions: [{ rule: { case: 'header', value: { name: ':scheme' } } }] }) }],
      '":scheme" cannot be matched',
    ],
    ['trusted hops', [{}, {}, { xffNumTrustedHops: 1 }], 'xff_num_trusted_hops: must be 0'],
    ['a filter for clients’ routes only', [{}, {}, { httpFilters: [] }], 'the last filter must be the router'],
  ])('refuse %s', (_what, args, reason) => {
    expect(refusal(() => listener(...args))).toContain(reason)
  })
})
