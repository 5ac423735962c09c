import { RequestMethod } from '../../gen/envoy/config/core/v3/base_pb.js'
import {
  type HealthCheck_GrpcHealthCheck as GrpcHealthCheck,
  HealthCheck_GrpcHealthCheckSchema as GrpcHealthCheckSchema,
  type HealthCheck,
  HealthCheckSchema,
  type HealthCheck_HttpHealthCheck as HttpHealthCheck,
  HealthCheck_HttpHealthCheckSchema as HttpHealthCheckSchema,
  type HealthCheck_TcpHealthCheck as TcpHealthCheck,
  HealthCheck_TcpHealthCheckSchema as TcpHealthCheckSchema,
} from '../../gen/envoy/config/core/v3/health_check_pb.js'
import type { HealthCheckSpec } from '../../model/cluster.ts'
import { durationMs, positiveMs } from './duration.ts'
import { type Field, names } from './field.ts'

const fields = names(`timeout interval interval_jitter interval_jitter_percent unhealthy_threshold healthy_threshold
  http_health_check tcp_health_check grpc_health_check no_traffic_interval`)

/** envoy.config.core.v3.HealthCheck. A check that cannot be made as asked is refused: it would call dead hosts alive. */
export function healthChecks(field: Field, messages: readonly HealthCheck[]): readonly HealthCheckSpec[] {
  return field.map(messages, (message, at) => {
    at.onlyReads(HealthCheckSchema, message, fields)
    const intervalMs = positiveMs(at.at('interval'), required(at.at('interval'), message.interval), 0)
    const jitterMs = durationMs(at.at('interval_jitter'), message.intervalJitter, 0)
    return {
      timeoutMs: positiveMs(at.at('timeout'), required(at.at('timeout'), message.timeout), 0),
      intervalMs,
      intervalJitterPercent: Math.max(message.intervalJitterPercent, (jitterMs / intervalMs) * 100),
      noTrafficIntervalMs: positiveMs(at.at('no_traffic_interval'), message.noTrafficInterval, 60_000),
      unhealthyThreshold: threshold(at.at('unhealthy_threshold'), message.unhealthyThreshold),
      healthyThreshold: threshold(at.at('healthy_threshold'), message.healthyThreshold),
      how: how(at, message),
    }
  })
}

function required<T>(field: Field, value: T | undefined): T {
  return value ?? field.fail('is missing')
}

function threshold(field: Field, value: number | undefined): number {
  return Math.max(1, required(field, value))
}

function how(field: Field, { healthChecker }: HealthCheck): HealthCheckSpec['how'] {
  switch (healthChecker.case) {
    case 'httpHealthCheck':
      return http(field.at('http_health_check'), healthChecker.value)
    case 'grpcHealthCheck':
      return grpc(field.at('grpc_health_check'), healthChecker.value)
    case 'tcpHealthCheck':
      return tcp(field.at('tcp_health_check'), healthChecker.value)
    case 'customHealthCheck':
      return field.at('custom_health_check').fail('not supported')
    default:
      return field.fail('has none of http_health_check, grpc_health_check and tcp_health_check')
  }
}

function http(field: Field, message: HttpHealthCheck): HealthCheckSpec['how'] {
  field.onlyReads(HttpHealthCheckSchema, message, names('host path expected_statuses method codec_client_type'))
  if (!message.path.startsWith('/')) field.at('path').fail(`must begin with "/", is "${message.path}"`)
  const expected = field.at('expected_statuses').map(message.expectedStatuses, ({ start, end }, at) => {
    const range = { start: Number(start), end: Number(end) }
    if (!(range.start >= 100 && range.end <= 600 && range.start < range.end))
      at.fail(`[${range.start}, ${range.end}) is not a range of statuses`)
    return range
  })
  const method = message.method === RequestMethod.METHOD_UNSPECIFIED ? 'GET' : RequestMethod[message.method]
  if (method === undefined || method === 'CONNECT')
    field.at('method').fail(`${method ?? message.method} is not possible`)
  return {
    kind: 'http',
    path: message.path,
    method: method!,
    host: message.host,
    expectedStatuses: expected.length === 0 ? [{ start: 200, end: 201 }] : expected,
  }
}

function grpc(field: Field, message: GrpcHealthCheck): HealthCheckSpec['how'] {
  field.onlyReads(GrpcHealthCheckSchema, message, names('service_name'))
  return { kind: 'grpc', serviceName: message.serviceName }
}

/** Connecting is the check; payloads are not spoken. */
function tcp(field: Field, message: TcpHealthCheck): HealthCheckSpec['how'] {
  field.onlyReads(TcpHealthCheckSchema, message, names(''))
  return { kind: 'tcp' }
}
