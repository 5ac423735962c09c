/** Monotonic milliseconds with fractions. Deciding code takes time from here only, so that tests own it. */
export interface Clock {
  now(): number
  /** ms since 1970, only for dates that peers name; absent = the system's. */
  wall?(): number
}

/** Uniform random 32-bit unsigned integers. */
export interface Random {
  u32(): number
}

export const systemClock: Clock = { now: () => performance.now() }
