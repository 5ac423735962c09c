import { describe, expect, it } from 'vitest'
import { anyOf, bytesOf, type Init } from '../../../test/support/xds-resources.ts'
import { HeaderValueOption_HeaderAppendAction as Append } from '../../gen/envoy/config/core/v3/base_pb.js'
import {
  RouteAction_ClusterNotFoundResponseCode as ClusterNotFound,
  FilterConfigSchema,
  type RedirectActionSchema,
  RedirectAction_RedirectResponseCode as RedirectCode,
  RetryPolicy_ResetHeaderFormat as ResetFormat,
  type RouteActionSchema,
  type RouteSchema,
  type VirtualHostSchema,
} from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { RouteConfigurationSchema } from '../../gen/envoy/config/route/v3/route_pb.js'
import { CorsPolicySchema } from '../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import { HTTPFaultSchema } from '../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { RBACSchema } from '../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { PreviousPrioritiesConfigSchema } from '../../gen/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js'
import { FractionalPercent_DenominatorType as Denominator } from '../../gen/envoy/type/v3/percent_pb.js'
import { RoutePolicySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import type { RouteSpec } from '../../model/route.ts'
import { MetadataKey } from '../proto.ts'
import { routeType } from './route.ts'

type RouteInit = Init<typeof RouteSchema>
type ActionInit = Init<typeof RouteActionSchema>
type TableInit = Init<typeof RouteConfigurationSchema>

const toCluster: ActionInit = { clusterSpecifier: { case: 'cluster', value: 'c' } }
const match: NonNullable<RouteInit['match']> = { pathSpecifier: { case: 'prefix', value: '/old' } }

function decode(route: RouteInit = {}, host: Init<typeof VirtualHostSchema> = {}, table: TableInit = {}) {
  const routes = [{ match, action: { case: 'route' as const, value: toCluster }, ...route }]
  return routeType.decode(
    bytesOf(RouteConfigurationSchema, {
      name: 't',
      virtualHosts: [{ name: 'h', domains: ['*'], routes, ...host }],
      ...table,
    }),
  )
}
function first(...args: Parameters<typeof decode>): RouteSpec {
  return decode(...args).value.virtualHosts[0]!.routes[0]!
}
const acting = (action: ActionInit): RouteInit => ({ action: { case: 'route', value: { ...toCluster, ...action } } })
const redirecting = (value: Init<typeof RedirectActionSchema>): RouteInit => ({ action: { case: 'redirect', value } })
const policy = (init: Init<typeof RoutePolicySchema>): RouteInit => ({
  metadata: { typedFilterMetadata: { [MetadataKey.route]: anyOf(RoutePolicySchema, init) } },
})
const header = (key: string, value: string, appendAction = Append.OVERWRITE_IF_EXISTS_OR_ADD) => ({
  header: { key, value },
  appendAction,
})
const refusal = (...args: Parameters<typeof decode>) => {
  try {
    decode(...args)
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

describe('header edits', () => {
  it('act level by level: destination, route, virtual host, table; within a level removed, set, appended', () => {
    const level = (name: string) => ({
      requestHeadersToAdd: [header(name, 'added', Append.APPEND_IF_EXISTS_OR_ADD), header(name, 'set')],
      requestHeadersToRemove: [name.toUpperCase()],
    })
    const weighted: ActionInit = {
      clusterSpecifier: {
        case: 'weightedClusters',
        value: {
          clusters: [
            { name: 'a', weight: 1, ...level('x-c') },
            { name: 'b', weight: 1 },
          ],
        },
      },
    }
    const route = first({ ...acting(weighted), ...level('x-r') }, level('x-v'), level('x-t'))
    const of = (name: string) => [
      { kind: 'remove', name },
      { kind: 'set', name, value: 'set', keepEmpty: false },
      { kind: 'append', name, value: 'added', keepEmpty: false },
    ]
    expect(route.headers).toEqual({ request: ['x-r', 'x-v', 'x-t'].flatMap(of), response: [] })
    if (route.action.kind !== 'forward') throw new Error(route.action.kind)
    expect(route.action.clusters.map((c) => c.headers)).toEqual([{ request: of('x-c'), response: [] }, undefined])
  })

  it('the other way round where the most specific wins', () => {
    const level = (value: string) => ({ responseHeadersToAdd: [header('x', value)] })
    const weighted: ActionInit = {
      clusterSpecifier: {
        case: 'weightedClusters',
        value: { clusters: [{ name: 'a', weight: 1, ...level('cluster') }] },
      },
    }
    const route = first({ ...acting(weighted), ...level('route') }, level('host'), {
      ...level('table'),
      mostSpecificHeaderMutationsWins: true,
    })
    expect(route.headers).toBeNull()
    if (route.action.kind !== 'forward') throw new Error(route.action.kind)
    const values = route.action.clusters[0]!.headers!.response.map((edit) => (edit.kind === 'remove' ? '' : edit.value))
    expect(values).toEqual(['table', 'host', 'route', 'cluster'])
  })

  it('know each way to add, the older word for it too', () => {
    const kinds = [
      Append.APPEND_IF_EXISTS_OR_ADD,
      Append.ADD_IF_ABSENT,
      Append.OVERWRITE_IF_EXISTS_OR_ADD,
      Append.OVERWRITE_IF_EXISTS,
    ]
    const edits = kinds.map(
      (action) => first({ requestHeadersToAdd: [header('X-A', 'v', action)] }).headers!.request[0]!.kind,
    )
    expect(edits).toEqual(['append', 'add-if-absent', 'set', 'overwrite-if-exists'])
    const old = (append: boolean) =>
      first({ responseHeadersToAdd: [{ header: { key: 'a', value: 'b' }, append }] }).headers!.response[0]!.kind
    expect([old(true), old(false)]).toEqual(['append', 'set'])
  })

  it.each<[string, RouteInit]>([
    ['request_headers_to_add[0].header: is missing', { requestHeadersToAdd: [{}] }],
    ['request_headers_to_add[0].header.key: host cannot be edited', { requestHeadersToAdd: [header('Host', 'x')] }],
    ['request_headers_to_remove[0]: :path cannot be edited', { requestHeadersToRemove: [':path'] }],
    ['response_headers_to_remove[0]: "a b" is not a header name', { responseHeadersToRemove: ['a b'] }],
    [
      'request_headers_to_add[0].header.value: "%NOPE%" is not a format',
      { requestHeadersToAdd: [header('x', '%NOPE%')] },
    ],
  ])('are refused with "%s"', (message, route) => {
    expect(refusal(route)).toContain(`routes[0].${message}`)
  })
})

describe('rewrites', () => {
  it('of path and authority', () => {
    expect(first().rewrite).toBeNull()
    expect(first(acting({ prefixRewrite: '/new' })).rewrite).toEqual({
      path: { kind: 'prefix', value: '/new' },
      authority: null,
    })
    const regexRewrite = { pattern: { regex: '/(a+)' }, substitution: '/\\1/x' }
    expect(
      first(acting({ regexRewrite, hostRewriteSpecifier: { case: 'hostRewriteLiteral', value: 'other' } })).rewrite,
    ).toEqual({
      path: { kind: 'regex', pattern: '/(a+)', substitution: '/\\1/x' },
      authority: 'other',
    })
  })

  it.each<[string, ActionInit]>([
    [
      'regex_rewrite: cannot be set together with prefix_rewrite',
      { prefixRewrite: '/a', regexRewrite: { pattern: { regex: 'a' } } },
    ],
    ['regex_rewrite.pattern.regex:', { regexRewrite: { pattern: { regex: '(' }, substitution: '' } }],
    ['regex_rewrite.substitution:', { regexRewrite: { pattern: { regex: 'a' }, substitution: '\\7' } }],
    ['host_rewrite_header: not supported', { hostRewriteSpecifier: { case: 'hostRewriteHeader', value: 'x' } }],
  ])('are refused with "%s"', (message, action) => {
    expect(refusal(acting(action))).toContain(`route.${message}`)
  })
})

describe('a redirect', () => {
  const of = (value: Init<typeof RedirectActionSchema>) => {
    const { action } = first(redirecting(value))
    return action.kind === 'redirect' ? action.redirect : action
  }
  it('says what changes, and how', () => {
    expect(of({})).toEqual({ status: 301, scheme: null, host: null, port: null, path: null, stripQuery: false })
    expect(
      of({
        schemeRewriteSpecifier: { case: 'httpsRedirect', value: true },
        hostRedirect: 'other',
        portRedirect: 8443,
        pathRewriteSpecifier: { case: 'pathRedirect', value: '/x?y' },
        responseCode: RedirectCode.PERMANENT_REDIRECT,
        stripQuery: true,
      }),
    ).toEqual({
      status: 308,
      scheme: 'https',
      host: 'other',
      port: 8443,
      path: { kind: 'full', value: '/x?y' },
      stripQuery: true,
    })
    expect(
      of({ pathRewriteSpecifier: { case: 'prefixRewrite', value: '/n' }, responseCode: RedirectCode.FOUND }),
    ).toMatchObject({
      status: 302,
      path: { kind: 'prefix', value: '/n' },
    })
  })
  it('to a scheme that is none of HTTP is refused', () => {
    expect(refusal(redirecting({ schemeRewriteSpecifier: { case: 'schemeRedirect', value: 'ftp' } }))).toContain(
      'redirect.scheme_redirect: must be http or https',
    )
  })
})

describe('faults', () => {
  const half = { numerator: 50, denominator: Denominator.HUNDRED }
  const fault = {
    delay: { faultDelaySecifier: { case: 'fixedDelay' as const, value: { seconds: 2n } }, percentage: half },
    abort: { errorType: { case: 'httpStatus' as const, value: 418 } },
  }
  const config = (init: Init<typeof HTTPFaultSchema>) => ({
    typedPerFilterConfig: { any: anyOf(HTTPFaultSchema, init) },
  })

  it('come from the route, its virtual host or the table, the nearest one whole', () => {
    expect(first().fault).toBeNull()
    expect(first({}, config(fault)).fault).toEqual({
      delay: { ms: 2_000, perMillion: 500_000 },
      abort: { how: { kind: 'http', status: 418 }, perMillion: 0 },
      headers: [],
      maxActive: Number.POSITIVE_INFINITY,
    })
    expect(first(config({ maxActiveFaults: 3 }), config(fault)).fault).toEqual({
      delay: null,
      abort: null,
      headers: [],
      maxActive: 3,
    })
    const wrapped = {
      typedPerFilterConfig: { f: anyOf(FilterConfigSchema, { config: anyOf(HTTPFaultSchema, fault) }) },
    }
    expect(first({}, {}, wrapped).fault?.delay?.ms).toBe(2_000)
  })

  it('say status, gRPC code or that a header says it', () => {
    const abort = (errorType: NonNullable<Init<typeof HTTPFaultSchema>['abort']>['errorType']) =>
      first(config({ abort: { errorType: errorType!, percentage: half } })).fault?.abort
    expect(abort({ case: 'grpcStatus', value: 14 })).toEqual({ how: { kind: 'grpc', code: 14 }, perMillion: 500_000 })
    expect(abort({ case: 'headerAbort', value: {} })).toEqual({ how: { kind: 'header' }, perMillion: 500_000 })
    expect(first(config({ delay: { faultDelaySecifier: { case: 'headerDelay', value: {} } } })).fault?.delay).toEqual({
      ms: null,
      perMillion: 0,
    })
  })

  it.each<[string, RouteInit]>([
    [
      'abort.http_status: must be between 200 and 599, is 99',
      config({ abort: { errorType: { case: 'httpStatus', value: 99 } } }),
    ],
    [
      'abort.grpc_status: must be between 0 and 16, is 17',
      config({ abort: { errorType: { case: 'grpcStatus', value: 17 } } }),
    ],
    ['abort: needs', config({ abort: {} })],
    ['response_rate_limit: not supported', config({ responseRateLimit: {} })],
    [
      'typed_per_filter_config[x]: envoy.extensions.filters.http.rbac.v3.RBAC is not supported',
      { typedPerFilterConfig: { x: anyOf(RBACSchema, {}) } },
    ],
  ])('are refused with "%s"', (message, route) => {
    expect(refusal(route)).toContain(message)
  })

  it('of an unknown kind are skipped where they are optional', () => {
    const optional = {
      typedPerFilterConfig: { x: anyOf(FilterConfigSchema, { config: anyOf(RBACSchema, {}), isOptional: true }) },
    }
    expect(decode(optional).warnings.join()).toContain('is optional and not known, skipped')
  })
})

describe('CORS', () => {
  const cors = {
    allowOriginStringMatch: [{ matchPattern: { case: 'exact' as const, value: 'https://a' } }],
    allowMethods: 'GET',
    maxAge: '60',
    allowCredentials: true,
    forwardNotMatchingPreflights: false,
  }
  const expected = {
    allowOrigins: [{ kind: 'exact', value: 'https://a', ignoreCase: false }],
    allowMethods: 'GET',
    allowHeaders: '',
    exposeHeaders: '',
    maxAge: '60',
    allowCredentials: true,
    forwardUnmatchedPreflights: false,
  }
  it('stands where filters have their rules, or in its older place', () => {
    expect(first({ typedPerFilterConfig: { cors: anyOf(CorsPolicySchema, cors) } }).cors).toEqual(expected)
    expect(first(acting({ cors })).cors).toEqual(expected)
    expect(first({}, { cors }).cors).toEqual(expected)
    expect(first(acting({ cors: {} })).cors?.forwardUnmatchedPreflights).toBe(true)
  })
  it('can be switched off, for all', () => {
    const share = (numerator: number) => ({
      case: 'filterEnabled' as const,
      value: { defaultValue: { numerator, denominator: Denominator.HUNDRED } },
    })
    expect(first(acting({ cors: { enabledSpecifier: share(0) } })).cors).toBeNull()
    expect(refusal(acting({ cors: { enabledSpecifier: share(5) } }))).toContain(
      'filter_enabled: a share of the requests',
    )
    expect(refusal(acting({ cors: { maxAge: '1m' } }))).toContain('max_age: must be whole seconds')
  })
})

describe('mirrors, hashes and the rest of an action', () => {
  it('mirrors of the route replace those around it; those of 0 % are none', () => {
    const mirror = (cluster: string, numerator?: number) => ({
      cluster,
      ...(numerator === undefined
        ? {}
        : { runtimeFraction: { defaultValue: { numerator, denominator: Denominator.HUNDRED } } }),
    })
    const names = (spec: RouteSpec) => spec.mirrors.map((m) => `${m.cluster}:${m.perMillion}`)
    expect(
      names(
        first(acting({ requestMirrorPolicies: [mirror('m', 25), mirror('n'), mirror('o', 0)] }), {
          requestMirrorPolicies: [mirror('v')],
        }),
      ),
    ).toEqual(['m:250000', 'n:1000000'])
    expect(
      names(first({}, { requestMirrorPolicies: [mirror('v')] }, { requestMirrorPolicies: [mirror('t')] })),
    ).toEqual(['v:1000000'])
    const [only] = first({
      ...acting({ requestMirrorPolicies: [mirror('m')] }),
      ...policy({ mirrors: { m: { compare: true, maxBodyBytes: 9 } } }),
    }).mirrors
    expect(only).toEqual({ cluster: 'm', perMillion: 1_000_000, shadowSuffix: true, compare: true, maxBodyBytes: 9 })
    expect(refusal(acting({ requestMirrorPolicies: [{}] }))).toContain(
      'request_mirror_policies[0].cluster: must not be empty',
    )
  })

  it('hash policies in order', () => {
    const { hash } = first(
      acting({
        hashPolicy: [
          { policySpecifier: { case: 'header', value: { headerName: 'X-User' } }, terminal: true },
          { policySpecifier: { case: 'cookie', value: { name: 'c', path: '/p', ttl: { seconds: 5n } } } },
          { policySpecifier: { case: 'cookie', value: { name: 'd' } } },
          { policySpecifier: { case: 'connectionProperties', value: { sourceIp: true } } },
          { policySpecifier: { case: 'queryParameter', value: { name: 'q' } } },
          { policySpecifier: { case: 'filterState', value: { key: 'k' } } },
        ],
      }),
    )
    expect(hash).toEqual([
      { kind: 'header', name: 'x-user', terminal: true },
      { kind: 'cookie', name: 'c', path: '/p', ttlMs: 5_000, terminal: false },
      { kind: 'cookie', name: 'd', path: '', ttlMs: null, terminal: false },
      { kind: 'source-ip', terminal: false },
      { kind: 'query', name: 'q', terminal: false },
    ])
  })

  it('retries in full', () => {
    const { retry } = first({
      ...acting({
        hashPolicy: [{ policySpecifier: { case: 'queryParameter', value: { name: 'q' } } }],
        retryPolicy: {
          retryOn: 'retriable-headers',
          retriableHeaders: [{ name: 'X-Again' }],
          retriableRequestHeaders: [{ name: 'X-Safe' }],
          rateLimitedRetryBackOff: {
            resetHeaders: [{ name: 'X-Reset', format: ResetFormat.UNIX_TIMESTAMP }, { name: 'Y' }],
            maxInterval: { seconds: 9n },
          },
          retryPriority: {
            name: 'any',
            configType: { case: 'typedConfig', value: anyOf(PreviousPrioritiesConfigSchema, { updateFrequency: 2 }) },
          },
        },
      }),
      ...policy({ maxReplayBytes: 10 }),
    })
    expect(retry).toMatchObject({
      retriableHeaders: [{ name: 'x-again', kind: 'present' }],
      retriableRequestHeaders: [{ name: 'x-safe', kind: 'present' }],
      resetHeaders: [
        { name: 'x-reset', format: 'UNIX_TIMESTAMP' },
        { name: 'y', format: 'SECONDS' },
      ],
      maxResetIntervalMs: 9_000,
      previousPrioritiesFrequency: 2,
      // Whoever hashes wants the same host again.
      avoidPreviousHosts: false,
      maxBodyBytes: 10,
    })
    expect(first(acting({ retryPolicy: { retryOn: '5xx' } })).retry?.avoidPreviousHosts).toBe(true)
  })

  it('hedges after a delay, a percentile, or a try that took too long', () => {
    const retryPolicy = { retryOn: '5xx', numRetries: 2 }
    expect(first(acting({ retryPolicy, hedgePolicy: { hedgeOnPerTryTimeout: true } })).hedge).toEqual({
      delayMs: null,
      percentile: null,
      maxHedges: 2,
      onTryTimeout: true,
    })
    expect(first(acting({ hedgePolicy: {} })).hedge).toBeNull()
    expect(first(policy({ hedge: { delay: { nanos: 30_000_000 }, maxHedges: 2 } })).hedge).toEqual({
      delayMs: 30,
      percentile: null,
      maxHedges: 2,
      onTryTimeout: false,
    })
    expect(first(policy({ hedge: { percentile: 95 } })).hedge).toMatchObject({ percentile: 95, maxHedges: 1 })
    expect(refusal(policy({ hedge: {} }))).toContain('needs either delay or percentile')
  })

  it('what only inmesh says', () => {
    const spec = first(
      policy({
        errorRateBreaker: { thresholdPercent: 20, minimumRequests: 5 },
        coalesce: { varyHeaders: ['Accept'] },
        priority: 'SHEDDABLE',
      }),
    )
    expect(spec.breaker).toMatchObject({ thresholdPercent: 20, minimumRequests: 5, windowMs: 30_000 })
    expect(spec.coalesce).toEqual({ varyHeaders: ['accept'], maxBodyBytes: 65_536 })
    expect(spec.priority).toBe('SHEDDABLE')
    expect(refusal(policy({ priority: 'URGENT' }))).toContain('"URGENT" is none of SHEDDABLE, DEFAULT, CRITICAL')
  })

  it('idle timeout and the answer while a cluster is missing', () => {
    expect(first().idleTimeoutMs).toBeNull()
    expect(first(acting({ idleTimeout: { seconds: 3n } })).idleTimeoutMs).toBe(3_000)
    expect(first(acting({ idleTimeout: {} })).idleTimeoutMs).toBe(Number.POSITIVE_INFINITY)
    expect(first(acting({ clusterNotFoundResponseCode: ClusterNotFound.INTERNAL_SERVER_ERROR })).action).toMatchObject({
      clusterNotFoundStatus: 500,
    })
  })
})
