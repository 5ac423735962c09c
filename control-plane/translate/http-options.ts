import type { Any } from '@bufbuild/protobuf/wkt'
import { HttpProtocolOptionsSchema } from '../../src/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import type { ConnectionPool } from '../resources/connection-pool.ts'
import { duration, pack } from './encode.ts'

const httpOptionsKey = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

/** Idle time, requests per connection and the protocol, for our data plane. */
export function httpOptions(
  pool: ConnectionPool | undefined,
  http2: boolean,
  idleTimeoutMs: number,
): { typedExtensionProtocolOptions: Record<string, Any> } {
  const { http, tcp } = pool ?? {}
  const options = pack(HttpProtocolOptionsSchema, {
    commonHttpProtocolOptions: {
      idleTimeout: duration(http?.idleTimeout ?? tcp?.idleTimeout ?? idleTimeoutMs),
      ...(http?.maxRequestsPerConnection ? { maxRequestsPerConnection: http.maxRequestsPerConnection } : {}),
    },
    upstreamProtocolOptions: {
      case: 'explicitHttpConfig',
      value: {
        protocolConfig: http2
          ? { case: 'http2ProtocolOptions', value: {} }
          : { case: 'httpProtocolOptions', value: {} },
      },
    },
  })
  return { typedExtensionProtocolOptions: { [httpOptionsKey]: options } }
}
