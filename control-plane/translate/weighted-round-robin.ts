import type { MessageInitShape } from '@bufbuild/protobuf'
import type { LoadBalancingPolicySchema } from '../../src/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClientSideWeightedRoundRobinSchema } from '../../src/gen/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin_pb.js'
import { RoundRobinSchema } from '../../src/gen/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.js'
import { WrrLocalitySchema } from '../../src/gen/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality_pb.js'
import type { ServicePolicySpec } from '../resources/service-policy.ts'
import { duration, pack } from './encode.ts'

type PolicyInit = MessageInitShape<typeof LoadBalancingPolicySchema>

const typed = (name: string, typedConfig: ReturnType<typeof pack>): PolicyInit => ({
  policies: [{ typedExtensionConfig: { name: `envoy.load_balancing_policies.${name}`, typedConfig } }],
})

/**
 * By reported load in the words that Envoy and gRPC share (gRFC A58, A52). Who does not know it takes round robin, the second of
 * the list; who does not read the list takes lb_policy.
 *
 * @param byLocality localities are chosen by weight first, as gRPC does everywhere
 * @param foreign grpc-go takes a 0 for "not said", so it gets the next best
 */
export function weightedRoundRobin(
  settings: ServicePolicySpec['weightedRoundRobin'],
  byLocality: boolean,
  foreign: boolean,
): PolicyInit {
  const { oobReportingMs, blackoutMs, expirationMs, updateMs, errorPenalty } = settings ?? {}
  const own = pack(ClientSideWeightedRoundRobinSchema, {
    ...(oobReportingMs === undefined
      ? {}
      : { enableOobLoadReport: true, oobReportingPeriod: duration(oobReportingMs) }),
    ...(blackoutMs === undefined ? {} : { blackoutPeriod: duration(Math.max(foreign ? 1 : 0, blackoutMs)) }),
    ...(expirationMs === undefined ? {} : { weightExpirationPeriod: duration(expirationMs) }),
    ...(updateMs === undefined ? {} : { weightUpdatePeriod: duration(updateMs) }),
    ...(errorPenalty === undefined ? {} : { errorUtilizationPenalty: Math.max(foreign ? 1e-6 : 0, errorPenalty) }),
  })
  const policies = [
    ...typed('client_side_weighted_round_robin', own).policies!,
    ...typed('round_robin', pack(RoundRobinSchema, {})).policies!,
  ]
  return byLocality
    ? typed('wrr_locality', pack(WrrLocalitySchema, { endpointPickingPolicy: { policies } }))
    : { policies }
}
