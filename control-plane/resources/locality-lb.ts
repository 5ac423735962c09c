import * as z from 'zod'
import { uint32 } from './fields.ts'
import type { Report } from './kind.ts'

const locality = z.string().min(1).describe('"region/zone/subzone"; "*" as last part or absent parts = all.')

/** Istio's LocalityLoadBalancerSetting, of a DestinationRule or of the mesh; the former replaces the latter whole. */
export const localityLbSetting = z.strictObject({
  distribute: z
    .array(
      z.strictObject({
        from: locality.describe('Locality of the caller.'),
        to: z.record(z.string().min(1), uint32.max(100)).describe('Percent by locality of the endpoints; sum 100.'),
      }),
    )
    .default([])
    .describe('Fixed shares of the calls by locality. Not together with failover.'),
  failover: z
    .array(
      z.strictObject({
        from: z.string().min(1).describe('Region of the caller.'),
        to: z.string().min(1).describe('Region that comes next; all others come after it.'),
      }),
    )
    .default([])
    .describe('Which region takes over. Counts only where outlierDetection is set, as in Istio.'),
  failoverPriority: z
    .array(z.string().min(1))
    .default([])
    .describe('Labels that caller and endpoint share, the most important first; "key=value" sets the caller\'s.'),
  enabled: z.boolean().optional().describe('Default true.'),
})

export type LocalityLbSetting = z.output<typeof localityLbSetting>

/** What Istio refuses in it. */
export function checkLocalityLb(
  { distribute, failover, failoverPriority }: LocalityLbSetting,
  path: readonly (string | number)[],
  report: Report,
): void {
  if (distribute.length > 0 && failover.length + failoverPriority.length > 0)
    report('error', [...path, 'distribute'], 'cannot stand beside failover or failoverPriority')
  const seen = new Set<string>()
  distribute.forEach(({ from, to }, index) => {
    if (seen.has(from)) report('error', [...path, 'distribute', index, 'from'], `"${from}" is listed twice`)
    seen.add(from)
    const weights = Object.values(to)
    const sum = weights.reduce((total, weight) => total + weight, 0)
    if (sum !== 100) report('error', [...path, 'distribute', index, 'to'], `the shares sum to ${sum}, not to 100`)
    if (weights.includes(0)) report('error', [...path, 'distribute', index, 'to'], 'a share must not be 0')
  })
  failover.forEach(({ from, to }, index) => {
    if (from === to) report('error', [...path, 'failover', index, 'to'], 'is the same region as from')
    for (const [field, region] of [
      ['from', from],
      ['to', to],
    ] as const)
      if (/[/*]/.test(region)) report('error', [...path, 'failover', index, field], 'must be a region alone')
  })
}
