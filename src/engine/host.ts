import type { EndpointSpec } from '../model/cluster.ts'
import type { OutlierHostState } from './outlier.ts'

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
  /** It left the cluster; kept while attempts are in flight. */
  gone = false
  http: HostLink | null = null
  grpc: HostLink | null = null
  /** Outlier detection's counters. */
  outlier: OutlierHostState = { consecutive5xx: 0, consecutiveGateway: 0, ejections: 0 }
  constructor(spec: EndpointSpec) {
    this.address = addressOf(spec)
    this.spec = spec
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
