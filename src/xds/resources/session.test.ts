import { describe, expect, it } from 'vitest'
import {
  ads,
  anyOf,
  bytesOf,
  clusterInit,
  type Init,
  routeInit,
  routerFilter,
} from '../../../test/support/xds-resources.ts'
import { ClusterSchema } from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { HealthStatus } from '../../gen/envoy/config/core/v3/health_check_pb.js'
import { ListenerSchema } from '../../gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../gen/envoy/config/route/v3/route_pb.js'
import {
  StatefulSessionPerRouteSchema,
  StatefulSessionSchema,
} from '../../gen/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js'
import { HttpConnectionManagerSchema } from '../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { CookieBasedSessionStateSchema } from '../../gen/envoy/extensions/http/stateful_session/cookie/v3/cookie_pb.js'
import { RawBufferSchema } from '../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import { clusterType } from './cluster.ts'
import { listenerType } from './listener.ts'
import { routeType } from './route.ts'

type Cookie = NonNullable<Init<typeof CookieBasedSessionStateSchema>['cookie']>
const rds = { case: 'rds', value: { routeConfigName: 'r', configSource: ads } } as const

function sessionOf(cookie: Cookie | undefined): Init<typeof StatefulSessionSchema> {
  const typedConfig = anyOf(CookieBasedSessionStateSchema, cookie === undefined ? {} : { cookie })
  return { sessionState: { name: 'cookie', typedConfig } }
}

function listener(init: Init<typeof StatefulSessionSchema>) {
  const filter = {
    name: 'envoy.filters.http.stateful_session',
    configType: { case: 'typedConfig', value: anyOf(StatefulSessionSchema, init) } as const,
  }
  const manager = { routeSpecifier: rds, httpFilters: [filter, routerFilter] }
  const apiListener = { apiListener: anyOf(HttpConnectionManagerSchema, manager) }
  const { value, warnings } = listenerType.decode(bytesOf(ListenerSchema, { name: 'l', apiListener }))
  if (value.kind !== 'client') throw new Error('expected a listener of a client')
  return { session: value.session, warnings }
}

describe('the filter stateful_session', () => {
  it('names a cookie; without a state it does nothing', () => {
    expect(listener(sessionOf({ name: 'seat', ttl: { seconds: 90n }, path: '/a' }))).toEqual({
      session: { cookie: 'seat', ttlMs: 90_000, path: '/a' },
      warnings: [],
    })
    expect(listener(sessionOf({ name: 'seat' })).session).toEqual({ cookie: 'seat', ttlMs: 0, path: '' })
    expect(listener({}).session).toBeNull()
    expect(listener({ ...sessionOf({ name: 'seat' }), strict: true }).warnings.join()).toContain(
      'strict: not supported',
    )
  })

  it.each<[string, Init<typeof StatefulSessionSchema>]>([
    ['cookie: is missing', sessionOf(undefined)],
    ['cookie.name: "" is not a name of a cookie', sessionOf({ name: '' })],
    ['cookie.name: "a b" is not a name of a cookie', sessionOf({ name: 'a b' })],
    ['cookie.path: has characters', sessionOf({ name: 'a', path: '/; Secure' })],
    ['cookie.path: has characters', sessionOf({ name: 'a', path: '/\r\nx: y' })],
    ['cookie.ttl: must not be negative', sessionOf({ name: 'a', ttl: { seconds: -1n } })],
    ['expected envoy.extensions.http.stateful_session', { sessionState: { typedConfig: anyOf(RawBufferSchema, {}) } }],
  ])('is refused with "%s"', (message, init) => {
    expect(() => listener(init)).toThrow(message)
  })

  it('may be another one, or off, for virtual hosts and routes', () => {
    const over = (override: Init<typeof StatefulSessionPerRouteSchema>['override']) => ({
      typedPerFilterConfig: { x: anyOf(StatefulSessionPerRouteSchema, override === undefined ? {} : { override }) },
    })
    const other = { case: 'statefulSession', value: sessionOf({ name: 'other' }) } as const
    const disabled = { case: 'disabled', value: true } as const
    const base = routeInit('t', { c: 1 })
    const [host] = base.virtualHosts!
    const [route] = host!.routes!
    const decode = (hostOver: object, ...routes: object[]) =>
      routeType
        .decode(
          bytesOf(RouteConfigurationSchema, {
            ...base,
            virtualHosts: [{ ...host, ...hostOver, routes: routes.map((r) => ({ ...route, ...r })) }] as never,
          }),
        )
        .value.virtualHosts[0]!.routes.map((r) => r.session)
    const session = { cookie: 'other', ttlMs: 0, path: '' }
    expect(decode({}, {}, over(other), over(disabled))).toEqual([undefined, session, null])
    expect(decode(over(other), {}, over(disabled))).toEqual([session, null])
    expect(decode({}, over({ case: 'statefulSession', value: {} }))).toEqual([null])
    expect(() => decode({}, over(undefined))).toThrow('needs disabled or stateful_session')
  })

  it('goes to hosts in the states that the cluster allows', () => {
    const hosts = (statuses?: HealthStatus[]) => {
      const commonLbConfig = statuses === undefined ? {} : { overrideHostStatus: { statuses } }
      const { value, warnings } = clusterType.decode(bytesOf(ClusterSchema, { ...clusterInit('c'), commonLbConfig }))
      expect(warnings).toEqual([])
      return value.spec.sessionHosts
    }
    expect(hosts()).toEqual(['HEALTHY'])
    expect(hosts([])).toEqual([])
    expect(hosts([HealthStatus.UNKNOWN, HealthStatus.DRAINING])).toEqual(['HEALTHY', 'DRAINING'])
    expect(hosts([HealthStatus.DRAINING])).toEqual(['DRAINING'])
  })
})
