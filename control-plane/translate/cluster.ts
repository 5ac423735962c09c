import type { MessageInitShape } from '@bufbuild/protobuf'
import type { CircuitBreakersSchema } from '../../src/gen/envoy/config/cluster/v3/circuit_breaker_pb.js'
import {
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  ClusterSchema,
} from '../../src/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterPolicySchema } from '../../src/gen/inmesh/v1/extensions_pb.js'
import { clusterName, MetadataKey, PASSTHROUGH_CLUSTER, TRUST_BUNDLE_SECRET, TypeUrl } from '../../src/xds/proto.ts'
import type { ServicePolicySpec } from '../resources/service-policy.ts'
import type { PolicyBlocks } from '../resources/traffic-policy.ts'
import { isForeign, reportsLoad } from './class.ts'
import type { Declared } from './declared.ts'
import { type Built, duration, encode, pack, sorted } from './encode.ts'
import { localities, selectedTargets, speaksGrpc, type Target } from './endpoints.ts'
import { httpOptions } from './http-options.ts'
import { chosenBalancer, loadBalancing, ownBalancer } from './load-balancing.ts'
import { distribution, localitySetting } from './localities.ts'
import { type EffectivePolicy, effectivePolicy, mergedRule } from './merge.ts'
import type { MeshIndex } from './mesh-index.ts'
import { outliers } from './outlier.ts'
import { errorRateBreaker, healthChecks } from './service-policy.ts'
import { ads } from './tls.ts'
import { transport } from './transport.ts'
import type { ClientView } from './types.ts'

/** To whoever the cluster comes from. */
const loadReporting: Pick<MessageInitShape<typeof ClusterSchema>, 'lrsServer'> = {
  lrsServer: { configSourceSpecifier: { case: 'self', value: {} } },
}

const unlimited = 4_294_967_295

/** Defaults of services that register themselves (ms). */
const registered = { connectTimeout: 1_000, idleTimeout: 300_000, balancer: 'ROUND_ROBIN' } as const
/** Istio's, for services that a ServiceEntry declares. */
const declaredDefaults = { connectTimeout: 10_000, idleTimeout: 3_600_000, balancer: 'LEAST_REQUEST' } as const

function defaultsOf(declared: Declared | null) {
  return declared === null ? registered : declaredDefaults
}

/** CDS: how the endpoints of a service, or of one of its subsets, are used. */
export function cluster(index: MeshIndex, host: string, subset: string, port: number, client: ClientView): Built {
  const name = clusterName(port, subset, host)
  const foreign = isForeign(client.clientClass)
  const policy = effectivePolicy(mergedRule(index, host, client), subset, port)
  const { blocks } = policy
  const declared = index.services.get(host)?.declared ?? null
  const defaults = defaultsOf(declared)
  const own: Partial<ServicePolicySpec> = index.servicePolicy(host)?.spec ?? {}
  const weighted = distribution(localitySetting(blocks, index.settings), client.locality) !== undefined
  if (chosenBalancer(blocks.loadBalancer, own.loadBalancer, defaults.balancer) === 'PASSTHROUGH' && !foreign)
    return originalDestination(name)
  const targets = selectedTargets(index, host, subset, port, client)
  const named = declared?.rule.spec.subjectAltNames ?? []
  const spiffeIds = named.length > 0 ? named : targets.map((target) => target.spiffeId)
  const external = declared?.rule.spec.location === 'MESH_EXTERNAL'
  const tls =
    external && blocks.tls === undefined
      ? { fields: {}, mesh: false }
      : transport(index.settings, host, blocks.tls, spiffeIds, client.clientClass)
  const discovery = discoveryFor(declared, targets, foreign)
  const inline = discovery !== 'eds'
  const resource = encode(TypeUrl.cluster, name, ClusterSchema, {
    name,
    ...(inline
      ? {
          clusterDiscoveryType: {
            case: 'type' as const,
            value: discovery === 'logical-dns' ? Cluster_DiscoveryType.LOGICAL_DNS : Cluster_DiscoveryType.STRICT_DNS,
          },
          loadAssignment: { clusterName: name, endpoints: localities(index, host, subset, port, targets, client) },
          ...(index.settings.dnsRefreshMs === undefined
            ? {}
            : { dnsRefreshRate: duration(index.settings.dnsRefreshMs) }),
        }
      : {
          clusterDiscoveryType: { case: 'type' as const, value: Cluster_DiscoveryType.EDS },
          edsClusterConfig: { edsConfig: ads, serviceName: name },
        }),
    connectTimeout: duration(
      blocks.connectionPool?.tcp?.connectTimeout ?? index.settings.connectTimeoutMs ?? defaults.connectTimeout,
    ),
    ...loadBalancing(blocks.loadBalancer, own, defaults.balancer, foreign, weighted),
    commonLbConfig: commonLbConfig(blocks, weighted),
    circuitBreakers: circuitBreakers(blocks, foreign),
    ...(reportsLoad(client, index.settings.loadReports === true) ? loadReporting : {}),
    ...outliers(blocks.outlierDetection, index.servicePolicy(host)?.spec, foreign),
    ...tls.fields,
    ...(foreign
      ? {}
      : {
          healthChecks: healthChecks(index.servicePolicy(host)?.spec),
          ...forInmesh(index, host, port, policy, client),
        }),
  })
  return {
    resource,
    references: [
      ...(inline ? [] : [{ typeUrl: TypeUrl.endpoints, name }]),
      ...(tls.mesh && !foreign ? [{ typeUrl: TypeUrl.secret, name: TRUST_BUNDLE_SECRET }] : []),
    ],
  }
}

/**
 * gRPC resolves one name at most (LOGICAL_DNS, gRFC A37); of several it gets the addresses among them, by EDS.
 * `passthrough` has clusters of other names.
 */
function discoveryFor(declared: Declared | null, targets: readonly Target[], foreign: boolean) {
  const discovery = declared?.discovery ?? 'eds'
  if (!foreign || discovery === 'eds') return discovery
  return targets.length === 1 ? 'logical-dns' : 'eds'
}

/** Stands for "the address that the caller named". */
export function passthroughCluster(): Built {
  return originalDestination(PASSTHROUGH_CLUSTER)
}

function originalDestination(name: string): Built {
  const resource = encode(TypeUrl.cluster, name, ClusterSchema, {
    name,
    clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.ORIGINAL_DST },
    connectTimeout: duration(10_000),
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
  })
  return { resource, references: [] }
}

/** Unhealthy endpoints are never used, not even when no other is left, unless a rule says so. */
function commonLbConfig(blocks: PolicyBlocks, weighted: boolean) {
  return {
    healthyPanicThreshold: { value: blocks.outlierDetection?.minHealthPercent ?? 0 },
    ...(weighted ? { localityConfigSpecifier: { case: 'localityWeightedLbConfig' as const, value: {} } } : {}),
  }
}

/** Istio's defaults: no limits. What is not sent would be Envoy's 1024 and 3. 0 = unset. */
function circuitBreakers(
  { connectionPool, retryBudget }: PolicyBlocks,
  foreign: boolean,
): MessageInitShape<typeof CircuitBreakersSchema> {
  const maxRequests = connectionPool?.http?.http2MaxRequests || unlimited
  if (foreign) return { thresholds: [{ maxRequests }] }
  return {
    thresholds: [
      {
        maxConnections: connectionPool?.tcp?.maxConnections || unlimited,
        maxPendingRequests: connectionPool?.http?.http1MaxPendingRequests || unlimited,
        maxRequests,
        maxRetries: connectionPool?.http?.maxRetries || unlimited,
        ...(retryBudget === undefined
          ? {}
          : {
              retryBudget: {
                budgetPercent: { value: retryBudget.percent },
                minRetryConcurrency: retryBudget.minRetryConcurrency,
              },
            }),
      },
    ],
  }
}

/** What only our data plane reads. */
function forInmesh(index: MeshIndex, host: string, port: number, policy: EffectivePolicy, client: ClientView) {
  const defaults = defaultsOf(index.services.get(host)?.declared ?? null)
  // What speaks nothing else is spoken to in no other way, whatever a rule says.
  const grpc = speaksGrpc(index, host, port, client)
  const { isHttp2, name } = grpc ? { isHttp2: true, name: undefined } : protocolOf(index, host, port, policy)
  return {
    ...httpOptions(policy.blocks.connectionPool, isHttp2, defaults.idleTimeout),
    metadata: { typedFilterMetadata: { [MetadataKey.cluster]: clusterPolicy(index, host, policy, name) } },
  }
}

/** HTTP/2 or not, and which object says so: a DestinationRule, a ServicePolicy, the port's own protocol, MeshConfig. */
function protocolOf(index: MeshIndex, host: string, port: number, { blocks, decidedBy }: EffectivePolicy) {
  const { h2Upgrade, meshConfig } = index.settings
  const upgrade = blocks.connectionPool?.http?.h2UpgradePolicy ?? 'DEFAULT'
  if (upgrade !== 'DEFAULT') return { isHttp2: upgrade === 'UPGRADE', name: decidedBy.connectionPool }
  const policy = index.servicePolicy(host)
  if (policy?.spec.http2 !== undefined) return { isHttp2: policy.spec.http2, name: policy.name }
  const entry = index.services.get(host)?.declared?.rule
  const protocol = entry?.spec.ports.find(({ number }) => number === port)?.protocol
  if (protocol === 'HTTP2' || protocol === 'GRPC') return { isHttp2: true, name: entry?.name }
  return { isHttp2: h2Upgrade, name: h2Upgrade ? meshConfig : undefined }
}

function clusterPolicy(index: MeshIndex, host: string, policy: EffectivePolicy, protocolBy: string | undefined) {
  const { blocks } = policy
  const spec = index.servicePolicy(host)?.spec
  const { breakerScope = 'service', retryBudgetPercent = 20 } = spec ?? {}
  const declared = index.services.get(host)?.declared ?? null
  const balancer = chosenBalancer(blocks.loadBalancer, spec?.loadBalancer, defaultsOf(declared).balancer)
  // A declared service has a breaker where its ServicePolicy asks for one.
  const breaks = declared === null || spec?.cbThreshold !== undefined || spec?.cbWindowSec !== undefined
  return pack(ClusterPolicySchema, {
    ...(breakerScope === 'service' && breaks ? { errorRateBreaker: errorRateBreaker(spec) } : {}),
    balancer: ownBalancer(balancer),
    retryBudget: {
      percent: retryBudgetPercent,
      window: duration(10_000),
      floorPerSecond: retryFloor(index.instances),
    },
    decidedBy: sorted(decidedBy(index, host, policy, protocolBy)),
    outlierErrorStatuses: blocks.outlierDetection?.outlierDetectionHttpErrorCodes ?? [],
  })
}

/** Which object decided each part: a DestinationRule, else a ServicePolicy, else MeshConfig. */
function decidedBy(
  index: MeshIndex,
  host: string,
  { blocks, decidedBy: byRules }: EffectivePolicy,
  protocolBy: string | undefined,
) {
  const rule = index.servicePolicy(host)
  const { spec, name = '' } = rule ?? {}
  const { connectTimeoutMs, localityLb, meshConfig = '' } = index.settings
  const { loadBalancer, connectionPool } = blocks
  const says = (part: keyof ServicePolicySpec) => spec?.[part] !== undefined
  const { loadBalancer: byRule, ...others } = byRules
  const chosen = loadBalancer?.consistentHash !== undefined || (loadBalancer?.simple ?? 'UNSPECIFIED') !== 'UNSPECIFIED'
  const parts: Readonly<Record<string, string | undefined>> = {
    ...others,
    loadBalancer: chosen ? byRule : says('loadBalancer') ? name : undefined,
    healthCheck: says('healthCheck') ? name : undefined,
    protocol: protocolBy,
    retryBudget: byRules.retryBudget ?? (says('retryBudgetPercent') ? name : undefined),
    breaker: says('cbThreshold') || says('breakerScope') ? name : undefined,
    connectTimeout:
      connectionPool?.tcp?.connectTimeout === undefined && connectTimeoutMs !== undefined ? meshConfig : undefined,
    locality:
      loadBalancer?.localityLbSetting !== undefined ? byRule : localityLb !== undefined ? meshConfig : undefined,
  }
  return Object.fromEntries(
    Object.entries(parts).filter((part): part is [string, string] => part[1] !== undefined && part[1] !== ''),
  )
}

/**
 * Retries per second that each process may always make: 10 for all of them together, but at least one in 10 s. In steps
 * of four, so that a process more or less seldom changes every cluster.
 */
export function retryFloor(instances: number): number {
  const processes = 4 ** Math.ceil(Math.log2(Math.max(1, instances)) / 2)
  return Math.max(0.1, 10 / processes)
}
