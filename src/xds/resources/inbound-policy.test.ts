import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { LocalRateLimitSchema } from '../../gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.js'
import { InboundPolicySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import { inboundDefaults, shedDefaults } from '../../model/inbound.ts'
import { Field } from './field.ts'
import { inboundExtras } from './inbound-policy.ts'
import { localRateLimit } from './local-rate-limit.ts'

type Policy = MessageInitShape<typeof InboundPolicySchema>
const decode = (init: Policy) => inboundExtras(new Field('p'), create(InboundPolicySchema, init))
const refusal = (work: () => unknown) => {
  try {
    work()
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}
const bucket = { maxTokens: 10, tokensPerFill: 5, fillInterval: { seconds: 1n } }
const limit = (over: object = {}): Policy => ({ rateLimits: [{ name: 'a', bucket, ...over }] })

describe('inmesh.v1.InboundPolicy', () => {
  it('absent or empty says nothing', () => {
    expect(inboundExtras(new Field(), undefined)).toBe(inboundDefaults)
    expect(decode({})).toEqual({ ...inboundDefaults })
  })

  it('holds limits, where 0 is none, and the form of paths', () => {
    expect(decode({ maxRequests: 7, maxConnections: 9, pathNormalization: 'MERGE_SLASHES' })).toMatchObject({
      maxRequests: 7,
      maxConnections: 9,
      pathNormalization: 'MERGE_SLASHES',
    })
    expect(refusal(() => decode({ pathNormalization: 'X' }))).toBe('p.path_normalization: "X" is not a known value')
  })

  it('holds rate limits', () => {
    const match = [
      {
        pathSegments: '/a',
        methods: ['GET'],
        headers: { 'X-A': { how: { case: 'present', value: true } as const } },
        principals: [{ how: { case: 'suffix', value: '/sa/web' } as const }],
      },
    ]
    const overrides = { vip: { ...bucket, maxTokens: 99 } }
    const key = { case: 'header', value: 'X-User' } as const
    expect(decode(limit({ match, overrides, key, headers: true, global: true })).rateLimits).toEqual([
      {
        name: 'a',
        match: [
          {
            path: { kind: 'segments', value: '/a', ignoreCase: false },
            methods: ['GET'],
            headers: [{ name: 'x-a', invert: false, missingAsEmpty: false, kind: 'present', present: true }],
            principals: [{ kind: 'suffix', value: '/sa/web', ignoreCase: false }],
          },
        ],
        key: { kind: 'header', name: 'x-user' },
        bucket: { maxTokens: 10, tokensPerFill: 5, fillIntervalMs: 1_000 },
        overrides: [{ value: 'vip', bucket: { maxTokens: 99, tokensPerFill: 5, fillIntervalMs: 1_000 } }],
        status: 429,
        grpcStatus: 8,
        answerHeaders: [],
        headers: true,
        global: true,
      },
    ])
  })

  it.each([
    [limit({ name: '' }), 'p.rate_limits[0].name: is missing'],
    [limit({ bucket: undefined }), 'p.rate_limits[0].bucket: is missing'],
    [limit({ bucket: { ...bucket, maxTokens: 0 } }), 'p.rate_limits[0].bucket.max_tokens: must be greater than 0'],
    [limit({ bucket: { maxTokens: 1 } }), 'p.rate_limits[0].bucket.fill_interval: is missing'],
    [limit({ status: 200 }), 'p.rate_limits[0].status: must be 400 to 599, is 200'],
    [
      limit({ match: [{ pathExact: '/', pathPrefix: '/' }] }),
      'p.rate_limits[0].match[0]: has path_exact and path_prefix',
    ],
    [limit({ match: [{ pathRegex: '(' }] }), 'p.rate_limits[0].match[0].path_regex: '],
    [{ rateLimits: [limit().rateLimits![0]!, limit().rateLimits![0]!] }, 'p.rate_limits: "a" appears twice'],
    [{ loadShedding: { minLimit: 9, maxLimit: 3 } }, 'p.load_shedding.min_limit: 9 is more than max_limit 3'],
    [
      { faults: [{ delayPercent: 101, delay: { seconds: 1n } }] },
      'p.faults[0].delay_percent: must be between 0 and 100',
    ],
    [{ faults: [{ abortPercent: 1, abortStatus: 42 }] }, 'p.faults[0].abort_status: must be 200 to 599, is 42'],
  ] satisfies [Policy, string][])('refuses case %#', (init, message) => {
    expect(refusal(() => decode(init))).toContain(message)
  })

  it('holds what it wants of load shedding, the rest is the default', () => {
    expect(decode({ loadShedding: {} }).shed).toEqual(shedDefaults)
    expect(decode({ loadShedding: { disabled: true } }).shed?.enabled).toBe(false)
    expect(decode({ loadShedding: { initialLimit: 50, lag: { nanos: 100_000_000 } } }).shed).toEqual({
      ...shedDefaults,
      initialLimit: 50,
      lagMs: 100,
    })
    expect(decode({ loadShedding: { maxLimit: 40 } }).shed).toMatchObject({ initialLimit: 40, maxLimit: 40 })
  })

  it('holds faults', () => {
    const faults = [{ delay: { nanos: 250_000_000 }, delayPercent: 50, abortStatus: 503, abortPercent: 0.5 }]
    expect(decode({ faults }).faults).toEqual([
      {
        match: [],
        fault: {
          delay: { ms: 250, perMillion: 500_000 },
          abort: { perMillion: 5_000, how: { kind: 'http', status: 503 } },
          headers: [],
          maxActive: Number.POSITIVE_INFINITY,
        },
      },
    ])
    const grpc = decode({ faults: [{ abortGrpcStatus: 14, abortPercent: 100 }] }).faults[0]?.fault
    expect(grpc).toMatchObject({ delay: null, abort: { perMillion: 1_000_000, how: { kind: 'grpc', code: 14 } } })
  })
})

describe('Envoy’s local rate limit', () => {
  type Filter = MessageInitShape<typeof LocalRateLimitSchema>
  const all = { defaultValue: { numerator: 100 } }
  const filter = (init: Filter) => localRateLimit(new Field('f'), 'lrl', create(LocalRateLimitSchema, init))
  const on: Filter = { filterEnabled: all, filterEnforced: all, tokenBucket: { ...bucket, tokensPerFill: 5 } }

  it('is one bucket for all; gRPC sees UNAVAILABLE unless it says RESOURCE_EXHAUSTED', () => {
    expect(filter(on)).toMatchObject({
      name: 'lrl',
      key: { kind: 'all' },
      bucket: { maxTokens: 10, tokensPerFill: 5, fillIntervalMs: 1_000 },
      status: 429,
      grpcStatus: 14,
      headers: false,
    })
    expect(filter({ ...on, rateLimitedAsResourceExhausted: true })?.grpcStatus).toBe(8)
    expect(filter({ ...on, status: { code: 503 }, enableXRatelimitHeaders: 1 })).toMatchObject({
      status: 503,
      headers: true,
    })
    const responseHeadersToAdd = [{ header: { key: 'X-Why', value: 'limit' } }]
    expect(filter({ ...on, responseHeadersToAdd })?.answerHeaders).toEqual(['x-why', 'limit'])
  })

  it('limits nothing unless it is enabled and enforced, which must be said', () => {
    expect(filter({ ...on, filterEnforced: undefined })).toBe(null)
    expect(filter({ ...on, filterEnabled: { defaultValue: { numerator: 0 } } })).toBe(null)
    expect(filter({ ...on, tokenBucket: undefined })).toBe(null)
    expect(refusal(() => filter({ ...on, filterEnabled: { defaultValue: { numerator: 50 } } }))).toBe(
      'f.filter_enabled.default_value: must be 0 or 100 %, shares are not supported',
    )
  })

  it('warns of what it does not know', () => {
    const field = new Field('f')
    localRateLimit(field, 'x', create(LocalRateLimitSchema, { ...on, localRateLimitPerDownstreamConnection: true }))
    expect(field.warnings).toEqual(['f.local_rate_limit_per_downstream_connection: not supported, has no effect'])
  })
})
