import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { anyOf, bytesOf, type Init } from '../../../test/support/xds-resources.ts'
import type {
  RetryPolicySchema,
  RouteActionSchema,
  RouteMatchSchema,
  RouteSchema,
  VirtualHostSchema,
} from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { RouteConfigurationSchema } from '../../gen/envoy/config/route/v3/route_pb.js'
import { FractionalPercent_DenominatorType as Denominator } from '../../gen/envoy/type/v3/percent_pb.js'
import { RoutePolicySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import { compilePath } from '../../match/path.ts'
import { MetadataKey } from '../proto.ts'
import { FieldError } from './field.ts'
import { routeType } from './route.ts'

type RouteInit = Init<typeof RouteSchema>
type ActionInit = Init<typeof RouteActionSchema>
type MatchInit = Init<typeof RouteMatchSchema>
type RetryInit = Init<typeof RetryPolicySchema>

const everything: MatchInit = { pathSpecifier: { case: 'prefix', value: '/' } }
const toCluster: ActionInit = { clusterSpecifier: { case: 'cluster', value: 'c' } }
const decodeHosts = (...virtualHosts: Init<typeof VirtualHostSchema>[]) =>
  routeType.decode(bytesOf(RouteConfigurationSchema, { name: 'outbound|80||x', virtualHosts }))
const decode = (route: RouteInit, host: Init<typeof VirtualHostSchema> = {}) =>
  decodeHosts({
    name: 'h',
    domains: ['*'],
    routes: [{ match: everything, action: { case: 'route', value: toCluster }, ...route }],
    ...host,
  })
const first = (route: RouteInit = {}, host?: Init<typeof VirtualHostSchema>) => {
  const [found] = decode(route, host).value.virtualHosts[0]?.routes ?? []
  if (found === undefined) throw new Error('no route')
  return found
}
const matching = (match: MatchInit) => first({ match: { ...everything, ...match } }).match
const acting = (action: ActionInit): RouteInit => ({ action: { case: 'route', value: { ...toCluster, ...action } } })
const retrying = (retryPolicy: RetryInit) => first(acting({ retryPolicy })).retry
const refusal = (run: () => unknown) => {
  try {
    run()
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}
const header = (init: NonNullable<MatchInit['headers']>[number]) => matching({ headers: [init] }).headers[0]

describe('a route table', () => {
  it('keeps hosts and routes in order, with domains in lower case', () => {
    const { value } = decodeHosts(
      { name: 'a', domains: ['Payments', '*.Shop', 'pay*'], routes: [] },
      {
        name: 'b',
        domains: ['*'],
        routes: [{ name: 'r1', match: everything, action: { case: 'route', value: toCluster } }],
      },
    )
    expect(value.name).toBe('outbound|80||x')
    expect(value.virtualHosts.map((h) => h.domains)).toEqual([['payments', '*.shop', 'pay*'], ['*']])
    expect(value.virtualHosts[1]?.routes[0]?.name).toBe('r1')
  })

  it.each([
    ['domains: must not be empty', []],
    ['domains[0]: must not be empty', ['']],
    ['domains[1]: "a*b" may have one "*", at its start or end', ['x', 'a*b']],
    ['domains[0]: "*a*" may have one', ['*a*']],
    ['domains[1]: "A" appears twice', ['a', 'A']],
  ])('is refused with "%s"', (message, domains) => {
    expect(refusal(() => decode({}, { domains }))).toContain(`virtual_hosts[0].${message}`)
  })

  it('is refused when two hosts claim a domain', () => {
    expect(refusal(() => decodeHosts({ name: 'a', domains: ['x'] }, { name: 'b', domains: ['x'] }))).toContain(
      'virtual_hosts[1].domains[0]: "x" appears twice',
    )
  })

  it('never makes anything but a FieldError of random bytes', () => {
    const valid = bytesOf(RouteConfigurationSchema, {
      name: 'r',
      virtualHosts: [{ domains: ['*'], routes: [{ match: everything }] }],
    })
    fc.assert(
      fc.property(fc.nat(valid.length - 1), fc.nat(255), fc.uint8Array({ maxLength: 40 }), (at, byte, noise) => {
        const bytes = Uint8Array.from([...valid, ...noise])
        bytes[at] = byte
        try {
          routeType.decode(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(FieldError)
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('a match', () => {
  it('of the path: prefix, exact, regex, with and without case', () => {
    expect(matching({}).path).toEqual({ kind: 'prefix', value: '/', ignoreCase: false })
    expect(matching({ pathSpecifier: { case: 'prefix', value: '' } }).path).toMatchObject({ kind: 'prefix', value: '' })
    expect(matching({ pathSpecifier: { case: 'path', value: '/a' }, caseSensitive: false }).path).toEqual({
      kind: 'exact',
      value: '/a',
      ignoreCase: true,
    })
    expect(matching({ pathSpecifier: { case: 'safeRegex', value: { regex: '/v[0-9]+' } } }).path).toEqual({
      kind: 'regex',
      value: '/v[0-9]+',
    })
  })

  it('of whole segments', () => {
    const { path } = matching({ pathSpecifier: { case: 'pathSeparatedPrefix', value: '/a.b(c' }, caseSensitive: false })
    const test = compilePath(path)
    expect(['/a.b(c', '/A.B(c/', '/a.b(c/d/e'].map(test)).toEqual([true, true, true])
    expect(['/a.b(cd', '/axb(c', '/x/a.b(c', '/a.b('].map(test)).toEqual([false, false, false, false])
  })

  it('of headers', () => {
    expect(header({ name: 'X-Canary', headerMatchSpecifier: { case: 'exactMatch', value: 'true' } })).toEqual({
      name: 'x-canary',
      invert: false,
      missingAsEmpty: false,
      kind: 'string',
      match: { kind: 'exact', value: 'true', ignoreCase: false },
    })
    expect(header({ name: 'a', invertMatch: true, treatMissingHeaderAsEmpty: true })).toMatchObject({
      kind: 'present',
      present: true,
      invert: true,
      missingAsEmpty: true,
    })
    expect(header({ name: 'a', headerMatchSpecifier: { case: 'presentMatch', value: false } })).toMatchObject({
      present: false,
    })
    expect(
      header({ name: 'a', headerMatchSpecifier: { case: 'rangeMatch', value: { start: -1n, end: 10n } } }),
    ).toMatchObject({
      kind: 'range',
      start: -1,
      end: 10,
    })
    const stringMatch = { matchPattern: { case: 'suffix', value: 'X' }, ignoreCase: true } as const
    expect(header({ name: ':path', headerMatchSpecifier: { case: 'stringMatch', value: stringMatch } })).toMatchObject({
      match: { kind: 'suffix', value: 'X', ignoreCase: true },
    })
    expect(
      header({ name: 'a', headerMatchSpecifier: { case: 'safeRegexMatch', value: { regex: 'a|b' } } }),
    ).toMatchObject({
      match: { kind: 'regex', value: 'a|b' },
    })
  })

  it('of query parameters, of a share of the requests, of gRPC', () => {
    const match = matching({
      queryParameters: [
        { name: 'a', queryParameterMatchSpecifier: { case: 'presentMatch', value: false } },
        { name: 'b' },
        {
          name: 'c',
          queryParameterMatchSpecifier: { case: 'stringMatch', value: { matchPattern: { case: 'exact', value: '' } } },
        },
      ],
      runtimeFraction: { defaultValue: { numerator: 25, denominator: Denominator.TEN_THOUSAND } },
      grpc: {},
    })
    expect(match.query).toEqual([
      { name: 'a', kind: 'present', present: false },
      { name: 'b', kind: 'present', present: true },
      { name: 'c', kind: 'string', match: { kind: 'exact', value: '', ignoreCase: false } },
    ])
    expect(match.fractionPerMillion).toBe(2_500)
    expect(match.headers).toMatchObject([{ name: 'content-type', match: { kind: 'regex' } }])
  })

  it.each<[string, MatchInit]>([
    ['match: needs one of prefix, path', { pathSpecifier: { case: undefined } }],
    ['match.connect_matcher: not supported', { pathSpecifier: { case: 'connectMatcher', value: {} } }],
    ['match.tls_context: not supported', { tlsContext: {} }],
    ['match.dynamic_metadata: not supported', { dynamicMetadata: [{}] }],
    ['match.safe_regex.regex: ', { pathSpecifier: { case: 'safeRegex', value: { regex: '(' } } }],
    ['match.safe_regex.regex: ', { pathSpecifier: { case: 'safeRegex', value: { regex: '(?=x)' } } }],
    ['match.safe_regex.regex: must not be empty', { pathSpecifier: { case: 'safeRegex', value: {} } }],
    ['match.path_separated_prefix: "/a/" must', { pathSpecifier: { case: 'pathSeparatedPrefix', value: '/a/' } }],
    ['match.headers[0].name: is missing', { headers: [{}] }],
    ['match.headers[0].name: ":scheme" cannot be matched', { headers: [{ name: ':scheme' }] }],
    [
      'match.headers[0].prefix_match: must not be empty',
      { headers: [{ name: 'a', headerMatchSpecifier: { case: 'prefixMatch', value: '' } }] },
    ],
    [
      'match.headers[0].string_match: is missing a pattern',
      { headers: [{ name: 'a', headerMatchSpecifier: { case: 'stringMatch', value: {} } }] },
    ],
    ['match.query_parameters[0].name: is missing', { queryParameters: [{}] }],
  ])('is refused with "%s"', (message, match) => {
    expect(refusal(() => matching(match))).toContain(`virtual_hosts[0].routes[0].${message}`)
  })
})

describe('an action', () => {
  it('forwards to one cluster, or to several by weight without those of weight 0', () => {
    expect(first().action).toEqual({ kind: 'forward', clusters: [{ name: 'c', weight: 1 }] })
    const clusters = [
      { name: 'a', weight: 90 },
      { name: 'b', weight: 10 },
      { name: 'off', weight: 0 },
      { name: 'none' },
    ]
    expect(first(acting({ clusterSpecifier: { case: 'weightedClusters', value: { clusters } } })).action).toEqual({
      kind: 'forward',
      clusters: [
        { name: 'a', weight: 90 },
        { name: 'b', weight: 10 },
      ],
    })
  })

  it('answers directly', () => {
    const body = { specifier: { case: 'inlineString', value: 'no' } } as const
    expect(first({ action: { case: 'directResponse', value: { status: 502, body } } }).action).toEqual({
      kind: 'direct',
      status: 502,
      body: 'no',
    })
  })

  it('for servers is answered with 503 and harms nothing else', () => {
    const { value, warnings } = decode({ action: { case: 'nonForwardingAction', value: {} } })
    expect(value.virtualHosts[0]?.routes[0]?.action).toEqual({ kind: 'direct', status: 503, body: '' })
    expect(warnings[0]).toContain('non_forwarding_action')
  })

  const weights = (...weights: number[]): RouteInit =>
    acting({
      clusterSpecifier: {
        case: 'weightedClusters',
        value: { clusters: weights.map((weight, i) => ({ name: `c${i}`, weight })) },
      },
    })

  it.each<[string, RouteInit]>([
    ['routes[0]: needs an action', { action: { case: undefined } }],
    ['filter_action: not supported', { action: { case: 'filterAction', value: {} } }],
    ['route.cluster: must not be empty', acting({ clusterSpecifier: { case: 'cluster', value: '' } })],
    ['route.cluster_header: not supported', acting({ clusterSpecifier: { case: 'clusterHeader', value: 'x' } })],
    ['route: needs cluster or weighted_clusters', acting({ clusterSpecifier: { case: undefined } })],
    ['route.weighted_clusters.clusters: the weights sum to 0', weights(0, 0)],
    ['route.weighted_clusters.clusters: the weights sum to 0', weights()],
    ['the weights sum to 4294967296', weights(4294967295, 1)],
    ['direct_response.status: must be between 200 and 599, is 0', { action: { case: 'directResponse', value: {} } }],
    [
      'direct_response.body.filename: not supported',
      {
        action: {
          case: 'directResponse',
          value: { status: 200, body: { specifier: { case: 'filename', value: '/etc/passwd' } } },
        },
      },
    ],
  ])('is refused with "%s"', (message, route) => {
    expect(refusal(() => first(route))).toContain(message)
  })

  it('says which of its fields have no effect', () => {
    const { warnings } = decode({
      ...acting({ rateLimits: [{}], earlyDataPolicy: {} }),
      perRequestBufferLimitBytes: 1,
    })
    expect([...warnings].sort()).toEqual([
      'virtual_hosts[0].routes[0].per_request_buffer_limit_bytes: not supported, has no effect',
      'virtual_hosts[0].routes[0].route.early_data_policy: not supported, has no effect',
      'virtual_hosts[0].routes[0].route.rate_limits: not supported, has no effect',
    ])
  })
})

describe('the timeout', () => {
  const timeout = (action: ActionInit) => first(acting(action)).timeoutMs
  const none = Number.POSITIVE_INFINITY

  it('is the tighter of timeout and max_stream_duration; 0 and absent are none', () => {
    expect(timeout({})).toBe(none)
    expect(timeout({ timeout: {} })).toBe(none)
    expect(timeout({ timeout: { seconds: 5n } })).toBe(5_000)
    expect(timeout({ maxStreamDuration: { maxStreamDuration: {} } })).toBe(none)
    expect(timeout({ maxStreamDuration: { maxStreamDuration: { seconds: 1n, nanos: 500_000_000 } } })).toBe(1_500)
    expect(timeout({ timeout: { seconds: 5n }, maxStreamDuration: { maxStreamDuration: { seconds: 5n } } })).toBe(5_000)
    expect(timeout({ timeout: { seconds: 5n }, maxStreamDuration: { maxStreamDuration: {} } })).toBe(5_000)
    expect(
      timeout({ maxStreamDuration: { maxStreamDuration: { seconds: 9n }, grpcTimeoutHeaderMax: { seconds: 3n } } }),
    ).toBe(3_000)
    expect(timeout({ maxGrpcTimeout: {} })).toBe(none)
  })
})

describe('retries', () => {
  it('have Envoy’s defaults', () => {
    expect(retrying({ retryOn: 'connect-failure' })).toMatchObject({
      retryOn: ['connect-failure'],
      statusCodes: [],
      numRetries: 1,
      perTryTimeoutMs: Number.POSITIVE_INFINITY,
      baseIntervalMs: 25,
      maxIntervalMs: 250,
      retryNonIdempotent: false,
    })
  })

  it('take whole seconds for seconds', () => {
    const retryBackOff = { baseInterval: { seconds: 1n }, maxInterval: { seconds: 2n } }
    expect(retrying({ retryOn: '5xx', retryBackOff })).toMatchObject({ baseIntervalMs: 1_000, maxIntervalMs: 2_000 })
  })

  it('list words with blanks, and numbers as Istio does', () => {
    const spec = retrying({
      retryOn: ' connect-failure , 503,retriable-status-codes,',
      retriableStatusCodes: [504, 503],
    })
    expect(spec).toMatchObject({ retryOn: ['connect-failure', 'retriable-status-codes'], statusCodes: [503, 504] })
  })

  it('ignore retriable_status_codes unless retry_on asks for them', () => {
    expect(retrying({ retryOn: '5xx', retriableStatusCodes: [404] })?.statusCodes).toEqual([])
  })

  it('skip words and predicates that nobody knows, with a warning', () => {
    const retryPolicy: RetryInit = {
      retryOn: 'connect-failure,made-up',
      retryHostPredicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }, { name: 'made.up' }],
      hostSelectionRetryMaxAttempts: 5n,
    }
    const { value, warnings } = decode(acting({ retryPolicy }))
    expect(value.virtualHosts[0]?.routes[0]?.retry?.retryOn).toEqual(['connect-failure'])
    expect(warnings.map((w) => w.replace(/^.*retry_policy\./, ''))).toEqual([
      'retry_host_predicate[1]: "made.up" is not known, skipped',
      'retry_on: "made-up" is not known, skipped',
    ])
  })

  it('are none without a condition or with a number of 0', () => {
    expect(retrying({})).toBeNull()
    expect(retrying({ retryOn: 'made-up' })).toBeNull()
    expect(retrying({ retryOn: '5xx', numRetries: 0 })).toBeNull()
  })

  it('of the virtual host hold for routes without their own', () => {
    const host = { retryPolicy: { retryOn: '5xx', numRetries: 7 } }
    expect(first({}, host).retry?.numRetries).toBe(7)
    expect(first(acting({ retryPolicy: { retryOn: 'reset' } }), host).retry).toMatchObject({
      retryOn: ['reset'],
      numRetries: 1,
    })
  })

  it.each<[string, RetryInit]>([
    ['retry_back_off.base_interval: is missing', { retryBackOff: {} }],
    ['retry_back_off.base_interval: must be greater than 0', { retryBackOff: { baseInterval: {} } }],
    [
      'max_interval: must not be less',
      { retryBackOff: { baseInterval: { seconds: 2n }, maxInterval: { seconds: 1n } } },
    ],
    ['per_try_timeout: must not be negative', { perTryTimeout: { seconds: -1n } }],
    [
      'retriable_status_codes: 7 is not an HTTP status',
      { retryOn: 'retriable-status-codes', retriableStatusCodes: [7] },
    ],
  ])('are refused with "%s"', (message, retryPolicy) => {
    expect(refusal(() => retrying({ retryOn: '5xx', ...retryPolicy }))).toContain(message)
  })
})

describe('inmesh.route metadata', () => {
  it('says how timeout and retries count, and who decided', () => {
    const policy = anyOf(RoutePolicySchema, {
      retryNonIdempotent: true,
      timeoutUntilHeaders: true,
      decidedBy: { timeout: 'ServicePolicy/default/payments' },
      notes: ['one', 'two'],
    })
    const route = first({
      ...acting({ retryPolicy: { retryOn: '5xx' } }),
      metadata: { typedFilterMetadata: { [MetadataKey.route]: policy } },
    })
    expect(route.retry?.retryNonIdempotent).toBe(true)
    expect(route.timeoutUntilHeaders).toBe(true)
    expect(route.decidedBy).toEqual({ timeout: 'ServicePolicy/default/payments', note: 'one; two' })
    expect(first()).toMatchObject({ name: 'default', timeoutUntilHeaders: false, decidedBy: {} })
  })
})
