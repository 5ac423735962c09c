import type { HedgeSpec } from '../model/route.ts'
import type { Call } from './call.ts'
import type { ClusterRuntime } from './cluster.ts'
import { Latencies } from './latencies.ts'
import { Kind, type Outcome } from './outcome.ts'
import type { Policy } from './policy.ts'
import { shared } from './shared.ts'
import { TimerNode } from './time.ts'

/** When the next try of a call is started beside those in flight. As a policy it learns how long answers take. */
export class Hedge implements Policy {
  readonly spec: HedgeSpec
  /** null = the delay is fixed, nothing is learnt. */
  private readonly latencies: Latencies | null

  constructor(spec: HedgeSpec, latencies: Latencies | null) {
    this.spec = spec
    this.latencies = latencies
  }

  /** ms from the start of a try; Infinity = not by time, or too little is known. */
  delay(now: number): number {
    const { delayMs, percentile } = this.spec
    if (delayMs !== null) return delayMs
    return this.latencies === null ? Number.POSITIVE_INFINITY : this.latencies.percentile(percentile!, now)
  }

  get learns(): boolean {
    return this.latencies !== null
  }

  outcome(_call: Call, outcome: Outcome, now: number): void {
    if (outcome.kind === Kind.Response && !outcome.delivered && outcome.status < 500)
      this.latencies?.record(outcome.elapsedMs, now)
  }

  /** A try was overtaken: it would have taken longer still. Left out, slow answers would vanish from the statistics. */
  lost(elapsedMs: number, now: number): void {
    this.latencies?.record(elapsedMs, now)
  }
}

export function compileHedge(spec: HedgeSpec, cluster: ClusterRuntime): Hedge {
  return spec.delayMs === null && spec.percentile !== null ? new Hedge(spec, latenciesOf(cluster)) : unlearned(spec)
}

const unlearned = shared((spec: HedgeSpec) => new Hedge(spec, null))

/** The wait for the next try of one call. */
export class HedgeTimer extends TimerNode {
  private readonly call: Call
  constructor(call: Call) {
    super()
    this.call = call
  }
  override fire(now: number): void {
    this.call.onHedge(now)
  }
}

/** All routes to a cluster learn together, and new configuration does not make them forget. */
const learnt = new WeakMap<ClusterRuntime, Latencies>()

function latenciesOf(cluster: ClusterRuntime): Latencies {
  let known = learnt.get(cluster)
  if (known === undefined) {
    known = new Latencies()
    learnt.set(cluster, known)
  }
  return known
}
