import { Metadata, status as Status, type StatusObject } from '@grpc/grpc-js'
import type { MetadataRecord } from './request-headers.ts'
import type { GrpcCall } from './types.ts'

export type CallCredentials = Parameters<GrpcCall['setCredentials']>[0]

/** What must not be taken for the service's own word when code of this process says it (gRFC A54). */
const restricted: ReadonlySet<number> = new Set([
  Status.OK,
  Status.INVALID_ARGUMENT,
  Status.NOT_FOUND,
  Status.ALREADY_EXISTS,
  Status.FAILED_PRECONDITION,
  Status.ABORTED,
  Status.OUT_OF_RANGE,
  Status.DATA_LOSS,
])

/** Asks call credentials what they add to a call. `done` gets a status for a failure, else the metadata; later. */
export function credentialsOf(
  credentials: CallCredentials,
  host: string,
  path: string,
  done: (status: StatusObject | null, metadata: MetadataRecord) => void,
): void {
  const slash = path.lastIndexOf('/')
  const service_url = `https://${host}${path.slice(0, Math.max(slash, 0))}`
  credentials.generateMetadata({ method_name: path.slice(slash + 1), service_url }).then(
    (metadata) => done(null, metadata.toHttp2Headers() as MetadataRecord),
    (error: { code?: unknown; message?: unknown }) => done(failure(error), {}),
  )
}

function failure({ code, message }: { code?: unknown; message?: unknown }): StatusObject {
  const details = `Failed to retrieve auth metadata with error: ${String(message)}`
  const metadata = new Metadata()
  if (typeof code !== 'number') return { code: Status.UNAUTHENTICATED, details, metadata }
  if (!restricted.has(code)) return { code, details, metadata }
  return { code: Status.INTERNAL, details: `Invalid status from call credentials: ${code}. ${details}`, metadata }
}
