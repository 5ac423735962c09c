import type { LoadReportingSpec } from '../model/cluster.ts'
import type { LoadReport } from '../model/load-report.ts'
import type { ClusterLoad, LocalityLoad, MetricSum } from '../model/load-stats.ts'
import type { HostRuntime } from './host.ts'
import { Kind, type Outcome } from './outcome.ts'

/** Counters of one locality of one priority. */
export class LocalityRow {
  readonly locality: string
  readonly priority: number
  succeeded = 0
  failed = 0
  /** Also what is neither. */
  ended = 0
  inProgress = 0
  metrics: Map<string, { count: number; total: number }> | null = null

  constructor(locality: string, priority: number) {
    this.locality = locality
    this.priority = priority
  }
}

/** Where a report has what LRS calls so, but for the tables of names. */
const singles = {
  cpu_utilization: 'cpuUtilization',
  mem_utilization: 'memUtilization',
  application_utilization: 'applicationUtilization',
} as const
const prefixes = { 'named_metrics.': 'namedMetrics', 'utilization.': 'utilization' } as const

/** Counts for LRS what becomes of the tries of one cluster; there is one where its configuration asks for it (`lrs_server`). */
export class LoadStats {
  private readonly spec: LoadReportingSpec
  private readonly rows: LocalityRow[] = []
  private dropped = 0

  /** @param hosts tries at them that are under way began before anybody counted */
  constructor(spec: LoadReportingSpec, hosts: Iterable<HostRuntime>) {
    this.spec = spec
    for (const host of hosts) this.row(host).inProgress += host.active
  }

  /** Hosts are asked for load reports. */
  get wantsMetrics(): boolean {
    return this.spec.metrics.length > 0
  }

  /** A try is over. */
  ended({ host, kind, status, grpcStatus }: Outcome): void {
    const row = this.row(host)
    row.ended++
    if (kind === Kind.Cancelled) return
    const good = kind === Kind.Response && (grpcStatus >= 0 ? grpcStatus === 0 : status < 500)
    if (good) row.succeeded++
    else row.failed++
  }

  /** A call was refused by a limit. */
  refused(): void {
    this.dropped++
  }

  /** gRFC A85: which parts of the report count is for the configuration to say; "named_metrics.*" = all of the table. */
  reported(host: HostRuntime, report: LoadReport): void {
    for (const name of this.spec.metrics) {
      const single = singles[name as keyof typeof singles]
      if (single !== undefined) {
        if (report[single] > 0) this.add(host, name, report[single])
        continue
      }
      for (const [prefix, table] of Object.entries(prefixes) as [string, 'namedMetrics' | 'utilization'][]) {
        if (!name.startsWith(prefix)) continue
        const key = name.slice(prefix.length)
        if (key === '*') for (const [metric, value] of report[table]) this.add(host, prefix + metric, value)
        else if (report[table].has(key)) this.add(host, name, report[table].get(key)!)
      }
    }
  }

  /** What was counted since the last time. @param hosts all of the cluster, also those that left with tries under way */
  take(cluster: string, hosts: Iterable<HostRuntime>): ClusterLoad {
    const now = new Map<LocalityRow, number>()
    for (const host of hosts) {
      const row = this.row(host)
      now.set(row, (now.get(row) ?? 0) + host.active)
    }
    const localities: LocalityLoad[] = []
    for (const row of this.rows) {
      const { locality, priority, succeeded, failed, ended, metrics } = row
      const inProgress = now.get(row) ?? 0
      // Nobody counts those that begin: a host that moved to another locality may make it negative.
      const issued = Math.max(0, ended + inProgress - row.inProgress)
      row.succeeded = 0
      row.failed = 0
      row.ended = 0
      row.inProgress = inProgress
      row.metrics = null
      if (issued === 0 && ended === 0 && inProgress === 0 && metrics === null) continue
      localities.push({ locality, priority, issued, succeeded, failed, inProgress, metrics: metrics ?? noMetrics })
    }
    const { dropped } = this
    this.dropped = 0
    return { cluster, serviceName: this.spec.serviceName, localities, dropped }
  }

  private add(host: HostRuntime, name: string, value: number): void {
    const row = this.row(host)
    row.metrics ??= new Map()
    const sum = row.metrics.get(name)
    if (sum === undefined) {
      if (row.metrics.size < MOST_METRICS) row.metrics.set(name, { count: 1, total: value })
      return
    }
    sum.count++
    sum.total += value
  }

  /** Kept on the host: finding it must cost nothing. */
  private row(host: HostRuntime): LocalityRow {
    const known = host.row
    const { locality, priority } = host.spec
    if (known !== null && known.locality === locality && known.priority === priority && this.rows.includes(known))
      return known
    let row = this.rows.find((r) => r.locality === locality && r.priority === priority)
    if (row === undefined) {
      row = new LocalityRow(locality, priority)
      this.rows.push(row)
    }
    host.row = row
    return row
  }
}

/** Names come from peers. */
const MOST_METRICS = 100
const noMetrics: ReadonlyMap<string, MetricSum> = new Map()
