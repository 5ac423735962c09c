/** What is done about a resource that the server refuses, deletes or is silent about (gRFC A88). */
export interface DataErrors {
  /** A deleted LDS or CDS resource: the last version stays in use, or is dropped. */
  readonly deletion: 'keep' | 'drop'
  /** A version that was refused here: the last good one stays in use, or is dropped. */
  readonly refusal: 'keep' | 'drop'
  /** Silence means that the server is slow, not that the resource does not exist. */
  readonly timerIsTransient: boolean
}

/** Of inmesh's own control plane, which deletes what it means to delete. */
export const ownDataErrors: DataErrors = { deletion: 'drop', refusal: 'keep', timerIsTransient: false }
