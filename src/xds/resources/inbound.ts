import { isDeepStrictEqual } from 'node:util'
import {
  type FilterChain,
  type FilterChainMatch,
  FilterChainMatchSchema,
  FilterChainSchema,
} from '../../gen/envoy/config/listener/v3/listener_components_pb.js'
import type { Listener } from '../../gen/envoy/config/listener/v3/listener_pb.js'
import { type RouteConfiguration, RouteConfigurationSchema } from '../../gen/envoy/config/route/v3/route_pb.js'
import {
  type HttpConnectionManager,
  HttpConnectionManagerSchema,
} from '../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { RawBufferSchema } from '../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import { DownstreamTlsContextSchema } from '../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { InboundPolicySchema } from '../../gen/inmesh/v1/extensions_pb.js'
import type {
  ChainMatch,
  InboundFaultSpec,
  InboundRoutes,
  InboundSpec,
  RateLimitSpec,
  RbacSpec,
} from '../../model/inbound.ts'
import type { RouteTable } from '../../model/route.ts'
import { MetadataKey } from '../proto.ts'
import { socketAddress } from './address.ts'
import { holds, typeNameOf, unpack } from './any.ts'
import { requireAds } from './config-source.ts'
import { Field, names } from './field.ts'
import { checkManager, httpFilters } from './http-filters.ts'
import { chainMatches } from './inbound-chains.ts'
import { inboundExtras } from './inbound-policy.ts'
import { localRateLimit } from './local-rate-limit.ts'
import { typedMetadata } from './metadata.ts'
import { checkServerContext } from './provider-tls.ts'
import { rbacSpec } from './rbac.ts'
import { routeTable } from './route.ts'
import { peerIds } from './tls.ts'

/** Routes of a server before they are there. */
export interface InboundRouting {
  readonly routes: { readonly rds: string } | { readonly inline: RouteTable }
  readonly filters: InboundRoutes['filters']
}

export interface InboundResource {
  readonly spec: InboundSpec
  readonly routing: InboundRouting | null
  /** Rules that differ by connection; empty = those above are for all. */
  readonly chains: readonly InboundChainResource[]
}

export interface InboundChainResource {
  readonly match: ChainMatch | null
  readonly spec: InboundSpec
  readonly routing: InboundRouting | null
}

/**
 * A server's listener (gRFC A36, in inmesh's and in istiod's shape): a chain with TLS, one without, or both, which
 * must enforce the same: STRICT, DISABLE, PERMISSIVE.
 */
export function inboundResource(field: Field, message: Listener): InboundResource {
  checkAddress(field, message)
  const chains = message.filterChains.map((chain, i) => ({ chain, at: field.at('filter_chains').index(i) }))
  if (message.defaultFilterChain !== undefined)
    chains.push({ chain: message.defaultFilterChain, at: field.at('default_filter_chain') })
  if (field.dialect.providers !== null && chains.some(({ chain }) => differs(chain)))
    return byConnection(field, message)
  let tls: ChainRules | undefined
  let plaintext: ChainRules | undefined
  for (const { chain, at } of chains) {
    at.onlyReads(FilterChainSchema, chain, names('filter_chain_match filters transport_socket name metadata'))
    const secure = isMutualTls(at.at('transport_socket'), chain)
    checkMatch(at.at('filter_chain_match'), chain.filterChainMatch, secure)
    const rules = chainRules(at, chain)
    if (secure ? tls : plaintext) at.fail(`a second chain ${secure ? 'with' : 'without'} TLS is not supported`)
    if (secure) tls = rules
    else plaintext = rules
  }
  const rules = tls ?? plaintext
  if (rules === undefined) return field.at('filter_chains').fail('must not be empty')
  if (tls !== undefined && plaintext !== undefined && !isDeepStrictEqual(tls, plaintext))
    field.at('filter_chains').fail('chains that enforce different rules are not supported')
  const tlsMode = plaintext === undefined ? 'STRICT' : tls === undefined ? 'DISABLE' : 'PERMISSIVE'
  const at = field.at('metadata')
  const extras = inboundExtras(
    at.at('typed_filter_metadata').index(MetadataKey.inbound),
    typedMetadata(at, message.metadata, MetadataKey.inbound, InboundPolicySchema),
  )
  const spec: InboundSpec = {
    ...extras,
    name: message.name,
    tlsMode,
    rbac: rules.rbac,
    rateLimits: [...rules.rateLimits, ...extras.rateLimits],
    faults: [...rules.faults, ...extras.faults],
  }
  return { spec, routing: rules.routing, chains: [] }
}

/** Whether a chain is for some connections only, by more than TLS. */
function differs({ filterChainMatch: match }: FilterChain): boolean {
  if (match === undefined) return false
  const narrowed = new Field()
  narrowed.onlyReads(FilterChainMatchSchema, match, names('transport_protocol'))
  return narrowed.warnings.length > 0
}

/** Chains by the addresses of connections (gRFC A36). */
function byConnection(field: Field, message: Listener): InboundResource {
  const common = { ...inboundExtras(field, undefined), name: message.name }
  const chains: InboundChainResource[] = []
  const taken = new Set<string>()
  const add = (chain: FilterChain, at: Field, matches: readonly (ChainMatch | null)[]) => {
    at.onlyReads(FilterChainSchema, chain, names('filter_chain_match filters transport_socket name metadata'))
    const secure = isMutualTls(at.at('transport_socket'), chain)
    const { rbac, rateLimits, faults, routing } = chainRules(at, chain)
    const spec: InboundSpec = { ...common, tlsMode: secure ? 'STRICT' : 'DISABLE', rbac, rateLimits, faults }
    for (const match of matches) {
      const key = JSON.stringify(match)
      if (taken.has(key)) at.at('filter_chain_match').fail('is the same as that of another chain')
      taken.add(key)
      chains.push({ match, spec, routing })
    }
  }
  field.at('filter_chains').map(message.filterChains, (chain, at) => {
    add(chain, at, chainMatches(at.at('filter_chain_match'), chain.filterChainMatch))
  })
  if (message.defaultFilterChain !== undefined)
    add(message.defaultFilterChain, field.at('default_filter_chain'), [null])
  return { spec: { ...common, tlsMode: 'STRICT', rbac: [] }, routing: null, chains }
}

/** The address must be the one in the name (`.../IP:PORT`), so that rules never guard the wrong port. */
function checkAddress(field: Field, message: Listener): void {
  if (message.address === undefined) return
  const { address, port } = socketAddress(field.at('address'), message.address)
  const text = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  // Where others make the names (A36: by a template), the address is somewhere in them.
  const foreign = field.dialect.providers !== null
  const named = foreign ? message.name : message.name.slice(message.name.lastIndexOf('/') + 1)
  const fits = foreign ? unescaped(named).includes(text) : named === text
  if (!fits) field.at('address').fail(`is ${text}, but the listener's name says ${named}`)
}

/** Of an xdstp name, in which the brackets of an address are escaped. */
function unescaped(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    // No escapes: it is as it stands.
    return name
  }
}

function isMutualTls(field: Field, chain: FilterChain): boolean {
  const config = chain.transportSocket?.configType.value
  if (chain.transportSocket === undefined) return false
  const at = field.at('typed_config')
  if (config === undefined) return at.fail('is missing')
  if (holds(config, RawBufferSchema)) return false
  if (!holds(config, DownstreamTlsContextSchema)) return at.fail(`${typeNameOf(config)} is not supported`)
  const context = unpack(at, config, DownstreamTlsContextSchema)
  at.onlyReads(DownstreamTlsContextSchema, context, tlsFields)
  if (context.requireClientCertificate !== true) at.at('require_client_certificate').fail('must be true')
  if (context.requireSni === true) at.at('require_sni').fail('not supported')
  if (field.dialect.providers !== null) {
    checkServerContext(at, context.commonTlsContext)
    return true
  }
  const ids = peerIds(at, context.commonTlsContext)
  if (ids.length > 0) at.at('common_tls_context').fail('a list of client identities is not supported, use RBAC')
  return true
}

// Sessions are never resumed here, whatever is configured.
const tlsFields = names(`common_tls_context require_client_certificate require_sni ocsp_staple_policy
  disable_stateless_session_resumption disable_stateful_session_resumption session_timeout`)

/** Only the transport protocol may choose a chain; anything else that narrows the match refuses the resource. */
function checkMatch(field: Field, match: FilterChainMatch | undefined, secure: boolean): void {
  if (match === undefined) return
  const narrowed = new Field()
  narrowed.onlyReads(FilterChainMatchSchema, match, names('transport_protocol'))
  const first = narrowed.warnings[0]
  if (first !== undefined) field.at(first.slice(0, first.indexOf(':'))).fail('not supported')
  const protocol = match.transportProtocol
  const fits = protocol === '' || protocol === (secure ? 'tls' : 'raw_buffer')
  if (!fits)
    field.at('transport_protocol').fail(`"${protocol}" does not fit a chain ${secure ? 'with' : 'without'} TLS`)
}

interface ChainRules {
  readonly rbac: readonly RbacSpec[]
  readonly rateLimits: readonly RateLimitSpec[]
  readonly faults: readonly InboundFaultSpec[]
  readonly routing: InboundRouting | null
}

/** The one network filter is an HttpConnectionManager; its filters, each kind in order. */
function chainRules(field: Field, chain: FilterChain): ChainRules {
  const at = field.at('filters')
  const [filter] = chain.filters
  if (filter === undefined || chain.filters.length > 1) return at.fail('must hold exactly one filter')
  const config = filter.configType.case === 'typedConfig' ? filter.configType.value : undefined
  const here = at.index(0).at('typed_config')
  const manager = unpack(here, config, HttpConnectionManagerSchema)
  checkManager(here, manager)
  const routes = routesOf(here, manager)
  const filters: { name: string; rules: RbacSpec | null }[] = []
  const rules = {
    rbac: [] as RbacSpec[],
    rateLimits: [] as RateLimitSpec[],
    faults: [] as InboundFaultSpec[],
    routing: routes === null ? null : { routes, filters },
  }
  for (const [i, f] of httpFilters(here, manager.httpFilters, 'server').entries()) {
    const at = here
      .at('http_filters')
      .index(f.name === '' ? i : f.name)
      .at('typed_config')
    if (f.rbac !== undefined) {
      const spec = rbacSpec(at, f.name, f.rbac)
      filters.push({ name: f.name, rules: spec })
      if (spec !== null) rules.rbac.push(spec)
    } else if (f.rateLimit !== undefined) {
      const spec = localRateLimit(at, f.name, f.rateLimit)
      if (spec !== null) rules.rateLimits.push(spec)
    } else if (f.fault !== undefined) {
      if (f.fault.delay?.ms === null || f.fault.abort?.how.kind === 'header')
        at.warn('faults that requests order have no effect on a server: it takes such headers out')
      rules.faults.push({ match: [], fault: f.fault })
    }
  }
  return rules
}

/** null = inmesh's own control plane, whose routes decide nothing. */
function routesOf(field: Field, manager: HttpConnectionManager): InboundRouting['routes'] | null {
  const { routeSpecifier: routes } = manager
  if (field.dialect.providers === null) {
    if (routes.case !== 'routeConfig') return field.at('route_config').fail('is missing: inbound routes must be inline')
    checkRoutes(field.at('route_config'), routes.value)
    return null
  }
  if (routes.case === 'routeConfig') return { inline: routeTable(routes.value, field.at('route_config')) }
  if (routes.case !== 'rds') return field.fail('needs rds or route_config')
  requireAds(field.at('rds.config_source'), routes.value.configSource)
  if (routes.value.routeConfigName === '') field.at('rds.route_config_name').fail('is missing')
  return { rds: routes.value.routeConfigName }
}

/**
 * Requests go to the handler, so the routes decide nothing; but rules on them would be lost, and that refuses the
 * resource.
 */
function checkRoutes(at: Field, table: RouteConfiguration): void {
  at.onlyReads(RouteConfigurationSchema, table, names('name virtual_hosts validate_clusters typed_per_filter_config'))
  noFilterConfig(at, table)
  at.at('virtual_hosts').map(table.virtualHosts, (host, hostAt) => {
    noFilterConfig(hostAt, host)
    hostAt.at('routes').map(host.routes, (route, routeAt) => {
      noFilterConfig(routeAt, route)
      if (route.action.case !== 'nonForwardingAction') routeAt.at('non_forwarding_action').fail('is missing')
    })
  })
}

function noFilterConfig(
  field: Field,
  holder: { readonly typedPerFilterConfig: Readonly<Record<string, unknown>> },
): void {
  const [name] = Object.keys(holder.typedPerFilterConfig)
  if (name !== undefined) field.at('typed_per_filter_config').index(name).fail('not supported')
}
