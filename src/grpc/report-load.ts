import { Metadata, ServerInterceptingCall, type ServerInterceptor, status } from '@grpc/grpc-js'
import { systemClock } from '../model/clock.ts'
import { REPORT_BIN_HEADER } from '../orca/header.ts'
import { LoadMeter } from '../orca/load-meter.ts'

/** gRPC statuses that say that the server failed, as a 5xx of HTTP does. */
const failures: ReadonlySet<number> = new Set([
  ...[status.UNKNOWN, status.DEADLINE_EXCEEDED, status.UNIMPLEMENTED, status.INTERNAL, status.UNAVAILABLE],
  status.DATA_LOSS,
])

/**
 * An interceptor by which a server of grpc-js says with every status how loaded it is (ORCA, `endpoint-load-metrics-bin`): as
 * `reportLoad: true` does for servers of HTTP. One for each server.
 *
 *     mesh.grpc.server({ interceptors: [grpcLoadInterceptor()] })
 */
export function grpcLoadInterceptor(meter: LoadMeter = new LoadMeter(systemClock)): ServerInterceptor {
  return (_method, call) =>
    new ServerInterceptingCall(call, {
      sendStatus(given, next) {
        const report = meter.binary()
        meter.answered(failures.has(given.code) ? 500 : 200)
        if (report === null) {
          next(given)
          return
        }
        // The app's own object may serve it for other calls.
        const metadata = given.metadata?.clone() ?? new Metadata()
        if (metadata.get(REPORT_BIN_HEADER).length === 0) metadata.set(REPORT_BIN_HEADER, report)
        next({ ...given, metadata })
      },
    })
}
