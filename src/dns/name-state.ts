/** What a lookup said. */
export type LookupResult =
  /** At least one. */
  | { readonly kind: 'addresses'; readonly addresses: readonly string[] }
  /** The name does not exist, or has no address. */
  | { readonly kind: 'none' }
  /** Nobody could be asked. */
  | { readonly kind: 'failed' }

/** A name is believed to have no address any more after so many answers that say so... */
const ANSWERS = 3
/** ...over at least so long, ms. */
const FOR_MS = 60_000
const FIRST_RETRY_MS = 1_000

/**
 * What is known of one name: the last good addresses stay while nobody can be asked, and while an answer says that there are
 * none for the first few times (empty answers of a DNS that is in trouble have taken down more than they saved).
 */
export class NameState {
  /** null = never resolved. Sorted, so that the same set is the same list. */
  addresses: readonly string[] | null = null
  /** Monotonic ms of the last answer with addresses. */
  resolvedAt = Number.NEGATIVE_INFINITY
  /** Any answer came, or the first question failed. */
  settled = false
  private readonly refreshMs: number
  private negatives = 0
  private negativeSince = 0
  private failures = 0

  constructor(refreshMs: number) {
    this.refreshMs = refreshMs
  }

  /** @returns ms until the next lookup */
  take(result: LookupResult, now: number): number {
    this.settled = true
    if (result.kind === 'addresses') {
      this.negatives = 0
      this.failures = 0
      this.addresses = [...new Set(result.addresses)].sort()
      this.resolvedAt = now
      return this.refreshMs
    }
    if (result.kind === 'none') {
      if (this.negatives++ === 0) this.negativeSince = now
      if (this.negatives >= ANSWERS && now - this.negativeSince >= FOR_MS) this.addresses = []
    }
    return Math.min(this.refreshMs, FIRST_RETRY_MS * 2 ** this.failures++)
  }
}
