import type { Step } from '../lib/step.ts'
import { mutualTls } from './01-mutual-tls.ts'
import { canary } from './02-canary.ts'
import { header } from './03-header.ts'
import { kill } from './04-kill.ts'
import { outlier } from './05-outlier.ts'
import { breaker } from './06-breaker.ts'
import { authorization } from './07-authorization.ts'
import { controlPlaneDown } from './08-control-plane-down.ts'
import { rotation } from './09-rotation.ts'
import { traceStep } from './10-trace.ts'

/** The walk, in order. */
export const steps: readonly Step[] = [
  mutualTls,
  canary,
  header,
  kill,
  outlier,
  breaker,
  authorization,
  controlPlaneDown,
  rotation,
  traceStep,
]
