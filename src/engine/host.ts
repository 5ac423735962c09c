import type { EndpointSpec } from '../model/cluster.ts'
import type { HostLoad } from './host-load.ts'
import type { LocalityRow } from './load-stats.ts'
import type { OutlierHostState } from './outlier-state.ts'
import { outlierHostState } from './outlier-state.ts'

/** A transport's connections to one host, opened lazily. */
export interface HostLink {
  /** No more calls will come; end what is idle. */
  retire(): void
}

/** One endpoint of one cluster as it lives in this process; outlives snapshots, kept by address. */
export class HostRuntime {
  readonly address: string
  /** The latest description; replaced, never edited. */
  spec: EndpointSpec
  /** Attempts in flight. */
  active = 0
  /** Monotonic ms until which outlier detection keeps it out; 0 = it is in. */
  ejectedUntil = 0
  /** Active health checks say that it is not well. False until the first check. */
  checkFailed = false
  /** Monotonic ms until which it is taken only when nobody else is there: it refused connections. */
  backedOffUntil = 0
  /** Connections in a row that failed. */
  refusals = 0
  /** Monotonic ms since when it may be picked: it joined, or came back. For slow start. */
  healthySince = 0
  /** Moving average, ms; 0 = it never answered. For PEAK_EWMA. */
  latencyMs = 0
  /** When `latencyMs` was as it says. */
  latencyAt = 0
  /** What it says about its load; null = it never did, or nobody wants to know. */
  load: HostLoad | null = null
  /** Where what becomes of its tries is counted; null = nowhere yet. */
  row: LocalityRow | null = null
  /** It left the cluster; kept while attempts are in flight. */
  gone = false
  http: HostLink | null = null
  grpc: HostLink | null = null
  /** Outlier detection's counters. */
  readonly outlier: OutlierHostState = outlierHostState()
  constructor(spec: EndpointSpec, now = 0) {
    this.address = addressOf(spec)
    this.spec = spec
    this.healthySince = now
  }
  retireLinks(): void {
    this.http?.retire()
    this.grpc?.retire()
    this.http = null
    this.grpc = null
  }
}

export function addressOf(spec: EndpointSpec): string {
  return `${spec.address}|${spec.port}`
}

/** Healthy as far as anybody knows: its registry, outlier detection, health checks. */
export function isFit(host: HostRuntime): boolean {
  return host.spec.health === 'HEALTHY' && host.ejectedUntil === 0 && !host.checkFailed && !host.gone
}
