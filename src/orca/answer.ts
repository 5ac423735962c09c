import type { Attempt } from '../engine/attempt.ts'
import { decodeReport } from './binary.ts'
import { parseBinary, parseReport } from './header.ts'

/**
 * Hands the engine what an answer says about the load of its host. For all transports: with the headers of an answer, and once
 * more with its trailers. Costs nothing where nobody wants to know (ask `attempt.wantsLoad` before headers are looked up).
 *
 * @param binary `endpoint-load-metrics-bin`: bytes, or base64; it comes first
 * @param text `endpoint-load-metrics`
 */
export function learnLoad(attempt: Attempt, binary: Uint8Array | string | undefined, text: string | undefined): void {
  if (!attempt.wantsLoad) return
  const report =
    binary !== undefined
      ? typeof binary === 'string'
        ? parseBinary(binary)
        : decodeReport(binary)
      : text !== undefined
        ? parseReport(text)
        : null
  if (report !== null) attempt.loadReported(report)
}
