import { CorsSchema } from '../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import { HTTPFaultSchema } from '../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import {
  type LocalRateLimit,
  LocalRateLimitSchema,
} from '../../gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.js'
import { type RBAC, RBACSchema } from '../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { RouterSchema } from '../../gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import { StatefulSessionSchema } from '../../gen/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js'
import {
  type HttpConnectionManager,
  HttpConnectionManagerSchema,
  type HttpFilter,
} from '../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { FaultSpec, SessionSpec } from '../../model/route.ts'
import { holds, typeNameOf, unpack } from './any.ts'
import { faultSpec } from './fault.ts'
import { type Field, names } from './field.ts'
import { sessionSpec } from './session.ts'

/** Filters that were configured, in the order of the chain, without the router. */
export interface HttpFilterConfig {
  readonly name: string
  readonly rbac?: RBAC
  readonly rateLimit?: LocalRateLimit
  /** null = none; routes may say otherwise. */
  readonly fault?: FaultSpec
  /** null = none; routes may say otherwise. */
  readonly session?: SessionSpec | null
}

/**
 * Rules of gRFC A39: names are unique, the last filter is the router and the only one, an unknown filter refuses the
 * resource unless it is optional. CORS has its rules on routes; its filter says only that there may be some.
 *
 * @param side RBAC and local rate limits are for servers, sessions for clients; on the other side they count as unknown (A41, A55)
 */
export function httpFilters(
  field: Field,
  filters: readonly HttpFilter[],
  side: 'client' | 'server',
): HttpFilterConfig[] {
  const at = field.at('http_filters')
  const seen = new Set<string>()
  const configured: HttpFilterConfig[] = []
  for (const [i, filter] of filters.entries()) {
    const here = at.index(i)
    if (filter.name === '') here.at('name').fail('is missing')
    if (seen.has(filter.name)) here.at('name').fail(`"${filter.name}" appears twice`)
    seen.add(filter.name)
    const isLast = i === filters.length - 1
    if (filter.configType.case !== 'typedConfig') {
      if (!filter.isOptional || isLast) here.at('typed_config').fail('is missing')
      here.warn('is optional and not known, skipped')
      continue
    }
    const config = filter.configType.value
    const isRouter = holds(config, RouterSchema)
    if (isRouter !== isLast)
      here.fail(
        isLast ? `the last filter must be the router, is ${typeNameOf(config)}` : 'the router must be the last filter',
      )
    if (isRouter || filter.disabled) continue
    if (side === 'server' && holds(config, RBACSchema)) {
      configured.push({ name: filter.name, rbac: unpack(here.at('typed_config'), config, RBACSchema) })
    } else if (side === 'server' && holds(config, LocalRateLimitSchema)) {
      configured.push({ name: filter.name, rateLimit: unpack(here.at('typed_config'), config, LocalRateLimitSchema) })
    } else if (holds(config, HTTPFaultSchema)) {
      const at = here.at('typed_config')
      const fault = faultSpec(at, unpack(at, config, HTTPFaultSchema))
      if (fault.delay !== null || fault.abort !== null) configured.push({ name: filter.name, fault })
    } else if (side === 'client' && holds(config, StatefulSessionSchema)) {
      const at = here.at('typed_config')
      configured.push({ name: filter.name, session: sessionSpec(at, unpack(at, config, StatefulSessionSchema)) })
    } else if (holds(config, CorsSchema)) {
      // Nothing in it.
      unpack(here.at('typed_config'), config, CorsSchema)
    } else if (filter.isOptional) {
      here.warn(`${typeNameOf(config)} is optional and not known, skipped`)
    } else {
      here.at('typed_config').fail(`${typeNameOf(config)} is not supported`)
    }
  }
  if (filters.length === 0) at.fail('must not be empty: the last filter must be the router')
  return configured
}

// Codec, limits, headers and logging of the other side of a proxy: a library has none of it.
const managerFields = names(`codec_type stat_prefix rds route_config scoped_routes http_filters xff_num_trusted_hops
  original_ip_detection_extensions use_remote_address upgrade_configs normalize_path server_name generate_request_id
  forward_client_cert_details set_current_client_cert_details http_protocol_options http2_protocol_options
  path_normalization_options access_log tracing path_with_escaped_slashes_action merge_slashes`)

/** What holds for every HttpConnectionManager, whichever side it is on (gRFC A41 for the address rules). */
export function checkManager(field: Field, manager: HttpConnectionManager): void {
  const foreign = field.dialect.providers !== null
  field.onlyReads(
    HttpConnectionManagerSchema,
    manager,
    foreign ? new Set([...managerFields, 'common_http_protocol_options']) : managerFields,
  )
  if (manager.xffNumTrustedHops !== 0) field.at('xff_num_trusted_hops').fail('must be 0')
  if (manager.originalIpDetectionExtensions.length > 0)
    field.at('original_ip_detection_extensions').fail('must be empty')
}
