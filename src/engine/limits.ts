import type { Call } from './call.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { Policy } from './policy.ts'
import { type Rejection, rejections } from './rejection.ts'

/** Envoy circuit_breakers max_requests: calls of this process in flight to one cluster. Refused calls are never retried. */
export class RequestLimit implements Policy {
  private readonly cluster: ClusterRuntime
  private calls = 0
  constructor(cluster: ClusterRuntime) {
    this.cluster = cluster
  }
  enter(): Rejection | undefined {
    const refusal = this.peek()
    if (refusal === undefined) this.calls++
    else this.cluster.stats?.refused()
    return refusal
  }
  peek(): Rejection | undefined {
    return this.calls >= this.cluster.spec.limits.maxRequests ? rejections.overflow : undefined
  }
  leave(_call: Call): void {
    this.calls--
  }
}
