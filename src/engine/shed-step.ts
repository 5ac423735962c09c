import type { InboundStep } from './inbound-step.ts'
import { rejections } from './rejection.ts'
import type { Shed } from './shed.ts'

/** Refuses what the server cannot do in time, before anything is done for it: 503 OM, RESOURCE_EXHAUSTED to gRPC. */
export function shedStep(shed: Shed): InboundStep {
  return {
    name: 'shed',
    admit: (request) =>
      // Plaintext callers name no class that could be believed.
      shed.enter(request.peer === null ? 'DEFAULT' : (request.priority ?? 'DEFAULT')) ? undefined : rejections.shed,
    done(request) {
      if (!request.eased) shed.leave()
    },
    streaming() {
      shed.leave()
    },
  }
}
