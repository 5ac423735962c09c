import {
  type RouteAction_RequestMirrorPolicy as Mirror,
  RouteAction_RequestMirrorPolicySchema,
} from '../../gen/envoy/config/route/v3/route_components_pb.js'
import type { RoutePolicy } from '../../gen/inmesh/v1/extensions_pb.js'
import type { MirrorSpec } from '../../model/route.ts'
import { type Field, names } from './field.ts'
import { perMillion } from './percent.ts'

const DEFAULT_MAX_BODY = 65_536
// Shadows are never sampled.
const fields = names('cluster cluster_header runtime_fraction trace_sampled disable_shadow_host_suffix_append')

/** request_mirror_policies, with what RoutePolicy.mirrors adds for each cluster. Those of 0 % are left out. */
export function mirrors(field: Field, policies: readonly Mirror[], ours: RoutePolicy | undefined): MirrorSpec[] {
  const all = field.map(policies, (policy, at): MirrorSpec => {
    at.onlyReads(RouteAction_RequestMirrorPolicySchema, policy, fields)
    if (policy.clusterHeader !== '') at.at('cluster_header').fail('not supported')
    if (policy.cluster === '') at.at('cluster').fail('must not be empty')
    const fraction = policy.runtimeFraction?.defaultValue
    const more = ours?.mirrors[policy.cluster]
    return {
      cluster: policy.cluster,
      perMillion: fraction === undefined ? 1_000_000 : perMillion(at.at('runtime_fraction.default_value'), fraction),
      shadowSuffix: !policy.disableShadowHostSuffixAppend,
      compare: more?.compare ?? false,
      maxBodyBytes: more?.maxBodyBytes || DEFAULT_MAX_BODY,
    }
  })
  return all.filter((mirror) => mirror.perMillion > 0)
}
