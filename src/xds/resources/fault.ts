import { type HTTPFault, HTTPFaultSchema } from '../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import type { FaultAbort, FaultDelay, FaultSpec } from '../../model/route.ts'
import { positiveMs } from './duration.ts'
import { type Field, names } from './field.ts'
import { headerMatch } from './matchers.ts'
import { perMillion } from './percent.ts'

// Names of runtime keys and of statistics: there is neither runtime nor a second name for a metric here.
const fields = names(`delay abort headers max_active_faults upstream_cluster downstream_nodes delay_percent_runtime
  abort_percent_runtime delay_duration_runtime abort_http_status_runtime max_active_faults_runtime
  response_rate_limit_percent_runtime abort_grpc_status_runtime disable_downstream_cluster_stats filter_metadata`)

/** envoy.extensions.filters.http.fault.v3.HTTPFault (gRFC A33). An absent percentage is 0, so nothing happens. */
export function faultSpec(field: Field, fault: HTTPFault): FaultSpec {
  field.onlyReads(HTTPFaultSchema, fault, fields)
  if (fault.responseRateLimit !== undefined) field.at('response_rate_limit').fail('not supported')
  if (fault.upstreamCluster !== '') field.at('upstream_cluster').fail('not supported: put the fault on the route')
  if (fault.downstreamNodes.length > 0) field.at('downstream_nodes').fail('not supported')
  return {
    delay: delay(field.at('delay'), fault.delay),
    abort: abort(field.at('abort'), fault.abort),
    headers: field.at('headers').map(fault.headers, (h, at) => headerMatch(at, h)),
    maxActive: fault.maxActiveFaults ?? Number.POSITIVE_INFINITY,
  }
}

function delay(field: Field, wire: HTTPFault['delay']): FaultDelay | null {
  if (wire === undefined) return null
  const share = wire.percentage === undefined ? 0 : perMillion(field.at('percentage'), wire.percentage)
  switch (wire.faultDelaySecifier.case) {
    case 'fixedDelay':
      return { ms: positiveMs(field.at('fixed_delay'), wire.faultDelaySecifier.value, 0), perMillion: share }
    case 'headerDelay':
      return { ms: null, perMillion: share }
    default:
      return field.fail('needs fixed_delay or header_delay')
  }
}

function abort(field: Field, wire: HTTPFault['abort']): FaultAbort | null {
  if (wire === undefined) return null
  const share = wire.percentage === undefined ? 0 : perMillion(field.at('percentage'), wire.percentage)
  const { errorType } = wire
  switch (errorType.case) {
    case 'httpStatus':
      if (errorType.value < 200 || errorType.value > 599)
        field.at('http_status').fail(`must be between 200 and 599, is ${errorType.value}`)
      return { perMillion: share, how: { kind: 'http', status: errorType.value } }
    case 'grpcStatus':
      if (errorType.value > 16) field.at('grpc_status').fail(`must be between 0 and 16, is ${errorType.value}`)
      return { perMillion: share, how: { kind: 'grpc', code: errorType.value } }
    case 'headerAbort':
      return { perMillion: share, how: { kind: 'header' } }
    default:
      return field.fail('needs http_status, grpc_status or header_abort')
  }
}
