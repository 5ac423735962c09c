import { describe, expect, it } from 'vitest'
import {
  ads,
  anyOf,
  bytesOf,
  type Init,
  listenerInit,
  routeInit,
  routerFilter,
} from '../../../test/support/xds-resources.ts'
import type { FilterChainSchema } from '../../gen/envoy/config/listener/v3/listener_components_pb.js'
import { ListenerSchema } from '../../gen/envoy/config/listener/v3/listener_pb.js'
import {
  RBAC_Action as Action,
  type PermissionSchema,
  type PolicySchema,
  type PrincipalSchema,
} from '../../gen/envoy/config/rbac/v3/rbac_pb.js'
import type { RouteSchema } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import { HTTPFaultSchema } from '../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { LocalRateLimitSchema } from '../../gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.js'
import { RBACSchema } from '../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { RouterSchema } from '../../gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import { HttpConnectionManagerSchema } from '../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { RawBufferSchema } from '../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import { DownstreamTlsContextSchema } from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { InboundPolicySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import type { InboundSpec } from '../../model/inbound.ts'
import { inboundListenerName } from '../proto.ts'
import { listenerType } from './listener.ts'

type ListenerInit = Init<typeof ListenerSchema>
type Manager = Init<typeof HttpConnectionManagerSchema>
type Filters = NonNullable<Manager['httpFilters']>

const decode = (init: ListenerInit) => listenerType.decode(bytesOf(ListenerSchema, init))
const refusal = (init: ListenerInit) => {
  try {
    decode(init)
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}
const filter = (name: string, value: ReturnType<typeof anyOf>, more = {}) => ({
  name,
  configType: { case: 'typedConfig', value } as const,
  ...more,
})
const emptyFault = filter('envoy.filters.http.fault', anyOf(HTTPFaultSchema, {}))
const unknown = (more = {}) => filter('x', anyOf(RawBufferSchema, {}), more)

describe('a client’s listener', () => {
  const rds = { case: 'rds', value: { routeConfigName: 'r', configSource: ads } } as const
  const client = (manager: Manager): ListenerInit => ({
    name: 'payments:8080',
    apiListener: {
      apiListener: anyOf(HttpConnectionManagerSchema, { routeSpecifier: rds, httpFilters: [routerFilter], ...manager }),
    },
  })

  it('names its routes', () => {
    expect(decode(listenerInit('payments', 'outbound|80||payments')).value).toEqual({
      kind: 'client',
      routes: { rds: 'outbound|80||payments' },
      fault: null,
      session: null,
      maxStreamMs: Number.POSITIVE_INFINITY,
    })
  })

  it('or holds them', () => {
    const { value } = decode(client({ routeSpecifier: { case: 'routeConfig', value: routeInit('inline', { c: 1 }) } }))
    expect(value).toMatchObject({
      kind: 'client',
      routes: { inline: { name: 'inline', virtualHosts: [{ name: 'all' }] } },
    })
  })

  it('may have an address and an empty fault filter, as istiod’s', () => {
    const init = { ...client({ httpFilters: [emptyFault, routerFilter] }), address: {} }
    expect(decode(init)).toMatchObject({ name: 'payments:8080', warnings: [] })
  })

  it('skips unknown filters that are optional, with a warning', () => {
    expect(decode(client({ httpFilters: [unknown({ isOptional: true }), routerFilter] })).warnings[0]).toContain(
      'skipped',
    )
  })

  it('skips filters that are disabled', () => {
    const fault = filter('f', anyOf(HTTPFaultSchema, { abort: {} }), { disabled: true })
    expect(refusal(client({ httpFilters: [fault, routerFilter] }))).toBe('accepted')
  })

  const at = 'api_listener.api_listener'
  it.each<[string, Manager]>([
    [`${at}.http_filters: must not be empty`, { httpFilters: [] }],
    [`${at}.http_filters[0]: the last filter must be the router`, { httpFilters: [emptyFault] }],
    [
      `${at}.http_filters[0]: the router must be the last filter`,
      { httpFilters: [routerFilter, filter('second', anyOf(RouterSchema, {}))] },
    ],
    [
      `${at}.http_filters[1].name: "envoy.filters.http.fault" appears twice`,
      { httpFilters: [emptyFault, emptyFault, routerFilter] },
    ],
    [`${at}.http_filters[0].name: is missing`, { httpFilters: [unknown({ name: '' }), routerFilter] }],
    [
      `${at}.http_filters[0].typed_config: envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer is not supported`,
      { httpFilters: [unknown(), routerFilter] },
    ],
    [
      `${at}.http_filters[0].typed_config: envoy.extensions.filters.http.rbac.v3.RBAC is not supported`,
      { httpFilters: [filter('rbac', anyOf(RBACSchema, {})), routerFilter] },
    ],
    [
      `${at}.http_filters[0].typed_config.abort: needs http_status`,
      { httpFilters: [filter('f', anyOf(HTTPFaultSchema, { abort: {} })), routerFilter] },
    ],
    [
      `${at}.http_filters[0].typed_config.delay: needs fixed_delay`,
      { httpFilters: [filter('f', anyOf(HTTPFaultSchema, { delay: {} })), routerFilter] },
    ],
    [`${at}: needs rds or route_config`, { routeSpecifier: { case: undefined } }],
    [`${at}.scoped_routes: not supported`, { routeSpecifier: { case: 'scopedRoutes', value: {} } }],
    [
      `${at}.rds.config_source: must be ads or self`,
      { routeSpecifier: { case: 'rds', value: { routeConfigName: 'r' } } },
    ],
    [`${at}.rds.route_config_name: is missing`, { routeSpecifier: { case: 'rds', value: { configSource: ads } } }],
    [
      `${at}.route_config.virtual_hosts[0].domains: must not be empty`,
      { routeSpecifier: { case: 'routeConfig', value: { virtualHosts: [{}] } } },
    ],
    [`${at}.xff_num_trusted_hops: must be 0`, { xffNumTrustedHops: 1 }],
  ])('is refused with "%s"', (message, manager) => {
    expect(refusal(client(manager))).toContain(message)
  })

  it('is refused when its api_listener is something else', () => {
    expect(refusal({ name: 'x', apiListener: { apiListener: anyOf(RouterSchema, {}) } })).toContain(
      'is a envoy.extensions.filters.http.router.v3.Router, expected envoy.extensions.filters.network.http_connection_manager',
    )
  })
})

describe('a server’s listener', () => {
  const name = inboundListenerName('10.0.0.1', 8080)
  const tls = (more: Init<typeof DownstreamTlsContextSchema> = {}) => ({
    name: 'envoy.transport_sockets.tls',
    configType: {
      case: 'typedConfig',
      value: anyOf(DownstreamTlsContextSchema, {
        requireClientCertificate: true,
        commonTlsContext: {
          validationContextType: {
            case: 'validationContextSdsSecretConfig',
            value: { name: 'ROOTCA', sdsConfig: ads },
          },
        },
        ...more,
      }),
    } as const,
  })
  const nonForwarding: Init<typeof RouteSchema> = {
    match: { pathSpecifier: { case: 'prefix', value: '/' } },
    action: { case: 'nonForwardingAction', value: {} },
  }
  const chain = (
    filters: Filters = [],
    more: Init<typeof FilterChainSchema> = {},
    route: Init<typeof RouteSchema> = nonForwarding,
  ): Init<typeof FilterChainSchema> => ({
    filters: [
      filter(
        'hcm',
        anyOf(HttpConnectionManagerSchema, {
          routeSpecifier: { case: 'routeConfig', value: { virtualHosts: [{ domains: ['*'], routes: [route] }] } },
          httpFilters: [...filters, routerFilter],
        }),
      ),
    ],
    ...more,
  })
  const mtls = (filters?: Filters) =>
    chain(filters, { name: 'inbound-mtls', filterChainMatch: { transportProtocol: 'tls' }, transportSocket: tls() })
  const plain = (filters?: Filters) =>
    chain(filters, { name: 'inbound-plaintext', filterChainMatch: { transportProtocol: 'raw_buffer' } })
  const server = (...filterChains: Init<typeof FilterChainSchema>[]): ListenerInit => ({ name, filterChains })
  const spec = (init: ListenerInit): InboundSpec => {
    const { value } = decode(init)
    if (value.kind !== 'inbound') throw new Error('not a server’s listener')
    return value.spec
  }

  it('is STRICT, PERMISSIVE or DISABLE by its chains', () => {
    expect(spec(server(mtls()))).toMatchObject({ name, tlsMode: 'STRICT', rbac: [] })
    expect(spec(server(mtls(), plain())).tlsMode).toBe('PERMISSIVE')
    expect(spec(server(plain())).tlsMode).toBe('DISABLE')
  })

  it('holds what rides in its metadata, and rate limits and faults of its filters before that', () => {
    const bucket = { maxTokens: 5, tokensPerFill: 1, fillInterval: { seconds: 1n } }
    const hundred = { defaultValue: { numerator: 100 } }
    const limit = filter(
      'lrl',
      anyOf(LocalRateLimitSchema, { tokenBucket: bucket, filterEnabled: hundred, filterEnforced: hundred }),
    )
    const abort = { errorType: { case: 'httpStatus', value: 418 }, percentage: { numerator: 100 } } as const
    const fault = filter('fault', anyOf(HTTPFaultSchema, { abort }))
    const policy = anyOf(InboundPolicySchema, { rateLimits: [{ name: 'own', bucket }], maxRequests: 3 })
    const init = { ...server(mtls([limit, fault])), metadata: { typedFilterMetadata: { 'inmesh.inbound': policy } } }
    expect(spec(init)).toMatchObject({
      maxRequests: 3,
      rateLimits: [
        { name: 'lrl', grpcStatus: 14 },
        { name: 'own', grpcStatus: 8 },
      ],
      faults: [{ match: [], fault: { abort: { how: { kind: 'http', status: 418 } } } }],
    })
  })

  it('may be named as istiod does and put its chain into default_filter_chain', () => {
    const init = { name: 'xds.istio.io/grpc/lds/inbound/10.0.0.1:8080', filterChains: [], defaultFilterChain: mtls() }
    expect(spec(init)).toMatchObject({ name: init.name, tlsMode: 'STRICT' })
  })

  it('is for the address in its name', () => {
    const address = (address: string, portValue: number) => ({
      address: {
        case: 'socketAddress',
        value: { address, portSpecifier: { case: 'portValue', value: portValue } },
      } as const,
    })
    expect(refusal({ ...server(mtls()), address: address('10.0.0.1', 8080) })).toBe('accepted')
    expect(refusal({ ...server(mtls()), address: address('10.0.0.1', 9090) })).toBe(
      "address: is 10.0.0.1:9090, but the listener's name says 10.0.0.1:8080",
    )
    const v6 = { ...server(mtls()), name: inboundListenerName('fd00::1', 80), address: address('fd00::1', 80) }
    expect(refusal(v6)).toBe('accepted')
  })

  it.each<[string, ListenerInit]>([
    ['filter_chains: must not be empty', server()],
    ['filter_chains[1]: a second chain with TLS', server(mtls(), mtls())],
    [
      'filter_chains[0].filter_chain_match.destination_port: not supported',
      server(chain([], { filterChainMatch: { destinationPort: 1 } })),
    ],
    [
      'filter_chain_match.prefix_ranges: not supported',
      server(chain([], { filterChainMatch: { prefixRanges: [{}] } })),
    ],
    [
      'filter_chain_match.transport_protocol: "tls" does not fit a chain without TLS',
      server(chain([], { filterChainMatch: { transportProtocol: 'tls' } })),
    ],
    [
      'require_client_certificate: must be true',
      server(chain([], { transportSocket: tls({ requireClientCertificate: false }) })),
    ],
    ['require_sni: not supported', server(chain([], { transportSocket: tls({ requireSni: true }) }))],
    ['filters: must hold exactly one filter', server({})],
    ['route_config.virtual_hosts[0].routes[0].non_forwarding_action: is missing', server(chain([], {}, { match: {} }))],
    [
      'typed_per_filter_config[rbac]: not supported',
      server(chain([], {}, { ...nonForwarding, typedPerFilterConfig: { rbac: anyOf(RBACSchema, {}) } })),
    ],
    ['listener_filters: not supported', { ...server(mtls()), listenerFilters: [{ name: 'x' }] }],
    ['filter_chains: chains that enforce different rules', server(mtls([rbac(Action.DENY, {})]), plain())],
  ])('is refused with "%s"', (message, init) => {
    expect(refusal(init)).toContain(message)
  })

  describe('authorization', () => {
    type Permission = Init<typeof PermissionSchema>
    type Principal = Init<typeof PrincipalSchema>
    const all: Permission = { rule: { case: 'any', value: true } }
    const anyone: Principal = { identifier: { case: 'any', value: true } }
    const policyOf = (init: Init<typeof PolicySchema>) =>
      spec(server(mtls([rbac(Action.ALLOW, { p: { permissions: [all], principals: [anyone], ...init } })]))).rbac[0]
        ?.policies[0]
    const permission = (p: Permission) => policyOf({ permissions: [p] })?.permissions[0]
    const principal = (p: Principal) => policyOf({ principals: [p] })?.principals[0]
    const text = (value: string) => ({ matchPattern: { case: 'exact', value } }) as const

    it('comes in the order of the filters, policies in the order of their names', () => {
      const both = { permissions: [all], principals: [anyone] }
      const { rbac: specs } = spec(
        server(mtls([rbac(Action.DENY, { z: both, a: both }, 'deny'), rbac(Action.ALLOW, {}, 'allow')])),
      )
      expect(specs.map((s) => [s.filterName, s.action, s.policies.map((p) => p.name)])).toEqual([
        ['deny', 'DENY', ['a', 'z']],
        ['allow', 'ALLOW', []],
      ])
    })

    it('enforces nothing without rules or with action LOG', () => {
      const absent = filter('none', anyOf(RBACSchema, {}))
      expect(spec(server(mtls([absent, rbac(Action.LOG, {}, 'log')]))).rbac).toEqual([])
    })

    it('knows these permissions', () => {
      const header = { name: ':method', headerMatchSpecifier: { case: 'exactMatch', value: 'GET' } } as const
      expect(permission({ rule: { case: 'header', value: header } })).toMatchObject({
        kind: 'header',
        match: { name: ':method' },
      })
      expect(permission({ rule: { case: 'urlPath', value: { rule: { case: 'path', value: text('/a') } } } })).toEqual({
        kind: 'path',
        match: { kind: 'exact', value: '/a', ignoreCase: false },
      })
      expect(permission({ rule: { case: 'destinationPort', value: 80 } })).toEqual({
        kind: 'destinationPort',
        port: 80,
      })
      expect(permission({ rule: { case: 'destinationIp', value: { addressPrefix: 'fd00::', prefixLen: 8 } } })).toEqual(
        {
          kind: 'destinationIp',
          cidr: { address: 'fd00::', prefixLength: 8 },
        },
      )
      const rules = [all, { rule: { case: 'notRule', value: all } }] as Permission[]
      expect(permission({ rule: { case: 'andRules', value: { rules } } })).toEqual({
        kind: 'and',
        rules: [{ kind: 'any' }, { kind: 'not', rule: { kind: 'any' } }],
      })
      expect(permission({ rule: { case: 'orRules', value: { rules: [all] } } })).toMatchObject({ kind: 'or' })
      const never = { kind: 'not', rule: { kind: 'any' } }
      expect(permission({ rule: { case: 'metadata', value: {} } })).toEqual(never)
      expect(permission({ rule: { case: 'metadata', value: { invert: true } } })).toEqual({ kind: 'any' })
      expect(permission({ rule: { case: 'requestedServerName', value: text('x') } })).toEqual(never)
      expect(permission({ rule: { case: 'requestedServerName', value: text('') } })).toEqual({ kind: 'any' })
    })

    it('knows these principals', () => {
      const id = 'spiffe://cluster.local/ns/a/sa/b'
      expect(principal({ identifier: { case: 'authenticated', value: { principalName: text(id) } } })).toEqual({
        kind: 'authenticated',
        match: { kind: 'exact', value: id, ignoreCase: false },
      })
      expect(principal({ identifier: { case: 'authenticated', value: {} } })).toEqual({
        kind: 'authenticated',
        match: null,
      })
      const net = { addressPrefix: '10.0.0.0' }
      expect(principal({ identifier: { case: 'directRemoteIp', value: net } })).toEqual({
        kind: 'directRemoteIp',
        cidr: { address: '10.0.0.0', prefixLength: 0 },
      })
      expect(principal({ identifier: { case: 'remoteIp', value: net } })).toMatchObject({ kind: 'remoteIp' })
      expect(principal({ identifier: { case: 'sourceIp', value: net } })).toMatchObject({ kind: 'directRemoteIp' })
      expect(principal({ identifier: { case: 'notId', value: anyone } })).toEqual({
        kind: 'not',
        rule: { kind: 'any' },
      })
      expect(principal({ identifier: { case: 'orIds', value: { ids: [anyone] } } })).toMatchObject({ kind: 'or' })
      expect(principal({ identifier: { case: 'andIds', value: { ids: [anyone] } } })).toMatchObject({ kind: 'and' })
      expect(
        principal({ identifier: { case: 'urlPath', value: { rule: { case: 'path', value: text('/') } } } }),
      ).toMatchObject({ kind: 'path' })
      expect(principal({ identifier: { case: 'header', value: { name: 'a' } } })).toMatchObject({ kind: 'header' })
    })

    const failing = (init: Init<typeof PolicySchema>) =>
      refusal(server(mtls([rbac(Action.ALLOW, { p: { permissions: [all], principals: [anyone], ...init } })])))

    it.each<[string, Init<typeof PolicySchema>]>([
      ['policies[p].permissions: must not be empty', { permissions: [] }],
      ['policies[p].principals: must not be empty', { principals: [] }],
      ['condition: not supported', { condition: {} }],
      ['checked_condition: not supported', { checkedCondition: {} }],
      ['permissions[0]: needs a rule', { permissions: [{}] }],
      ['permissions[0].any: must be true', { permissions: [{ rule: { case: 'any', value: false } }] }],
      [
        'permissions[0].and_rules.rules: must not be empty',
        { permissions: [{ rule: { case: 'andRules', value: {} } }] },
      ],
      [
        'permissions[0].destination_port_range: not supported',
        { permissions: [{ rule: { case: 'destinationPortRange', value: {} } }] },
      ],
      ['permissions[0].matcher: not supported', { permissions: [{ rule: { case: 'matcher', value: {} } }] }],
      [
        'permissions[0].destination_ip.prefix_len: must be at most 32, is 33',
        { permissions: [{ rule: { case: 'destinationIp', value: { addressPrefix: '10.0.0.0', prefixLen: 33 } } }] },
      ],
      [
        'permissions[0].url_path.path: is missing a pattern',
        { permissions: [{ rule: { case: 'urlPath', value: {} } }] },
      ],
      ['principals[0]: needs an identifier', { principals: [{}] }],
      [
        'principals[0].filter_state: not supported',
        { principals: [{ identifier: { case: 'filterState', value: {} } }] },
      ],
      [
        'principals[0].not_id.or_ids.ids: must not be empty',
        { principals: [{ identifier: { case: 'notId', value: { identifier: { case: 'orIds', value: {} } } } }] },
      ],
      [
        'principals[0].direct_remote_ip.address_prefix: "x" is not an IP',
        { principals: [{ identifier: { case: 'directRemoteIp', value: { addressPrefix: 'x' } } }] },
      ],
    ])('refuses "%s"', (message, init) => {
      expect(failing(init)).toContain(message)
    })

    it('refuses an action that it does not know, and rule trees', () => {
      expect(refusal(server(mtls([rbac(9 as Action, {})])))).toContain('rules.action: 9 is not a known value')
      expect(refusal(server(mtls([filter('rbac', anyOf(RBACSchema, { matcher: {} }))])))).toContain(
        'matcher: not supported',
      )
    })
  })
})

function rbac(action: Action, policies: Record<string, Init<typeof PolicySchema>>, name = 'envoy.filters.http.rbac') {
  return filter(name, anyOf(RBACSchema, { rules: { action, policies } }))
}
