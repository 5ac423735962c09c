import { isDeepStrictEqual } from 'node:util'
import type { BucketSpec, RateLimitSpec } from '../model/inbound.ts'
import { BucketTable } from './bucket-table.ts'
import { compileInboundMatches, type InboundTest } from './inbound-match.ts'
import type { InboundRequest, InboundStep } from './inbound-step.ts'
import { Rejection } from './rejection.ts'
import type { TokenBucket } from './token-bucket.ts'

/** One rule with its buckets. The buckets outlive changes of the rule that leave it the same name and kind of key. */
export class RateLimit {
  readonly spec: RateLimitSpec
  readonly refusal: Rejection
  private readonly applies: InboundTest | null
  private readonly buckets: BucketTable

  constructor(spec: RateLimitSpec, now: number, buckets?: BucketTable) {
    this.spec = spec
    this.applies = compileInboundMatches(spec.match)
    this.buckets = buckets ?? new BucketTable(spec.bucket, overridesOf(spec), now)
    this.refusal = new Rejection({
      status: spec.status,
      grpcStatus: spec.grpcStatus,
      flag: 'RL',
      details: 'local_rate_limited',
      body: 'local_rate_limited',
      headers: ['x-envoy-ratelimited', 'true', ...spec.answerHeaders],
    })
  }

  /** The same rule as it reads now, with what was taken already. */
  next(spec: RateLimitSpec, now: number): RateLimit {
    if (isDeepStrictEqual(spec, this.spec)) return this
    if (!isDeepStrictEqual(spec.key, this.spec.key)) return new RateLimit(spec, now)
    this.buckets.resize(spec.bucket, overridesOf(spec), now)
    return new RateLimit(spec, now, this.buckets)
  }

  /** null = the rule is not about this request. */
  bucketOf(request: InboundRequest, now: number): TokenBucket | null {
    if (this.applies !== null && !this.applies(request)) return null
    return this.buckets.of(this.keyOf(request), now)
  }

  /** Without an identity, or the header, all share the bucket of ''. */
  private keyOf(request: InboundRequest): string {
    const { key } = this.spec
    if (key.kind === 'all') return ''
    return (key.kind === 'identity' ? request.peer?.spiffeId : request.header(key.name)) ?? ''
  }
}

function overridesOf(spec: RateLimitSpec): ReadonlyMap<string, BucketSpec> {
  return new Map(spec.overrides.map(({ value, bucket }) => [value, bucket]))
}

/**
 * Every rule that is about a request must give it a token; what one refuses takes none from the others. Answers say in
 * x-ratelimit-* how the bucket with the fewest tokens stands, if its rule wants that; refusals always say Retry-After.
 */
export function rateLimitStep(limits: readonly RateLimit[]): InboundStep {
  return {
    name: 'rate-limit',
    admit(request, now) {
      let tightest: TokenBucket | null = null
      let least = Number.POSITIVE_INFINITY
      for (let i = 0; i < limits.length; i++) {
        const limit = limits[i]!
        const bucket = limit.bucketOf(request, now)
        if (bucket === null) continue
        if (!bucket.take(now)) {
          for (let j = 0; j < i; j++) limits[j]!.bucketOf(request, now)?.giveBack()
          request.setAnswerHeader('retry-after', seconds(bucket.msUntil(1, now)))
          if (limit.spec.headers) tellState(request, bucket, now)
          return limit.refusal
        }
        if (!limit.spec.headers) continue
        const remaining = bucket.remaining(now)
        if (remaining < least) {
          least = remaining
          tightest = bucket
        }
      }
      if (tightest !== null) tellState(request, tightest, now)
      return undefined
    },
  }
}

/** draft-polli-ratelimit-headers-03: the quota, what is left of it, and seconds until all of it is there again. */
function tellState(request: InboundRequest, bucket: TokenBucket, now: number): void {
  request.setAnswerHeader('x-ratelimit-limit', String(bucket.limit))
  request.setAnswerHeader('x-ratelimit-remaining', String(bucket.remaining(now)))
  request.setAnswerHeader('x-ratelimit-reset', seconds(bucket.msUntil(bucket.limit, now)))
}

/** Rounded up, so that nobody comes too early. */
function seconds(ms: number): string {
  return String(Math.ceil(ms / 1000))
}
