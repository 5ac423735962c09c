import type { Call } from '../engine/call.ts'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { CallEvents } from '../engine/events.ts'
import type { Exchange } from '../engine/exchange.ts'
import type { EndpointSpec } from '../model/cluster.ts'
import { type Logger, silentLogger } from '../model/logger.ts'
import type { Metrics } from './metrics.ts'
import { withoutQuery } from './semantics.ts'
import type { Protocol, RequestSeries } from './series.ts'

/** What a cluster counts into; looked up once per call. */
interface ClusterSeries {
  /** Calls that never got to a host. */
  readonly hostless: RequestSeries
  /** By what the endpoint's configuration says; endpoints with equal labels share a series. */
  readonly byEndpoint: WeakMap<EndpointSpec, RequestSeries>
  readonly retries: { count: number }
}

type ByCluster = WeakMap<ClusterRuntime, ClusterSeries>

/** Counts every call of the engine as its client sees it: one request, however many attempts; its last host is the destination. */
export function callMetrics(
  metrics: Metrics,
  logger: Logger = silentLogger,
): Required<Pick<CallEvents, 'callEnd' | 'localReply' | 'mirrored'>> {
  const clusters: Record<Protocol, ByCluster> = { http: new WeakMap(), grpc: new WeakMap() }
  const unknown = { service: '', serviceName: '', namespace: '', principal: '', app: '', version: '' }
  const nowhere = { http: metrics.outbound(unknown), grpc: metrics.outbound(unknown, 'grpc') }

  const seriesOf = (cluster: ClusterRuntime, protocol: Protocol): ClusterSeries => {
    let series = clusters[protocol].get(cluster)
    if (series === undefined) {
      const to = destination(cluster.name)
      series = {
        hostless: metrics.outbound({ ...to, principal: '', app: '', version: '' }, protocol),
        byEndpoint: new WeakMap(),
        retries: metrics.retriesTo(to.service),
      }
      clusters[protocol].set(cluster, series)
    }
    return series
  }

  const seriesAt = (cluster: ClusterRuntime, endpoint: EndpointSpec, protocol: Protocol): RequestSeries => {
    const { byEndpoint } = seriesOf(cluster, protocol)
    let series = byEndpoint.get(endpoint)
    if (series === undefined) {
      const { app = '', version = '' } = endpoint.labels
      const to = { ...destination(cluster.name), principal: endpoint.spiffeId ?? '', app, version }
      series = metrics.outbound(to, protocol)
      byEndpoint.set(endpoint, series)
    }
    return series
  }

  return {
    callEnd(call, now) {
      // Counted as what it is, by `mirrored`.
      if (call.route.shadow) return
      const { cluster } = call
      const last = call.winner ?? call.latest
      const protocol = call.exchange.protocol ?? 'http'
      const series = last === null ? seriesOf(cluster, protocol).hostless : seriesAt(cluster, last.host.spec, protocol)
      const code = protocol === 'http' ? call.status : grpcStatusOfCall(call)
      series.record(code, call.flag === '-' ? '' : call.flag, now - call.startedAt)
      if (call.attempts > 1) seriesOf(cluster, protocol).retries.count += call.attempts - 1
    },
    mirrored({ call, cluster, result, status, differences }) {
      if (differences !== null && differences.length > 0) {
        const { method, authority, path } = call.exchange
        // Without the query: it may hold secrets.
        const request = `${method} ${authority}${withoutQuery(path)}`
        const [real, shadow] = [call.status, status]
        logger.debug('the answer of a mirror differs', { request, mirror: cluster, differences, real, shadow })
      }
      const compared = differences === null ? null : differences.length === 0 ? 'same' : 'different'
      metrics.mirrored(destination(cluster).service, result, compared)
    },
    localReply(request, target) {
      const { status, grpcStatus, flag } = target.rejection
      const protocol = (request as Partial<Exchange>).protocol ?? 'http'
      // Not by authority: whatever an app dials would become a label.
      nowhere[protocol].record(protocol === 'http' ? status : grpcStatus, flag === '-' ? '' : flag, 0)
    },
  }
}

/** The status of gRPC that its caller got: the peer's, or that of a local answer; 2 (UNKNOWN) where nobody said any. */
export function grpcStatusOfCall(call: Call): number {
  const status = call.rejection?.grpcStatus ?? call.winner?.grpcStatus ?? -1
  return status < 0 ? 2 : status
}

/** `outbound|80|v1|payments.shop.svc.cluster.local` names service, short name and namespace. */
function destination(clusterName: string): { service: string; serviceName: string; namespace: string } {
  const host = clusterName.startsWith('outbound|') ? (clusterName.split('|')[3] ?? '') : clusterName
  const [serviceName = '', namespace = '', svc] = host.split('.')
  return svc === 'svc' ? { service: host, serviceName, namespace } : { service: host, serviceName: host, namespace: '' }
}
