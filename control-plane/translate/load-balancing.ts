import type { MessageInitShape } from '@bufbuild/protobuf'
import {
  Cluster_LbPolicy,
  type ClusterSchema,
  type Cluster_SlowStartConfigSchema as SlowStartSchema,
} from '../../src/gen/envoy/config/cluster/v3/cluster_pb.js'
import { type OwnBalancer, ownBalancers } from '../../src/model/cluster.ts'
import type { LoadBalancer } from '../resources/load-balancer.ts'
import type { ServicePolicySpec } from '../resources/service-policy.ts'
import { duration } from './encode.ts'
import { weightedRoundRobin } from './weighted-round-robin.ts'

type ClusterInit = MessageInitShape<typeof ClusterSchema>
type Balancing = Pick<ClusterInit, 'lbPolicy' | 'lbConfig' | 'loadBalancingPolicy'>

/** What a service gets when nobody speaks about it. */
export type DefaultBalancer = 'ROUND_ROBIN' | 'LEAST_REQUEST'

/** The balancer that counts: of the DestinationRule, else of the ServicePolicy, else the default. */
export function chosenBalancer(
  loadBalancer: LoadBalancer | undefined,
  ofService: ServicePolicySpec['loadBalancer'],
  otherwise: DefaultBalancer,
): Exclude<LoadBalancer['simple'], 'UNSPECIFIED'> | 'HASH' {
  if (loadBalancer?.consistentHash !== undefined) return 'HASH'
  if (loadBalancer === undefined || loadBalancer.simple === 'UNSPECIFIED') return ofService ?? otherwise
  return loadBalancer.simple
}

/**
 * Envoy's lb_policy with its config, or its successor where only that can say it. C-core and grpc-js-xds refuse LEAST_REQUEST, all of gRPC refuses RANDOM and MAGLEV:
 * they get round robin, and a ring wherever keys are hashed.
 *
 * @param weighted localities share by their weights
 */
export function loadBalancing(
  loadBalancer: LoadBalancer | undefined,
  ofService: Pick<ServicePolicySpec, 'loadBalancer' | 'weightedRoundRobin'>,
  otherwise: DefaultBalancer,
  foreign: boolean,
  weighted: boolean,
): Balancing {
  const chosen = chosenBalancer(loadBalancer, ofService.loadBalancer, otherwise)
  if (chosen === 'HASH') return hashing(loadBalancer!.consistentHash!, foreign)
  if (chosen === 'WEIGHTED_ROUND_ROBIN')
    return {
      lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
      loadBalancingPolicy: weightedRoundRobin(ofService.weightedRoundRobin, foreign || weighted, foreign),
    }
  if (foreign || chosen === 'ROUND_ROBIN')
    return {
      lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
      ...(foreign || !hasWarmup(loadBalancer)
        ? {}
        : { lbConfig: { case: 'roundRobinLbConfig', value: slowStart(loadBalancer) } }),
    }
  if (chosen === 'RANDOM') return { lbPolicy: Cluster_LbPolicy.RANDOM }
  // inmesh's own stand in its own message; who does not read that takes this.
  return {
    lbPolicy: Cluster_LbPolicy.LEAST_REQUEST,
    lbConfig: { case: 'leastRequestLbConfig', value: { choiceCount: 2, ...slowStart(loadBalancer) } },
  }
}

/** The name in inmesh's own message; '' = what stands in Envoy's fields. */
export function ownBalancer(chosen: ReturnType<typeof chosenBalancer>): OwnBalancer | '' {
  return ownBalancers.find((name) => name === chosen) ?? ''
}

function hashing(hash: NonNullable<LoadBalancer['consistentHash']>, foreign: boolean): Balancing {
  if (hash.maglev !== undefined && !foreign)
    return {
      lbPolicy: Cluster_LbPolicy.MAGLEV,
      lbConfig: { case: 'maglevLbConfig', value: { tableSize: BigInt(hash.maglev.tableSize) } },
    }
  // 0 is unset, Istio's 1024.
  const size = hash.ringHash?.minimumRingSize || hash.minimumRingSize || 1024
  return {
    lbPolicy: Cluster_LbPolicy.RING_HASH,
    lbConfig: { case: 'ringHashLbConfig', value: { minimumRingSize: BigInt(size) } },
  }
}

function hasWarmup(lb: LoadBalancer | undefined): lb is LoadBalancer {
  return lb?.warmup !== undefined || lb?.warmupDurationSecs !== undefined
}

function slowStart(lb: LoadBalancer | undefined): { slowStartConfig?: MessageInitShape<typeof SlowStartSchema> } {
  if (!hasWarmup(lb)) return {}
  const { duration: window = lb.warmupDurationSecs!, minimumPercent = 10, aggression = 1 } = lb.warmup ?? {}
  return {
    slowStartConfig: {
      slowStartWindow: duration(window),
      aggression: { defaultValue: aggression, runtimeKey: 'inmesh' },
      minWeightPercent: { value: minimumPercent },
    },
  }
}
