import { type RetryPolicy, RetryPolicySchema } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { type RetryOn, type RetrySpec, retryDefaults, retryOnWords } from '../../model/route.ts'
import { durationMs, limitMs, positiveMs } from './duration.ts'
import { type Field, names } from './field.ts'

const fields = names(`retry_on num_retries per_try_timeout retry_host_predicate host_selection_retry_max_attempts
  retriable_status_codes retry_back_off`)
const known: ReadonlySet<string> = new Set(retryOnWords)
/** A retry prefers a host that was not tried anyhow. */
const PREVIOUS_HOSTS = 'envoy.retry_host_predicates.previous_hosts'

/**
 * envoy.config.route.v3.RetryPolicy with Envoy's defaults: 1 retry, back-off base 25 ms, at most 10 times the base.
 * Words and predicates that nobody here knows are skipped with a warning, as istiod's clients must. null = no retries.
 */
export function retrySpec(field: Field, policy: RetryPolicy, nonIdempotent: boolean): RetrySpec | null {
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
    ...retryDefaults,
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
