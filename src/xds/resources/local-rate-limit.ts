import type { RuntimeFractionalPercent } from '../../gen/envoy/config/core/v3/base_pb.js'
import { XRateLimitHeadersRFCVersion } from '../../gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.js'
import {
  type LocalRateLimit,
  LocalRateLimitSchema,
} from '../../gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.js'
import type { RateLimitSpec } from '../../model/inbound.ts'
import { positiveMs } from './duration.ts'
import { type Field, names } from './field.ts'
import { headerEdits } from './header-edits.ts'
import { perMillion } from './percent.ts'

const fields = names(`stat_prefix status token_bucket filter_enabled filter_enforced response_headers_to_add stage
  enable_x_ratelimit_headers rate_limited_as_resource_exhausted`)

/**
 * envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit. null = limits nothing: no bucket, or not enabled and
 * enforced, whose absence means 0 %.
 */
export function localRateLimit(field: Field, name: string, message: LocalRateLimit): RateLimitSpec | null {
  field.onlyReads(LocalRateLimitSchema, message, fields)
  const on =
    isOn(field.at('filter_enabled'), message.filterEnabled) && isOn(field.at('filter_enforced'), message.filterEnforced)
  const { tokenBucket } = message
  if (tokenBucket === undefined) return null
  const at = field.at('token_bucket')
  if (tokenBucket.maxTokens === 0) at.at('max_tokens').fail('must be greater than 0')
  const fillIntervalMs = positiveMs(at.at('fill_interval'), tokenBucket.fillInterval, 0)
  if (fillIntervalMs < 50) at.at('fill_interval').fail('must be at least 50 ms')
  if (tokenBucket.tokensPerFill === 0) at.at('tokens_per_fill').fail('must be greater than 0')
  const added = headerEdits(field, {
    requestHeadersToAdd: [],
    requestHeadersToRemove: [],
    responseHeadersToAdd: message.responseHeadersToAdd,
    responseHeadersToRemove: [],
  }).response
  if (!on) return null
  // Envoy takes what is no error for 429.
  const code: number = message.status?.code ?? 0
  return {
    name,
    match: [],
    key: { kind: 'all' },
    bucket: { maxTokens: tokenBucket.maxTokens, tokensPerFill: tokenBucket.tokensPerFill ?? 1, fillIntervalMs },
    overrides: [],
    status: code >= 400 && code <= 599 ? code : 429,
    grpcStatus: message.rateLimitedAsResourceExhausted ? 8 : 14,
    answerHeaders: added.flatMap((edit) => (edit.kind === 'remove' ? [] : [edit.name, edit.value])),
    headers: message.enableXRatelimitHeaders === XRateLimitHeadersRFCVersion.DRAFT_VERSION_03,
    global: false,
  }
}

/** There is no runtime here, so its default counts; a share of requests is not supported. */
function isOn(field: Field, share: RuntimeFractionalPercent | undefined): boolean {
  if (share?.defaultValue === undefined) return false
  const at = field.at('default_value')
  const millionths = perMillion(at, share.defaultValue)
  if (millionths !== 0 && millionths !== 1_000_000) at.fail('must be 0 or 100 %, shares are not supported')
  return millionths > 0
}
