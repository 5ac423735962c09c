import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import type { NodeSchema } from '../../gen/envoy/config/core/v3/base_pb.js'
import type {
  ClusterStatsSchema,
  UpstreamLocalityStatsSchema,
} from '../../gen/envoy/config/endpoint/v3/load_report_pb.js'
import { LoadStatsRequestSchema, LoadStatsResponseSchema } from '../../gen/envoy/service/load_stats/v3/lrs_pb.js'
import type { ClusterLoad, LocalityLoad, MetricSum } from '../../model/load-stats.ts'

type NodeInit = MessageInitShape<typeof NodeSchema>

/** Of a client that can be asked for all of its clusters at once (LoadStatsResponse.send_all_clusters). */
const ALL_CLUSTERS_FEATURE = 'envoy.lrs.supports_send_all_clusters'

/** The first message of a stream: who we are, and nothing to report yet. */
export function helloMessage(node: NodeInit): Uint8Array {
  const clientFeatures = [...(node.clientFeatures ?? []), ALL_CLUSTERS_FEATURE]
  return toBinary(LoadStatsRequestSchema, create(LoadStatsRequestSchema, { node: { ...node, clientFeatures } }))
}

/** @param intervalMs what was counted was counted within so many ms */
export function reportMessage(loads: readonly ClusterLoad[], intervalMs: number): Uint8Array {
  const clusterStats = loads.map((load) => clusterStatsOf(load, intervalMs))
  return toBinary(LoadStatsRequestSchema, create(LoadStatsRequestSchema, { clusterStats }))
}

/** What the server asks for. */
export interface LoadOrder {
  /** null = all. */
  readonly clusters: ReadonlySet<string> | null
  readonly intervalMs: number
}

/** Reports more often than this cost more than they tell (gRPC's least interval), ms. */
const LEAST_INTERVAL = 1_000

/** @returns why it is none, in words */
export function readOrder(bytes: Uint8Array): LoadOrder | string {
  try {
    const { clusters, sendAllClusters, loadReportingInterval } = fromBinary(LoadStatsResponseSchema, bytes)
    const { seconds = 0n, nanos = 0 } = loadReportingInterval ?? {}
    const ms = Number(seconds) * 1_000 + nanos / 1e6
    return {
      clusters: sendAllClusters ? null : new Set(clusters),
      intervalMs: Math.max(LEAST_INTERVAL, Math.min(ms, 86_400_000)),
    }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function clusterStatsOf(load: ClusterLoad, intervalMs: number): MessageInitShape<typeof ClusterStatsSchema> {
  return {
    clusterName: load.cluster,
    clusterServiceName: load.serviceName,
    upstreamLocalityStats: load.localities.map(localityStatsOf),
    totalDroppedRequests: BigInt(load.dropped),
    loadReportInterval: durationFromMs(Math.round(intervalMs)),
  }
}

function localityStatsOf(load: LocalityLoad): MessageInitShape<typeof UpstreamLocalityStatsSchema> {
  const [region = '', zone = '', ...subZone] = load.locality.split('/')
  const { cpu_utilization, mem_utilization, application_utilization, ...named } = Object.fromEntries(load.metrics)
  return {
    locality: { region, zone, subZone: subZone.join('/') },
    priority: load.priority,
    totalIssuedRequests: BigInt(load.issued),
    totalSuccessfulRequests: BigInt(load.succeeded),
    totalErrorRequests: BigInt(load.failed),
    totalRequestsInProgress: BigInt(load.inProgress),
    ...{ cpuUtilization: sumOf(cpu_utilization), memUtilization: sumOf(mem_utilization) },
    applicationUtilization: sumOf(application_utilization),
    // A metric of a table is called by its own name (gRFC A85).
    loadMetricStats: Object.entries(named).map(([name, { count, total }]) => ({
      metricName: name.replace(/^named_metrics\./, ''),
      numRequestsFinishedWithMetric: BigInt(count),
      totalMetricValue: total,
    })),
  }
}

function sumOf(sum: MetricSum | undefined) {
  return sum && { numRequestsFinishedWithMetric: BigInt(sum.count), totalMetricValue: sum.total }
}
