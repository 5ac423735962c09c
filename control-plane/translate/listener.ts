import type { DescMessage } from '@bufbuild/protobuf'
import { ListenerSchema } from '../../src/gen/envoy/config/listener/v3/listener_pb.js'
import { CorsSchema } from '../../src/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import { HTTPFaultSchema } from '../../src/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { RouterSchema } from '../../src/gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import { HttpConnectionManagerSchema } from '../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { clusterName, TypeUrl } from '../../src/xds/proto.ts'
import { isForeign } from './class.ts'
import { type Built, encode, pack } from './encode.ts'
import { dialledHosts, parseAuthority } from './hosts.ts'
import type { MeshIndex } from './mesh-index.ts'
import { ALLOW_ANY, BLOCK_ALL } from './route.ts'
import { CORS_FILTER, FAULT_FILTER } from './route-actions.ts'
import { ads } from './tls.ts'
import type { ClientClass, ClientView } from './types.ts'

/** What a dialled authority is: a host with a port, or one that nobody knows. */
export type Dialled = { readonly host: string; readonly port: number } | 'unknown'

/** undefined = not an authority at all. */
export function dial(index: MeshIndex, authority: string, client: ClientView): Dialled | undefined {
  const parsed = parseAuthority(authority)
  if (parsed === undefined) return undefined
  const { port } = parsed
  const candidates = dialledHosts(parsed.host, client.namespace, index.settings.domain)
  const host = candidates.find((candidate) => isRoutable(index, candidate, port, client))
  return host === undefined ? 'unknown' : { host, port }
}

/**
 * A service that ever registered answers on every port: it declares none. A host that only a VirtualService knows
 * counts on port 80, as in Istio. What the client's Sidecar does not show it is as unknown as what nobody has.
 */
export function isRoutable(index: MeshIndex, host: string, port: number, client: ClientView): boolean {
  const service = index.services.get(host)
  if (service?.declared != null) {
    const known = service.declared.rule.spec.ports.some(({ number }) => number === port)
    if (!known || !index.isServiceVisible(service, client.namespace)) return false
  }
  const home =
    service?.namespace ?? (port === 80 ? index.virtualService(host, client.namespace)?.object.namespace : undefined)
  return home !== undefined && index.egress.of(client).sees(home, host, port)
}

/** Whether a ServiceEntry with a wildcard lets calls to an unknown host out: they are dialled as they are. */
export function isAllowedByWildcard(index: MeshIndex, authority: string, client: ClientView): boolean {
  const parsed = parseAuthority(authority)
  const service = parsed === undefined ? undefined : index.wildcardService(parsed.host)
  if (parsed === undefined || service?.declared == null) return false
  const known = service.declared.rule.spec.ports.some(({ number }) => number === parsed.port)
  return known && index.isServiceVisible(service, client.namespace)
}

/** RDS name of what was dialled; undefined = this client class has no listener for it (it resolves by other means). */
export function routeNameOf(
  index: MeshIndex,
  dialled: Dialled,
  client: ClientView,
  allowed = false,
): string | undefined {
  if (dialled !== 'unknown') return clusterName(dialled.port, '', dialled.host)
  if (isForeign(client.clientClass)) return undefined
  if (allowed) return ALLOW_ANY
  return index.egress.of(client).outboundTrafficPolicy === 'REGISTRY_ONLY' ? BLOCK_ALL : ALLOW_ANY
}

/**
 * LDS for a client, under the name that it asked for (gRFC A27: api_listener, routes by RDS, the router last). `mark` as
 * in `listenerMark`.
 */
export function clientListener(clientClass: ClientClass, name: string, routeName: string, mark: string): Built {
  const manager = pack(HttpConnectionManagerSchema, {
    statPrefix: mark === '' ? routeName : `${routeName} ${mark}`,
    routeSpecifier: { case: 'rds', value: { configSource: ads, routeConfigName: routeName } },
    // Their rules stand on the routes; without a filter here they would not count (gRFC A39).
    httpFilters: [
      emptyFilter(FAULT_FILTER, HTTPFaultSchema),
      ...(isForeign(clientClass) ? [] : [emptyFilter(CORS_FILTER, CorsSchema)]),
      routerFilter(),
    ],
  })
  return {
    resource: encode(TypeUrl.listener, name, ListenerSchema, { name, apiListener: { apiListener: manager } }),
    references: [{ typeUrl: TypeUrl.route, name: routeName }],
  }
}

function emptyFilter(name: string, schema: DescMessage) {
  return { name, configType: { case: 'typedConfig' as const, value: pack(schema, {}) } }
}

export function routerFilter() {
  return {
    name: 'envoy.filters.http.router',
    configType: { case: 'typedConfig' as const, value: pack(RouterSchema, {}) },
  }
}
