import type { Cluster } from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import type { LoadReportingSpec } from '../../model/cluster.ts'
import { snake } from './config-source.ts'
import type { Field } from './field.ts'

/** gRFC A27: load is reported to the server that the cluster came from, and nowhere else. A64 and A85: what of hosts' reports. */
export function loadReporting(field: Field, message: Cluster, edsName: string | null): LoadReportingSpec | null {
  const { lrsServer, lrsReportEndpointMetrics: metrics } = message
  if (lrsServer === undefined) {
    if (metrics.length > 0) field.at('lrs_report_endpoint_metrics').warn('has no effect without lrs_server')
    return null
  }
  const kind = lrsServer.configSourceSpecifier.case
  if (kind !== 'self') field.at('lrs_server').fail(`must be self, is ${kind === undefined ? 'missing' : snake(kind)}`)
  for (const [i, metric] of metrics.entries())
    if (!known.test(metric)) field.at('lrs_report_endpoint_metrics').index(i).warn(`"${metric}" is not known`)
  return { serviceName: edsName ?? '', metrics: metrics.filter((metric) => known.test(metric)) }
}

const known = /^(cpu_utilization|mem_utilization|application_utilization|named_metrics\..+|utilization\..+)$/
