import type { InboundRuntime } from './inbound-runtime.ts'
import type { InboundStep } from './inbound-step.ts'
import { rejections } from './rejection.ts'

/** At most `max` requests under way in this server: 503 UO beyond (Istio's Sidecar.inboundConnectionPool). */
export function requestLimitStep(runtime: InboundRuntime, max: number): InboundStep {
  return {
    name: 'request-limit',
    admit() {
      if (runtime.requests >= max) return rejections.inboundOverflow
      runtime.requests++
      return undefined
    },
    done() {
      runtime.requests--
    },
  }
}
