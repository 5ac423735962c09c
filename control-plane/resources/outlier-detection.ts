import * as z from 'zod'
import { duration, percent, uint32 } from './fields.ts'
import type { Report } from './kind.ts'

/** "5xx", "gateway-error", "502" or "500-504", as a range of statuses [start, end). */
const statuses = z.union([z.string(), z.int().transform(String)]).transform((text, context) => {
  const range = statusRange(text.trim())
  if (range !== undefined) return range
  context.issues.push({ code: 'custom', message: `"${text}" is not a status, "4xx" or "500-504"`, input: text })
  return z.NEVER
})

function statusRange(text: string): { start: number; end: number } | undefined {
  const family = /^([1-5])xx$/i.exec(text)
  if (family !== null) return { start: Number(family[1]) * 100, end: Number(family[1]) * 100 + 100 }
  if (/^gateway-error$/i.test(text)) return { start: 502, end: 505 }
  const range = /^(\d{3})(?:-(\d{3}))?$/.exec(text)
  if (range === null) return undefined
  const start = Number(range[1])
  const end = Number(range[2] ?? start) + 1
  return start >= 100 && end <= 600 && start < end ? { start, end } : undefined
}

/** Istio's OutlierDetection: hosts that fail are left out for a while. */
export const outlierDetection = z.strictObject({
  consecutive5xxErrors: uint32.optional().describe('Failures in a row; 0 = off. Default 5.'),
  consecutiveErrors: uint32.optional().describe('Older name: gateway errors in a row.'),
  consecutiveGatewayErrors: uint32.optional().describe('502, 503, 504 in a row; 0 = off, the default.'),
  splitExternalLocalOriginErrors: z
    .boolean()
    .default(false)
    .describe('Count failures to connect, resets and timeouts apart from answers.'),
  consecutiveLocalOriginFailures: uint32
    .optional()
    .describe('Such failures in a row, where they are counted apart; 0 = off. Default 5.'),
  interval: duration(1).default(10_000).describe('Between two looks at who may come back.'),
  baseEjectionTime: duration(1).default(30_000).describe('Times the number of ejections in a row.'),
  maxEjectionPercent: percent
    .int()
    .default(10)
    .describe('Share of the hosts that may be out; one may always be. 0 = 10, as in Istio.'),
  minHealthPercent: percent.int().default(0).describe('Below this share of healthy hosts all are used. 0 = never.'),
  outlierDetectionHttpErrorCodes: z
    .array(statuses)
    .optional()
    .describe('Which statuses are failures: "5xx", "429", "500-503". Default 500 to 599.'),
})

export type OutlierDetectionSpec = z.output<typeof outlierDetection>

/** What has no effect in it. */
export function checkOutlierDetection(
  outlier: OutlierDetectionSpec,
  path: readonly (string | number)[],
  report: Report,
): void {
  const { consecutive5xxErrors: any = 5, consecutiveGatewayErrors: gateway = 0 } = outlier
  if (gateway >= any && any > 0 && gateway > 0)
    report('warning', [...path, 'consecutiveGatewayErrors'], 'has no effect: consecutive5xxErrors ejects first')
  if (outlier.consecutiveLocalOriginFailures !== undefined && !outlier.splitExternalLocalOriginErrors)
    report(
      'warning',
      [...path, 'consecutiveLocalOriginFailures'],
      'has no effect without splitExternalLocalOriginErrors: such failures count as 5xx',
    )
  if (outlier.consecutiveErrors !== undefined)
    report(
      'warning',
      [...path, 'consecutiveErrors'],
      outlier.consecutiveGatewayErrors === undefined
        ? 'is the older name of consecutiveGatewayErrors'
        : 'has no effect beside consecutiveGatewayErrors',
    )
}
