import type { ClusterPolicy } from '../../gen/inmesh/v1/extensions_pb.js'
import { type LbSpec, type OwnBalancer, ownBalancers } from '../../model/cluster.ts'
import { positiveMs } from './duration.ts'
import type { Field } from './field.ts'

/** @param lb what Envoy's fields say */
type Decode = (policyAt: Field, policy: ClusterPolicy, lb: LbSpec) => LbSpec

const decoders: Readonly<Record<OwnBalancer, Decode>> = {
  PEAK_EWMA: peakEwma,
}

/** What `ClusterPolicy.balancer` names instead of the balancer that stands in Envoy's fields. */
export function ownBalancer(policyAt: Field, policy: ClusterPolicy, lb: LbSpec): LbSpec {
  const name = policy.balancer !== '' ? policy.balancer : policy.peakEwma !== undefined ? 'PEAK_EWMA' : ''
  if (name === '') return lb
  if (isOwn(name)) return decoders[name](policyAt, policy, lb)
  policyAt.at('balancer').warn(`"${name}" is not known, lb_policy is used`)
  return lb
}

function isOwn(name: string): name is OwnBalancer {
  return (ownBalancers as readonly string[]).includes(name)
}

/** Hosts start as slowly as Envoy's fields say. Decay: 10 s when absent. */
function peakEwma(policyAt: Field, { peakEwma: message }: ClusterPolicy, lb: LbSpec): LbSpec {
  const slowStart = 'slowStart' in lb ? lb.slowStart : undefined
  return {
    policy: 'PEAK_EWMA',
    decayMs: positiveMs(policyAt.at('peak_ewma.decay'), message?.decay, 10_000),
    ...(slowStart === undefined ? {} : { slowStart }),
  }
}
