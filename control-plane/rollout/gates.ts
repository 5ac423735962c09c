import type { VersionStats } from './measure.ts'

/** What the new version has to keep to; absent = is not asked. */
export interface Gates {
  /** 0..1. */
  readonly minSuccessRate?: number
  /** ms. */
  readonly maxP99?: number
  /** How far its success rate may be below the old version's, 0..1. */
  readonly maxSuccessDrop?: number
  /** Of its p99 to the old version's. */
  readonly maxP99Ratio?: number
  /** Nothing is judged by fewer calls. */
  readonly minRequests: number
}

export interface Verdict {
  readonly result: 'good' | 'bad' | 'unknown'
  readonly reasons: readonly string[]
}

/** Judges the candidate; what compares needs a baseline with enough calls, and is not known without. */
export function judge(gates: Gates, candidate: VersionStats, baseline: VersionStats | undefined): Verdict {
  const { minSuccessRate, maxP99, maxSuccessDrop, maxP99Ratio, minRequests } = gates
  if (candidate.requests < minRequests)
    return { result: 'unknown', reasons: [`${candidate.requests} of ${minRequests} calls that are needed to judge`] }
  const bad: string[] = []
  const { successRate, p99 } = candidate
  if (minSuccessRate !== undefined && successRate < minSuccessRate)
    bad.push(`success rate ${percent(successRate)} is below ${percent(minSuccessRate)}`)
  if (maxP99 !== undefined && p99 > maxP99) bad.push(`p99 ${ms(p99)} is above ${ms(maxP99)}`)
  const compares = maxSuccessDrop !== undefined || maxP99Ratio !== undefined
  const known = baseline !== undefined && baseline.requests >= minRequests
  if (known && maxSuccessDrop !== undefined && successRate < baseline.successRate - maxSuccessDrop)
    bad.push(
      `success rate ${percent(successRate)} is more than ${percent(maxSuccessDrop)} below the old version's ${percent(baseline.successRate)}`,
    )
  if (known && maxP99Ratio !== undefined && p99 > baseline.p99 * maxP99Ratio)
    bad.push(`p99 ${ms(p99)} is more than ${maxP99Ratio} times the old version's ${ms(baseline.p99)}`)
  if (bad.length > 0) return { result: 'bad', reasons: bad }
  if (compares && !known)
    return { result: 'unknown', reasons: [`the old version has not had the ${minRequests} calls to compare with`] }
  return { result: 'good', reasons: [] }
}

export function percent(ratio: number): string {
  return Number.isNaN(ratio) ? '-' : `${Number((ratio * 100).toFixed(2))}%`
}

export function ms(value: number): string {
  return Number.isNaN(value) ? '-' : `${Number(value.toFixed(1))} ms`
}
