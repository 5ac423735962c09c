import type { Attributes } from '@opentelemetry/api'

/** gRPC status codes by which a server says that it failed, and not its caller (OpenTelemetry semantic conventions for gRPC). */
const serverErrors = new Set([2, 4, 12, 13, 14, 15])

/** Whether a span of a server is one of an error. */
export function isServerError(grpcStatus: number): boolean {
  return serverErrors.has(grpcStatus)
}

/** The span's name of a gRPC call: "package.Service/Method". @param path "/package.Service/Method" */
export function rpcName(path: string): string {
  return path.startsWith('/') ? path.slice(1) : path
}

/** What a span says of a gRPC call (OpenTelemetry semantic conventions for RPC). @param path "/package.Service/Method" */
export function rpcAttributes(path: string): Attributes {
  const name = rpcName(path)
  const slash = name.lastIndexOf('/')
  return {
    'rpc.system': 'grpc',
    'rpc.service': slash < 0 ? '' : name.slice(0, slash),
    'rpc.method': name.slice(slash + 1),
  }
}
