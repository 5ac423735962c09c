import { StatefulSessionPerRouteSchema } from '../../src/gen/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js'
import { CookieBasedSessionStateSchema } from '../../src/gen/envoy/extensions/http/stateful_session/cookie/v3/cookie_pb.js'
import type { ServicePolicySpec } from '../resources/service-policy.ts'
import { duration, pack } from './encode.ts'
import type { RouteInit } from './route-actions.ts'

const SESSION_FILTER = 'envoy.filters.http.stateful_session'

/**
 * Envoy's stateful sessions on a route. For inmesh's own clients: of gRPC's only C-core knows them, and only where the listener
 * has the filter, which the others would refuse.
 */
export function sessionConfig(session: ServicePolicySpec['stickySession']): RouteInit['typedPerFilterConfig'] {
  if (session === undefined) return {}
  const { cookie: name, ttlMs, path = '' } = session
  const state = pack(CookieBasedSessionStateSchema, { cookie: { name, ttl: duration(ttlMs), path } })
  const config = pack(StatefulSessionPerRouteSchema, {
    override: {
      case: 'statefulSession',
      value: { sessionState: { name: 'envoy.http.stateful_session.cookie', typedConfig: state } },
    },
  })
  return { [SESSION_FILTER]: config }
}
