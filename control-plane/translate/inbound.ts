import { isIP } from 'node:net'
import type { MessageInitShape } from '@bufbuild/protobuf'
import { TrafficDirection } from '../../src/gen/envoy/config/core/v3/base_pb.js'
import type { FilterChainSchema } from '../../src/gen/envoy/config/listener/v3/listener_components_pb.js'
import { ListenerSchema } from '../../src/gen/envoy/config/listener/v3/listener_pb.js'
import { type PolicySchema, RBAC_Action } from '../../src/gen/envoy/config/rbac/v3/rbac_pb.js'
import { RBACSchema } from '../../src/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import {
  HttpConnectionManagerSchema,
  type HttpFilterSchema,
} from '../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { InboundPolicySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { inboundListenerName, MetadataKey, TRUST_BUNDLE_SECRET, TypeUrl } from '../../src/xds/proto.ts'
import type { AuthorizationPolicySpec } from '../resources/authorization-policy.ts'
import type { StoredObject } from '../store/store.ts'
import { rbacPolicy } from './authorization.ts'
import { isForeign } from './class.ts'
import { type Built, encode, pack, sorted } from './encode.ts'
import { inboundPolicy } from './inbound-policy.ts'
import { routerFilter } from './listener.ts'
import type { MeshIndex } from './mesh-index.ts'
import { selects, type TlsMode, tlsModeOf } from './peer-authentication.ts'
import { downstreamTls } from './tls.ts'
import type { ClientView } from './types.ts'

type Filter = MessageInitShape<typeof HttpFilterSchema>
type Policies = Record<string, MessageInitShape<typeof PolicySchema>>

/**
 * The address in the name of a server's listener. Ours are `inmesh/inbound/IP:PORT`; of foreign clients any name that
 * ends in IP:PORT, because the template is theirs to choose (gRFC A36) and no service is called by its address.
 */
export function inboundAddress(name: string, client: ClientView): { address: string; port: number } | undefined {
  const foreign = isForeign(client.clientClass)
  const match = (
    foreign ? /(?:^|\/)(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})$/ : /\/(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d{1,5})$/
  ).exec(name)
  const address = match?.[1] ?? match?.[2] ?? ''
  const port = Number(match?.[3])
  if (isIP(address) === 0 || !(port >= 1 && port <= 65_535)) return undefined
  if (!foreign && name !== inboundListenerName(address, port)) return undefined
  return { address, port }
}

/** LDS for a server: what it takes (PeerAuthentication) and from whom (AuthorizationPolicy). */
export function inboundListener(
  index: MeshIndex,
  name: string,
  { address, port }: { address: string; port: number },
  client: ClientView,
): Built {
  const mode = modeFor(index, port, client)
  const filters = [...rbacFilters(index, client), routerFilter()]
  const chains: MessageInitShape<typeof FilterChainSchema>[] = []
  if (mode !== 'DISABLE') chains.push(chain('inbound-mtls', 'tls', filters, client))
  if (mode !== 'STRICT') chains.push(chain('inbound-plaintext', 'raw_buffer', filters, client))
  const resource = encode(TypeUrl.listener, name, ListenerSchema, {
    name,
    address: {
      address: { case: 'socketAddress', value: { address, portSpecifier: { case: 'portValue', value: port } } },
    },
    filterChains: chains,
    trafficDirection: TrafficDirection.INBOUND,
    ...(isForeign(client.clientClass) ? {} : { metadata: metadata(index, port, client) }),
  })
  const secret = mode !== 'DISABLE' && !isForeign(client.clientClass)
  return { resource, references: secret ? [{ typeUrl: TypeUrl.secret, name: TRUST_BUNDLE_SECRET }] : [] }
}

function metadata(index: MeshIndex, port: number, client: ClientView) {
  const policy = pack(InboundPolicySchema, inboundPolicy(index, port, client))
  return { typedFilterMetadata: { [MetadataKey.inbound]: policy } }
}

/** gRPC servers cannot take both on one port: PERMISSIVE is what the workload's own label says, as with istiod. */
function modeFor(index: MeshIndex, port: number, client: ClientView): TlsMode {
  const mode = tlsModeOf(index, client.namespace, client.labels, port)
  if (mode !== 'PERMISSIVE' || !isForeign(client.clientClass)) return mode
  return client.labels['security.istio.io/tlsMode'] === 'istio' ? 'STRICT' : 'DISABLE'
}

function chain(
  name: 'inbound-mtls' | 'inbound-plaintext',
  transportProtocol: string,
  httpFilters: Filter[],
  client: ClientView,
): MessageInitShape<typeof FilterChainSchema> {
  const manager = pack(HttpConnectionManagerSchema, {
    statPrefix: name,
    routeSpecifier: {
      case: 'routeConfig',
      value: {
        name,
        virtualHosts: [
          {
            name,
            domains: ['*'],
            routes: [
              {
                match: { pathSpecifier: { case: 'prefix', value: '/' } },
                action: { case: 'nonForwardingAction', value: {} },
              },
            ],
          },
        ],
      },
    },
    httpFilters,
  })
  return {
    name,
    // gRPC servers only know raw_buffer here, and have one chain.
    ...(isForeign(client.clientClass) ? {} : { filterChainMatch: { transportProtocol } }),
    filters: [
      { name: 'envoy.filters.network.http_connection_manager', configType: { case: 'typedConfig', value: manager } },
    ],
    ...(name === 'inbound-mtls' ? { transportSocket: downstreamTls(client.clientClass) } : {}),
  }
}

/**
 * DENY before ALLOW. An ALLOW filter is there as soon as an ALLOW policy selects the workload; without any rule it lets
 * nothing through.
 */
function rbacFilters(index: MeshIndex, client: ClientView): Filter[] {
  const filters: Filter[] = []
  for (const [action, name] of [
    ['DENY', 'envoy.filters.http.rbac.DENY'],
    ['ALLOW', 'envoy.filters.http.rbac'],
  ] as const) {
    const objects = index.authorization.filter(
      ({ object, spec }) => (spec?.action ?? 'DENY') === action && isSelected(index, object, spec, client),
    )
    if (objects.length === 0) continue
    const policies: Policies = Object.assign({}, ...objects.map(({ object, spec }) => policiesOf(index, object, spec)))
    const rules = { action: RBAC_Action[action], policies: sorted(policies) }
    filters.push({ name, configType: { case: 'typedConfig', value: pack(RBACSchema, { rules }) } })
  }
  return filters
}

/** Policies of the root namespace join those of the workload's; their selectors count too. */
function isSelected(
  index: MeshIndex,
  object: StoredObject,
  spec: AuthorizationPolicySpec | undefined,
  client: ClientView,
): boolean {
  const { namespace } = object
  if (namespace !== client.namespace && namespace !== index.settings.rootNamespace) return false
  return selects(spec?.selector?.matchLabels ?? {}, client.labels)
}

/** A policy that this version cannot read denies everything it could be about: skipping it could open what it closes. */
function policiesOf(index: MeshIndex, object: StoredObject, spec: AuthorizationPolicySpec | undefined): Policies {
  const { namespace, name } = object
  const prefix = `ns[${namespace}]-policy[${name}]`
  if (spec === undefined) {
    const everything = { permissions: [{ rule: anyRule }], principals: [{ identifier: anyRule }] }
    return { [`${prefix}-unreadable`]: everything }
  }
  const { trustDomains } = index.settings
  return Object.fromEntries(
    spec.rules.map((rule, i) => [`${prefix}-rule[${i}]`, rbacPolicy(rule, { namespace, trustDomains })]),
  )
}

const anyRule = { case: 'any', value: true } as const
