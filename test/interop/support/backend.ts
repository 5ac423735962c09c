import { setTimeout as sleep } from 'node:timers/promises'
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { emptyLoadReport } from '../../../src/model/load-report.ts'
import { encodeReport } from '../../../src/orca/binary.ts'

const bytes = (value: Buffer) => value
const service: ServiceDefinition = {
  WhoAreYou: {
    path: '/test.Echo/WhoAreYou',
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  },
}

/** A gRPC server that knows nothing of the mesh and answers with its name. */
export interface Backend {
  readonly name: string
  readonly port: number
  stop(): void
}

/**
 * Metadata steers it: `x-delay-ms` = answer so much later; `x-fail-key` and `x-fail-times` = answer UNAVAILABLE to the
 * first so many calls with that key; `x-utilization-NAME` = the server of that name reports so much load. `credentials` default to plaintext.
 */
export async function startBackend(name: string, credentials = ServerCredentials.createInsecure()): Promise<Backend> {
  const server = new Server()
  addEcho(server, name)
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error === null ? resolve(bound) : reject(error))),
  )
  return { name, port, stop: () => server.forceShutdown() }
}

/** The service that foreign clients call, answered with `name`; see {@link startBackend}. */
export function addEcho(server: Server, name: string): void {
  const failed = new Map<string, number>()
  server.addService(service, {
    WhoAreYou: async (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
      const { metadata } = call
      const text = (key: string) => String(metadata.get(key)[0] ?? '')
      const key = text('x-fail-key')
      const times = failed.get(key) ?? 0
      if (times < Number(text('x-fail-times'))) {
        failed.set(key, times + 1)
        done({ code: status.UNAVAILABLE, details: 'as the test asked' })
        return
      }
      const utilization = Number(text(`x-utilization-${name}`))
      const trailers = new Metadata()
      // grpc-js's own recorder reads its .proto files anew for each call, also for those that record nothing.
      if (utilization > 0)
        trailers.set(
          'endpoint-load-metrics-bin',
          encodeReport({ ...emptyLoadReport, qps: 100, applicationUtilization: utilization }),
        )
      const delay = Number(text('x-delay-ms'))
      if (delay > 0) await sleep(delay)
      done(null, Buffer.from(name), trailers)
    },
  })
}
