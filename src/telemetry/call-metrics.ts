import type { ClusterRuntime } from '../engine/cluster.ts'
import type { CallEvents } from '../engine/events.ts'
import type { EndpointSpec } from '../model/cluster.ts'
import { type Logger, silentLogger } from '../model/logger.ts'
import type { Metrics } from './metrics.ts'
import { withoutQuery } from './semantics.ts'
import type { RequestSeries } from './series.ts'

/** What a cluster counts into; looked up once per call. */
interface ClusterSeries {
  /** Calls that never got to a host. */
  readonly hostless: RequestSeries
  /** By what the endpoint's configuration says; endpoints with equal labels share a series. */
  readonly byEndpoint: WeakMap<EndpointSpec, RequestSeries>
  readonly retries: { count: number }
}

/** Counts every call of the engine as its client sees it: one request, however many attempts; its last host is the destination. */
export function callMetrics(
  metrics: Metrics,
  logger: Logger = silentLogger,
): Required<Pick<CallEvents, 'callEnd' | 'localReply' | 'mirrored'>> {
  const clusters = new WeakMap<ClusterRuntime, ClusterSeries>()
  const nowhere = metrics.outbound({ service: '', serviceName: '', namespace: '', principal: '', app: '', version: '' })

  const seriesOf = (cluster: ClusterRuntime): ClusterSeries => {
    let series = clusters.get(cluster)
    if (series === undefined) {
      const to = destination(cluster.name)
      series = {
        hostless: metrics.outbound({ ...to, principal: '', app: '', version: '' }),
        byEndpoint: new WeakMap(),
        retries: metrics.retriesTo(to.service),
      }
      clusters.set(cluster, series)
    }
    return series
  }

  const seriesAt = (cluster: ClusterRuntime, endpoint: EndpointSpec): RequestSeries => {
    const { byEndpoint } = seriesOf(cluster)
    let series = byEndpoint.get(endpoint)
    if (series === undefined) {
      const { app = '', version = '' } = endpoint.labels
      series = metrics.outbound({ ...destination(cluster.name), principal: endpoint.spiffeId ?? '', app, version })
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
      const series = last === null ? seriesOf(cluster).hostless : seriesAt(cluster, last.host.spec)
      series.record(call.status, call.flag === '-' ? '' : call.flag, now - call.startedAt)
      if (call.attempts > 1) seriesOf(cluster).retries.count += call.attempts - 1
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
    localReply(_request, target) {
      const { status, flag } = target.rejection
      // Not by authority: whatever an app dials would become a label.
      nowhere.record(status, flag === '-' ? '' : flag, 0)
    },
  }
}

/** `outbound|80|v1|payments.shop.svc.cluster.local` names service, short name and namespace. */
function destination(clusterName: string): { service: string; serviceName: string; namespace: string } {
  const host = clusterName.startsWith('outbound|') ? (clusterName.split('|')[3] ?? '') : clusterName
  const [serviceName = '', namespace = '', svc] = host.split('.')
  return svc === 'svc' ? { service: host, serviceName, namespace } : { service: host, serviceName: host, namespace: '' }
}
