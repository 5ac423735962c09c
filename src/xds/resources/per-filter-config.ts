import type { Any } from '@bufbuild/protobuf/wkt'
import { FilterConfigSchema } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { CorsPolicySchema } from '../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import { HTTPFaultSchema } from '../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { RBACPerRouteSchema } from '../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { StatefulSessionPerRouteSchema } from '../../gen/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js'
import type { RbacSpec } from '../../model/inbound.ts'
import type { CorsSpec, FaultSpec, SessionSpec } from '../../model/route.ts'
import { holds, typeNameOf, unpack } from './any.ts'
import { corsSpec } from './cors.ts'
import { faultSpec } from './fault.ts'
import type { Field } from './field.ts'
import { rbacSpec } from './rbac.ts'
import { sessionPerRoute } from './session.ts'

/** What one level says about filters; undefined = it says nothing, null = off. */
export interface FilterOverrides {
  readonly fault?: FaultSpec | null
  readonly cors?: CorsSpec | null
  readonly session?: SessionSpec | null
  /** By the name of the filter: there may be several. */
  readonly rbac?: Readonly<Record<string, RbacSpec | null>>
}

/** What a more specific level says comes before what the one around it says, each filter by itself. */
export function joinOverrides(outer: FilterOverrides, inner: FilterOverrides): FilterOverrides {
  const rbac = { ...outer.rbac, ...inner.rbac }
  return { ...outer, ...inner, ...(Object.keys(rbac).length === 0 ? {} : { rbac }) }
}

/**
 * typed_per_filter_config. What a filter is, is told by the type of its configuration, whatever its name (gRFC A39): one that
 * nobody here knows refuses the resource unless it is optional.
 */
export function filterOverrides(field: Field, configs: Readonly<Record<string, Any>>): FilterOverrides {
  let found: FilterOverrides = {}
  for (const [name, given] of Object.entries(configs)) {
    const at = field.at('typed_per_filter_config').index(name)
    let config: Any | undefined = given
    let optional = false
    if (holds(given, FilterConfigSchema)) {
      const wrapper = unpack(at, given, FilterConfigSchema)
      if (wrapper.disabled) at.at('disabled').fail('not supported')
      optional = wrapper.isOptional
      config = wrapper.config
      if (config === undefined) {
        if (!optional) at.at('config').fail('is missing')
        continue
      }
    }
    if (holds(config, HTTPFaultSchema)) found = { ...found, fault: faultSpec(at, unpack(at, config, HTTPFaultSchema)) }
    else if (holds(config, CorsPolicySchema))
      found = { ...found, cors: corsSpec(at, unpack(at, config, CorsPolicySchema)) }
    else if (holds(config, StatefulSessionPerRouteSchema))
      found = { ...found, session: sessionPerRoute(at, unpack(at, config, StatefulSessionPerRouteSchema)) }
    else if (field.dialect.providers !== null && holds(config, RBACPerRouteSchema)) {
      // An absent policy switches the filter off (A41).
      const { rbac } = unpack(at, config, RBACPerRouteSchema)
      const rules = rbac === undefined ? null : rbacSpec(at.at('rbac'), name, rbac)
      found = { ...found, rbac: { ...found.rbac, [name]: rules } }
    } else if (optional) at.warn(`${typeNameOf(config)} is optional and not known, skipped`)
    else at.fail(`${typeNameOf(config)} is not supported`)
  }
  return found
}
