import type { MessageInitShape } from '@bufbuild/protobuf'
import type {
  InboundMatchSchema,
  RateLimitSchema,
  TextMatchSchema,
  TokenBucketSchema,
} from '../../src/gen/inmesh/v1/extensions_pb.js'
import type { StringMatch } from '../../src/model/match.ts'
import { headerOf, type RateLimitRule, type RateLimitSpec } from '../resources/rate-limit.ts'
import { principalMatch, withTrustDomains } from './authorization.ts'
import { duration, sorted } from './encode.ts'
import { serviceHost } from './hosts.ts'
import type { MeshIndex } from './mesh-index.ts'
import { selects } from './peer-authentication.ts'
import type { Rule } from './rule.ts'
import type { ClientView } from './types.ts'

type Text = MessageInitShape<typeof TextMatchSchema>
type Bucket = MessageInitShape<typeof TokenBucketSchema>

/** The rules for one server: those of the root namespace, then those of its own, each oldest first. */
export function rateLimits(index: MeshIndex, client: ClientView): MessageInitShape<typeof RateLimitSchema>[] {
  const { rootNamespace, trustDomains } = index.settings
  return selected(index, client).flatMap((rule) =>
    rule.spec.rules.map((each, i) => {
      const { namespace, name } = rule.object
      const scope = namespace === rootNamespace ? `${namespace}/` : ''
      const share = each.global ? sharers(index, rule.spec, client) : 1
      const header = headerOf(each.key)
      return {
        name: `${scope}${name}.${each.name ?? i}`,
        match: each.match.map((match) => inboundMatch(match, trustDomains)),
        key:
          each.key === 'identity'
            ? { case: 'identity' as const, value: true }
            : header === ''
              ? { case: undefined }
              : { case: 'header' as const, value: header },
        bucket: bucket(each, share),
        overrides: sorted(overrides(each, share, trustDomains)),
        status: each.status,
        headers: each.headers,
        global: each.global,
      }
    }),
  )
}

/** What of the endpoints decides about the rules of a server; '' = nothing does. */
export function rateLimitsKey(index: MeshIndex, client: ClientView): string {
  return selected(index, client)
    .filter(({ spec }) => spec.rules.some((rule) => rule.global))
    .map(({ spec }) => sharers(index, spec, client))
    .join(' ')
}

function selected(index: MeshIndex, client: ClientView): Rule<RateLimitSpec>[] {
  const { rootNamespace } = index.settings
  const homes = [...new Set([rootNamespace, client.namespace])]
  return homes.flatMap((home) =>
    index.rateLimits.filter(
      ({ object, spec }) => object.namespace === home && selects(spec.selector?.matchLabels ?? {}, client.labels),
    ),
  )
}

/**
 * Among how many instances a service's bucket is divided: its healthy ones that the rule selects. From 8 on in steps of
 * an eighth, upwards, so that one more instance of many changes nothing and the sum never grows beyond the bucket.
 */
function sharers(index: MeshIndex, spec: RateLimitSpec, client: ClientView): number {
  const host = serviceHost(client.service, client.namespace, index.settings.domain)
  const matchLabels = spec.selector?.matchLabels ?? {}
  const instances = new Set(
    (index.services.get(host)?.endpoints ?? [])
      .filter(({ health, labels }) => health === 'HEALTHY' && selects(matchLabels, labels))
      .map(({ instanceId }) => instanceId),
  )
  return inSteps(Math.max(1, instances.size))
}

/** 1..8 as they are, then 9, 10, ... 16, 18, 20, ... 32, 36...: at most an eighth more than `count`. */
export function inSteps(count: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(count)) - 3)
  return Math.ceil(count / step) * step
}

/** Fills in small portions rather than all at once, so that callers are let in evenly; ms between portions at least. */
const finestFillMs = 50

function bucket(
  { requests, per, burst = requests }: Pick<RateLimitRule, 'requests' | 'per' | 'burst'>,
  share: number,
): Bucket {
  const capacity = Math.max(1, Math.floor(burst / share))
  const msPerToken = (per * share) / requests
  const portion = Math.min(capacity, Math.max(1, Math.ceil(finestFillMs / msPerToken)))
  return { maxTokens: capacity, tokensPerFill: portion, fillInterval: duration(portion * msPerToken) }
}

function overrides(each: RateLimitRule, share: number, trustDomains: readonly string[]): Record<string, Bucket> {
  return Object.fromEntries(
    Object.entries(each.overrides).flatMap(([value, { requests, per = each.per, burst }]) => {
      const own = bucket({ requests, per, burst }, share)
      if (each.key !== 'identity') return [[value, own]]
      const bare = value.replace(/^spiffe:\/\//, '')
      return withTrustDomains('principal', bare, trustDomains).map((id) => [`spiffe://${id}`, own])
    }),
  )
}

function inboundMatch(
  { path, methods, headers, principals }: RateLimitRule['match'][number],
  trustDomains: readonly string[],
): MessageInitShape<typeof InboundMatchSchema> {
  const callers = principals.flatMap((value) =>
    withTrustDomains('principal', value.replace(/^spiffe:\/\//, ''), trustDomains),
  )
  return {
    pathExact: path?.exact,
    pathPrefix: path?.prefix,
    pathSegments: path?.segments,
    pathRegex: path?.regex,
    methods: [...methods],
    headers: sorted(Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, textOf(value)]))),
    principals: callers.map((value) => textOf(principalMatch(value) ?? anyIdentity)),
  }
}

const anyIdentity: StringMatch = { kind: 'prefix', value: 'spiffe://', ignoreCase: false }

function textOf(match: StringMatch | 'present'): Text {
  if (match === 'present') return { how: { case: 'present', value: true } }
  if (match.kind === 'contains') throw new TypeError('a rate limit cannot ask whether a text contains another')
  return { how: { case: match.kind, value: match.value } }
}
