import type { WeightedRoundRobinSpec } from '../model/cluster.ts'
import type { LoadReport } from '../model/load-report.ts'

/** What the load reports of one host say it can take (gRFC A58). */
export class HostLoad {
  private weight = 0
  /** Monotonic ms of the first report since when they came regularly; Infinity = none did. */
  private since = Number.POSITIVE_INFINITY
  private latest = Number.NEGATIVE_INFINITY

  /** A report without rate or utilization says nothing about what the host could take. */
  report({ qps, eps, applicationUtilization, cpuUtilization }: LoadReport, errorPenalty: number, now: number): void {
    const utilization = applicationUtilization > 0 ? applicationUtilization : cpuUtilization
    if (!(qps > 0 && utilization > 0)) return
    const weight = qps / (utilization + (eps / qps) * errorPenalty)
    if (!(weight > 0 && weight < Number.POSITIVE_INFINITY)) return
    this.weight = weight
    this.latest = now
    if (this.since === Number.POSITIVE_INFINITY) this.since = now
  }

  /** What it said last, whether that counts or not; 0 = nothing. */
  get latestWeight(): number {
    return this.weight
  }

  /** 0 = not known: it did not report for long enough, or not of late. */
  weightAt({ blackoutMs, expirationMs }: WeightedRoundRobinSpec, now: number): number {
    if (now - this.latest >= expirationMs) {
      // What comes later begins anew.
      this.restart()
      return 0
    }
    return now - this.since < blackoutMs ? 0 : this.weight
  }

  /** It may be another process now: what it said before does not count. */
  restart(): void {
    this.weight = 0
    this.since = Number.POSITIVE_INFINITY
    this.latest = Number.NEGATIVE_INFINITY
  }
}
