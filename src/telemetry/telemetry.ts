import { type CallEvents, joinEvents } from '../engine/events.ts'
import type { Clock } from '../model/clock.ts'
import { type Logger, silentLogger } from '../model/logger.ts'
import type { WorkloadInfo } from '../model/workload.ts'
import { callMetrics } from './call-metrics.ts'
import { clientTracing } from './client-tracing.ts'
import { createExposition, type ScrapeText } from './exposition.ts'
import { type MetricSources, Metrics } from './metrics.ts'
import { createServerTelemetry, type ServerTelemetry } from './server-telemetry.ts'

/** The telemetry of one process in the mesh. */
export interface Telemetry {
  readonly metrics: Metrics
  /** For the engine: counts calls and carries their traces. */
  readonly events: CallEvents
  /** For servers. */
  readonly server: ServerTelemetry
  /** For /metrics. */
  scrape(): Promise<ScrapeText>
  close(): void
}

export interface TelemetryOptions {
  readonly workload: WorkloadInfo
  readonly clock: Clock
  /** State that metrics show at a scrape. */
  readonly sources: MetricSources
  /** Where differences between answers and those of their mirrors go, at level debug. Default: nowhere. */
  readonly logger?: Logger
  /** Others who listen to calls. */
  readonly listeners?: readonly CallEvents[]
}

/** Puts the parts of src/telemetry together. Nothing runs, listens or waits until it is asked. */
export function createTelemetry({
  workload,
  clock,
  sources,
  logger = silentLogger,
  listeners = [],
}: TelemetryOptions): Telemetry {
  const metrics = new Metrics(workload, sources)
  // One object rather than two in a list: tracing has the start and the attempts, metrics have the end.
  const own: CallEvents = { ...clientTracing, ...callMetrics(metrics, logger) }
  return {
    metrics,
    events: joinEvents([own, ...listeners]) ?? own,
    server: createServerTelemetry(metrics, clock),
    scrape: createExposition(metrics.families),
    close: () => metrics.close(),
  }
}
