import type { ClusterStats, UpstreamLocalityStats } from '../../src/gen/envoy/config/endpoint/v3/load_report_pb.js'

/** One locality of one cluster in the latest report of one client. */
export interface LoadRow {
  readonly nodeId: string
  /** '' on the plaintext port. */
  readonly spiffeId: string
  readonly cluster: string
  /** "region/zone/subzone"; '' = the client names none. */
  readonly locality: string
  readonly priority: number
  /** Of the interval. */
  readonly issued: number
  readonly succeeded: number
  readonly failed: number
  /** At its end. */
  readonly inProgress: number
  /** Of the whole cluster; stands in its first row. */
  readonly dropped: number
  /** ms */
  readonly intervalMs: number
  /** How old the report is, ms. */
  readonly ageMs: number
  /** Means of what hosts reported about themselves, by name. */
  readonly metrics: Readonly<Record<string, number>>
}

/** Which client reports. */
export interface Reporter {
  readonly nodeId: string
  readonly spiffeId: string
}

interface Report {
  readonly at: number
  readonly rows: readonly Omit<LoadRow, 'ageMs' | 'nodeId' | 'spiffeId'>[]
}

/** What one client may have kept, so that none fills the memory. */
const MAX_CLUSTERS = 5_000
const MAX_LOCALITIES = 100
const MAX_METRICS = 50
const MAX_NAME = 512

/** The latest report of each client that is connected, by cluster; nothing of it is stored. */
export class LoadTable {
  readonly #clients = new Map<object, { reporter: Reporter; clusters: Map<string, Report> }>()

  /** Takes what a stream reports until the function that comes back says that it ended. @param stream any object */
  open(stream: object, reporter: Reporter): () => void {
    this.#clients.set(stream, { reporter, clusters: new Map() })
    return () => this.#clients.delete(stream)
  }

  add(stream: object, stats: readonly ClusterStats[], now: number): void {
    const client = this.#clients.get(stream)
    if (client === undefined) return
    for (const one of stats) {
      const key = one.clusterName.slice(0, MAX_NAME)
      if (!client.clusters.has(key) && client.clusters.size >= MAX_CLUSTERS) continue
      client.clusters.set(key, { at: now, rows: rowsOf(key, one) })
    }
  }

  /** @param cluster text that the name of the cluster contains; undefined = all */
  list(now: number, cluster?: string): LoadRow[] {
    const found: LoadRow[] = []
    for (const { reporter, clusters } of this.#clients.values())
      for (const [name, { at, rows }] of clusters)
        if (cluster === undefined || name.includes(cluster))
          for (const row of rows) found.push({ ...reporter, ...row, ageMs: now - at })
    return found
  }
}

function rowsOf(cluster: string, stats: ClusterStats): Report['rows'] {
  const { seconds = 0n, nanos = 0 } = stats.loadReportInterval ?? {}
  const intervalMs = Math.round(Number(seconds) * 1_000 + nanos / 1e6)
  const dropped = Number(stats.totalDroppedRequests)
  const none = { cluster, locality: '', priority: 0, issued: 0, succeeded: 0, failed: 0, inProgress: 0 }
  const rows = stats.upstreamLocalityStats.slice(0, MAX_LOCALITIES).map((locality) => rowOf(cluster, locality))
  if (rows.length === 0) rows.push({ ...none, metrics: {} })
  return rows.map((row, i) => ({ ...row, intervalMs, dropped: i === 0 ? dropped : 0 }))
}

function rowOf(cluster: string, stats: UpstreamLocalityStats) {
  const { region = '', zone = '', subZone = '' } = stats.locality ?? {}
  const metrics: Record<string, number> = {}
  const named = stats.loadMetricStats.slice(0, MAX_METRICS).map((m) => [m.metricName.slice(0, MAX_NAME), m] as const)
  const unnamed = { cpu: stats.cpuUtilization, mem: stats.memUtilization, application: stats.applicationUtilization }
  for (const [name, metric] of [...Object.entries(unnamed), ...named])
    if (metric !== undefined && metric.numRequestsFinishedWithMetric > 0n)
      Object.defineProperty(metrics, name, {
        value: metric.totalMetricValue / Number(metric.numRequestsFinishedWithMetric),
        enumerable: true,
        configurable: true,
      })
  return {
    cluster,
    locality: [region, zone, subZone].join('/').replace(/\/+$/, '').slice(0, MAX_NAME),
    priority: stats.priority,
    issued: Number(stats.totalIssuedRequests),
    succeeded: Number(stats.totalSuccessfulRequests),
    failed: Number(stats.totalErrorRequests),
    inProgress: Number(stats.totalRequestsInProgress),
    metrics,
  }
}
