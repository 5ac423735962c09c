import type { Random } from '../model/clock.ts'

/** Share of the lifetime after which a certificate is renewed. */
const RENEW_AT = 0.5
/** Spread of that share to both sides, so that processes that started together do not renew together. */
const RENEW_JITTER = 0.05
/** When less than this share of the lifetime is left, a failed renewal is worth a warning. */
const WARN_LEFT = 0.25
/** Back-off between attempts, ms: doubles from the first to the last. */
const FIRST_RETRY = 1_000
const LAST_RETRY = 60_000
const LEAST_RETRY = 100

/** All times are wall clock ms. */
export interface Lifetime {
  /** When this process got the certificate. */
  readonly issuedAt: number
  readonly notAfter: number
}

export type Urgency =
  /** Plenty of time left. */
  | 'calm'
  /** Less than a quarter of the lifetime is left. */
  | 'ends soon'
  /** There is no valid certificate. */
  | 'none'

/**
 * When to ask for the next certificate: at half of the lifetime (+-5 %), and after failures with exponential back-off and
 * jitter. Decides only; time comes in as an argument and somebody else keeps the timer.
 */
export class RenewalSchedule {
  /** When the next attempt is due; 0 = at once. */
  due = 0
  /** Failed attempts in a row. */
  failures = 0
  private life: Lifetime | undefined
  private readonly random: Random

  constructor(random: Random) {
    this.random = random
  }

  /** A certificate was obtained (or read from disk). */
  obtained(life: Lifetime): void {
    this.life = life
    this.failures = 0
    const share = RENEW_AT + (2 * this.unit() - 1) * RENEW_JITTER
    this.due = life.issuedAt + Math.max(LEAST_RETRY, (life.notAfter - life.issuedAt) * share)
  }

  /**
   * An attempt failed. The wait is never more than a quarter of what is left, so that a short-lived certificate gets
   * several attempts, too.
   */
  failed(now: number): Urgency {
    this.failures++
    const step = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** Math.min(this.failures - 1, 16))
    const left = (this.life?.notAfter ?? 0) - now
    const wait = step * (0.5 + this.unit() / 2)
    this.due = now + Math.max(LEAST_RETRY, left > 0 ? Math.min(wait, left / 4) : wait)
    return this.urgency(now)
  }

  urgency(now: number): Urgency {
    if (this.life === undefined || now > this.life.notAfter) return 'none'
    return this.life.notAfter - now < (this.life.notAfter - this.life.issuedAt) * WARN_LEFT ? 'ends soon' : 'calm'
  }

  private unit(): number {
    return this.random.u32() / 2 ** 32
  }
}
