/** Why outlier detection took a host out. */
export type EjectionReason =
  | 'consecutive-5xx'
  | 'consecutive-gateway-errors'
  | 'consecutive-local-origin'
  | 'success-rate'
  | 'failure-percentage'

/** Calls of one interval. */
export interface Tally {
  total: number
  good: number
}

/** What outlier detection remembers of a host. */
export interface OutlierHostState {
  consecutive5xx: number
  consecutiveGateway: number
  consecutiveLocal: number
  /** Multiplier of the ejection time; decays by one with each interval in which the host was in. */
  ejections: number
  /** Of the latest ejection. */
  reason: EjectionReason | null
  /** Answers; all outcomes unless local origin is split. */
  readonly answers: Tally
  /** Did an answer come at all? Counted when local origin is split. */
  readonly local: Tally
}

export function outlierHostState(): OutlierHostState {
  return {
    consecutive5xx: 0,
    consecutiveGateway: 0,
    consecutiveLocal: 0,
    ejections: 0,
    reason: null,
    answers: { total: 0, good: 0 },
    local: { total: 0, good: 0 },
  }
}
