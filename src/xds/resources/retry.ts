import {
  type RetryPolicy,
  RetryPolicy_ResetHeaderFormat,
  RetryPolicySchema,
} from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { PreviousPrioritiesConfigSchema } from '../../gen/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js'
import { type RetryOn, type RetrySpec, retryDefaults, retryOnWords } from '../../model/route.ts'
import { holds, unpack } from './any.ts'
import { durationMs, limitMs, positiveMs } from './duration.ts'
import { type Field, names } from './field.ts'
import { headerMatch } from './matchers.ts'

// host_selection_retry_max_attempts: hosts that were tried are passed over, not drawn again, so that there is nothing to limit.
const fields = names(`retry_on num_retries per_try_timeout retry_host_predicate host_selection_retry_max_attempts
  retriable_status_codes retry_back_off rate_limited_retry_back_off retriable_headers retriable_request_headers
  retry_priority`)
const known: ReadonlySet<string> = new Set(retryOnWords)
const PREVIOUS_HOSTS = 'envoy.retry_host_predicates.previous_hosts'

/** What the route around a policy says. */
export interface RetryContext {
  readonly nonIdempotent?: boolean
  /** 0 = the default. */
  readonly maxReplayBytes?: number
  /** It has hash policies, or asks for the host of before. */
  readonly hashed?: boolean
}

/**
 * envoy.config.route.v3.RetryPolicy with Envoy's defaults: 1 retry, back-off base 25 ms, at most 10 times the base.
 * Words and predicates that nobody here knows are skipped with a warning, as istiod's clients must. null = no retries.
 */
export function retrySpec(
  field: Field,
  policy: RetryPolicy,
  { nonIdempotent = false, maxReplayBytes = 0, hashed = false }: RetryContext = {},
): RetrySpec | null {
  field.onlyReads(RetryPolicySchema, policy, fields)
  field.at('retry_host_predicate').map(policy.retryHostPredicate, (predicate, at) => {
    if (predicate.name !== PREVIOUS_HOSTS) at.warn(`"${predicate.name}" is not known, skipped`)
  })

  const { words, statuses } = retryOn(field.at('retry_on'), policy.retryOn)
  if (words.includes('retriable-status-codes')) statuses.push(...policy.retriableStatusCodes)
  for (const status of statuses)
    if (status < 100 || status > 599) field.at('retriable_status_codes').fail(`${status} is not an HTTP status`)

  const perTryTimeoutMs = limitMs(field.at('per_try_timeout'), policy.perTryTimeout)
  const backOff = field.at('retry_back_off')
  if (policy.retryBackOff !== undefined && policy.retryBackOff.baseInterval === undefined)
    backOff.at('base_interval').fail('is missing')
  const baseIntervalMs = Math.max(1, positiveMs(backOff.at('base_interval'), policy.retryBackOff?.baseInterval, 25))
  const maxIntervalMs = durationMs(backOff.at('max_interval'), policy.retryBackOff?.maxInterval, 10 * baseIntervalMs)
  if (maxIntervalMs < baseIntervalMs) backOff.at('max_interval').fail('must not be less than base_interval')

  const numRetries = policy.numRetries ?? 1
  if (numRetries === 0 || (words.length === 0 && statuses.length === 0)) return null
  return {
    retryOn: words,
    statusCodes: [...new Set(statuses)],
    numRetries,
    perTryTimeoutMs,
    baseIntervalMs,
    maxIntervalMs,
    retriableHeaders: field.at('retriable_headers').map(policy.retriableHeaders, (h, at) => headerMatch(at, h)),
    retriableRequestHeaders: field
      .at('retriable_request_headers')
      .map(policy.retriableRequestHeaders, (h, at) => headerMatch(at, h)),
    ...resetHeaders(field.at('rate_limited_retry_back_off'), policy),
    // A repeat at the host that just failed is what nobody wants; only who hashes may want the same one again.
    avoidPreviousHosts: !hashed || policy.retryHostPredicate.some((predicate) => predicate.name === PREVIOUS_HOSTS),
    previousPrioritiesFrequency: previousPriorities(field.at('retry_priority'), policy.retryPriority),
    maxBodyBytes: maxReplayBytes === 0 ? retryDefaults.maxBodyBytes : maxReplayBytes,
    retryNonIdempotent: nonIdempotent,
  }
}

/** "connect-failure, 503": words of Envoy and, from Istio, numbers. */
function retryOn(field: Field, text: string): { words: RetryOn[]; statuses: number[] } {
  const words = new Set<RetryOn>()
  const statuses: number[] = []
  for (const part of text.split(',')) {
    const word = part.trim()
    if (word === '') continue
    if (/^\d+$/.test(word)) statuses.push(Number(word))
    else if (isKnown(word)) words.add(word)
    else field.warn(`"${word}" is not known, skipped`)
  }
  return { words: [...words], statuses }
}

function isKnown(word: string): word is RetryOn {
  return known.has(word)
}

/** envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff. */
function resetHeaders(field: Field, policy: RetryPolicy): Pick<RetrySpec, 'resetHeaders' | 'maxResetIntervalMs'> {
  const limited = policy.rateLimitedRetryBackOff
  if (limited === undefined) return { resetHeaders: [], maxResetIntervalMs: retryDefaults.maxResetIntervalMs }
  if (limited.resetHeaders.length === 0) field.at('reset_headers').fail('must not be empty')
  return {
    resetHeaders: field.at('reset_headers').map(limited.resetHeaders, ({ name, format }, at) => {
      if (name === '') at.at('name').fail('is missing')
      const unix = format === RetryPolicy_ResetHeaderFormat.UNIX_TIMESTAMP
      return { name: name.toLowerCase(), format: unix ? 'UNIX_TIMESTAMP' : 'SECONDS' }
    }),
    maxResetIntervalMs: positiveMs(field.at('max_interval'), limited.maxInterval, retryDefaults.maxResetIntervalMs),
  }
}

const PREVIOUS_PRIORITIES = 'envoy.retry_priorities.previous_priorities'

function previousPriorities(field: Field, given: RetryPolicy['retryPriority']): number | null {
  if (given === undefined) return null
  const config = given.configType.value
  if (given.name !== PREVIOUS_PRIORITIES && !holds(config, PreviousPrioritiesConfigSchema)) {
    field.warn(`"${given.name}" is not known, skipped`)
    return null
  }
  const at = field.at('typed_config')
  const { updateFrequency } = unpack(at, config, PreviousPrioritiesConfigSchema)
  if (updateFrequency < 1) at.at('update_frequency').fail(`must be at least 1, is ${updateFrequency}`)
  return updateFrequency
}
