import { HttpProtocolOptionsSchema } from '../../gen/envoy/config/core/v3/protocol_pb.js'
import { type Listener, ListenerSchema } from '../../gen/envoy/config/listener/v3/listener_pb.js'
import {
  type HttpConnectionManager,
  HttpConnectionManagerSchema,
} from '../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { FaultSpec, RouteTable, SessionSpec } from '../../model/route.ts'
import { TypeUrl } from '../proto.ts'
import { unpack } from './any.ts'
import { requireAds, snake } from './config-source.ts'
import { limitMs } from './duration.ts'
import { type Field, names } from './field.ts'
import { checkManager, httpFilters } from './http-filters.ts'
import { type InboundResource, inboundResource } from './inbound.ts'
import { resourceType } from './resource-type.ts'
import { routeTable } from './route.ts'

/** A client's listener names its routes or holds them; a server's says what to enforce. */
export type ListenerResource =
  | {
      readonly kind: 'client'
      readonly routes: { readonly rds: string } | { readonly inline: RouteTable }
      /** Of routes that say nothing else about faults. */
      readonly fault: FaultSpec | null
      /** Of routes that say nothing else about sessions. */
      readonly session: SessionSpec | null
      /** Of routes that say nothing about time (gRFC A31), ms; Infinity = none. */
      readonly maxStreamMs: number
    }
  | ({ readonly kind: 'inbound' } & InboundResource)

/** LDS. With `api_listener` it is for clients (gRFC A27), else for servers (A36). */
export const listenerType = resourceType({
  typeUrl: TypeUrl.listener,
  label: 'Listener',
  fullState: true,
  schema: ListenerSchema,
  nameOf: (m) => m.name,
  convert: listener,
})

// How a proxy would bind; a library's sockets are the application's.
const fields =
  names(`name address api_listener filter_chains default_filter_chain stat_prefix metadata traffic_direction
  drain_type bind_to_port access_log connection_balance_config enable_reuse_port listener_filters_timeout
  continue_on_listener_filters_timeout per_connection_buffer_limit_bytes deprecated_v1 use_original_dst`)

function listener(message: Listener, field: Field): ListenerResource {
  if (message.listenerFilters.length > 0) field.at('listener_filters').fail('not supported')
  field.onlyReads(ListenerSchema, message, fields)
  if (message.apiListener === undefined) return { kind: 'inbound', ...inboundResource(field, message) }
  const at = field.at('api_listener.api_listener')
  const manager = unpack(at, message.apiListener.apiListener, HttpConnectionManagerSchema)
  checkManager(at, manager)
  const filters = httpFilters(at, manager.httpFilters, 'client')
  const fault = filters.find((filter) => filter.fault !== undefined)?.fault ?? null
  const session = filters.find((filter) => filter.session !== undefined)?.session ?? null
  return { kind: 'client', routes: routesOf(at, manager), fault, session, maxStreamMs: maxStreamMs(at, manager) }
}

function maxStreamMs(field: Field, { commonHttpProtocolOptions: options }: HttpConnectionManager): number {
  // inmesh's own routes say all about time themselves.
  if (options === undefined || field.dialect.providers === null) return Number.POSITIVE_INFINITY
  const at = field.at('common_http_protocol_options')
  at.onlyReads(HttpProtocolOptionsSchema, options, names('max_stream_duration idle_timeout'))
  return limitMs(at.at('max_stream_duration'), options.maxStreamDuration)
}

function routesOf(field: Field, manager: HttpConnectionManager): { rds: string } | { inline: RouteTable } {
  const specifier = manager.routeSpecifier
  switch (specifier.case) {
    case 'rds':
      requireAds(field.at('rds.config_source'), specifier.value.configSource)
      if (specifier.value.routeConfigName === '') field.at('rds.route_config_name').fail('is missing')
      return { rds: specifier.value.routeConfigName }
    case 'routeConfig':
      return { inline: routeTable(specifier.value, field.at('route_config')) }
    case undefined:
      return field.fail('needs rds or route_config')
    default:
      return field.at(snake(specifier.case)).fail('not supported')
  }
}
