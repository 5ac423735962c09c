/** What is needed to make a local answer; see {@link Rejection}. */
export interface RejectionFields {
  status: number
  grpcStatus: number
  flag: string
  details: string
  body: string
  headers?: readonly string[]
  verbatim?: boolean
}

/**
 * A local answer in place of a peer's. Instances are frozen and come from the table below or from compiled
 * configuration, so that refusing a call allocates nothing. Flags and details are Envoy's (%RESPONSE_FLAGS%,
 * %RESPONSE_CODE_DETAILS%); a caller of gRPC sees DEADLINE_EXCEEDED for a timeout where Envoy's own mapping says
 * UNAVAILABLE, because that is what gRPC clients test for.
 */
export class Rejection {
  /** HTTP status; 0 = the caller is gone and gets none. */
  readonly status: number
  readonly grpcStatus: number
  /** Envoy response flags, joined by ','; '-' = none. */
  readonly flag: string
  readonly details: string
  /** text/plain */
  readonly body: string
  /** Flat name, value, name, value. */
  readonly headers: readonly string[]
  /** The body is configured, not written for a reader: it goes out as it is. */
  readonly verbatim: boolean
  constructor(fields: RejectionFields) {
    this.status = fields.status
    this.grpcStatus = fields.grpcStatus
    this.flag = fields.flag
    this.details = fields.details
    this.body = fields.body
    this.headers = fields.headers ?? []
    this.verbatim = fields.verbatim ?? false
    Object.freeze(this)
  }
}

const overloaded = ['x-envoy-overloaded', 'true']
const UNAVAILABLE = 14

/** Every local answer of the engine, one row each. */
export const rejections = {
  /** gRFC A28: UNAVAILABLE, though 404 stands for UNIMPLEMENTED. */
  noRoute: new Rejection({
    status: 404,
    grpcStatus: UNAVAILABLE,
    flag: 'NR',
    details: 'route_not_found',
    body: 'no route matches this request',
  }),
  notServed: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'NR',
    details: 'route_not_found',
    body: 'no route of this server takes the request',
  }),
  noCluster: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'NC',
    details: 'cluster_not_found',
    body: 'the route leads to a cluster that does not exist',
  }),
  noHealthyHost: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'UH',
    details: 'no_healthy_upstream',
    body: 'no healthy upstream',
  }),
  overflow: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'UO',
    details: 'upstream_reset_before_response_started{overflow}',
    body: 'too many requests to this service are under way',
    headers: overloaded,
  }),
  breakerOpen: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'UO',
    details: 'circuit_breaker_open',
    body: 'the circuit breaker of this service is open',
    headers: overloaded,
  }),
  connectFailure: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'UF',
    details: 'upstream_reset_before_response_started{connection_failure}',
    body: 'upstream connect error: connection failure',
  }),
  refused: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'UR',
    details: 'upstream_reset_before_response_started{remote_refused_stream_reset}',
    body: 'upstream refused the stream',
  }),
  reset: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'UC',
    details: 'upstream_reset_before_response_started{connection_termination}',
    body: 'upstream closed the connection after the request was sent',
  }),
  tryTimeout: new Rejection({
    status: 504,
    grpcStatus: 4,
    flag: 'UT',
    details: 'upstream_per_try_timeout',
    body: 'upstream request timeout (one try)',
  }),
  timeout: new Rejection({
    status: 504,
    grpcStatus: 4,
    flag: 'UT',
    details: 'upstream_response_timeout',
    body: 'upstream request timeout',
  }),
  /** Nobody waits for it any more: refused before anything is done. */
  expired: new Rejection({
    status: 504,
    grpcStatus: 4,
    flag: 'DT',
    details: 'request_overall_timeout',
    body: 'the time that the caller waits is over',
  }),
  protocolError: new Rejection({
    status: 502,
    grpcStatus: UNAVAILABLE,
    flag: 'UPE',
    details: 'upstream_reset_before_response_started{protocol_error}',
    body: 'upstream answered with something that is not HTTP',
  }),
  cancelled: new Rejection({
    status: 0,
    grpcStatus: 1,
    flag: 'DC',
    details: 'downstream_remote_disconnect',
    body: '',
  }),
  /** The last answer was dropped for a retry that could not be made any more. */
  retryLost: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'UR',
    details: 'retry_abandoned{request_not_replayable}',
    body: 'the request could not be sent again',
  }),
  badPath: new Rejection({
    status: 400,
    grpcStatus: 13,
    flag: '-',
    details: 'path_normalization_failed',
    body: 'bad request path',
  }),
  ambiguousPath: new Rejection({
    status: 400,
    grpcStatus: 13,
    flag: '-',
    details: 'ambiguous_path',
    body: 'ambiguous path',
  }),
  /** A server has as many requests under way as it is set to take. */
  inboundOverflow: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'UO',
    details: 'max_requests_exceeded',
    body: 'this server has too many requests under way',
    headers: overloaded,
  }),
  /** A server whose event loop is late. It was not begun, but to say so would free repeats of the retry budget: a storm. */
  shed: new Rejection({
    status: 503,
    grpcStatus: 8,
    flag: 'OM',
    details: 'overload',
    body: 'this server is overloaded',
    headers: [...overloaded, 'retry-after-ms', '100'],
  }),
  /** There is no policy to judge by: fails closed. */
  noInboundPolicy: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'NC',
    details: 'inbound_policy_missing',
    body: 'this server has no policy',
  }),
  /** A call by a port that the app opened by itself: nobody knows who makes it. Fails closed. */
  strayPort: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: 'NC',
    details: 'port_not_in_mesh',
    body: 'the mesh did not open this port: the server must use mesh.grpc.listen() and not bindAsync()',
  }),
  /** A server that ends: nothing was begun, so it may be sent elsewhere whatever it is. */
  closing: new Rejection({
    status: 503,
    grpcStatus: UNAVAILABLE,
    flag: '-',
    details: 'server_closing',
    body: 'this server is closing',
    headers: ['x-inmesh-not-started', '1'],
  }),
  plaintextRefused: new Rejection({
    status: 403,
    grpcStatus: 7,
    flag: '-',
    details: 'peer_not_authenticated',
    body: 'mutual TLS required',
  }),
} as const

const missing = new Map<number, Rejection>()

/** {@link rejections.noCluster} with the status that a route asks for (Envoy cluster_not_found_response_code). */
export function noClusterWith(status: number): Rejection {
  if (status === rejections.noCluster.status) return rejections.noCluster
  let made = missing.get(status)
  if (made === undefined) {
    made = new Rejection({ ...rejections.noCluster, status })
    missing.set(status, made)
  }
  return made
}

/** What a caller of gRPC gets where only an HTTP status is known (grpc/doc/http-grpc-status-mapping.md). */
export function grpcStatusOf(httpStatus: number): number {
  switch (httpStatus) {
    case 400:
      return 13
    case 401:
      return 16
    case 403:
      return 7
    case 404:
      return 12
    case 429:
    case 502:
    case 503:
    case 504:
      return UNAVAILABLE
    default:
      return 2
  }
}

/** The HTTP status that a status of gRPC stands for (google.rpc.Code). */
export function httpStatusOf(grpcStatus: number): number {
  return [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401][grpcStatus] ?? 500
}

// Weak: some are made for one call.
const joined = new WeakMap<Rejection, Map<string, Rejection>>()

/** The same answer with one more flag (Envoy sets URX beside the cause); made once per pair. */
export function withFlag(rejection: Rejection, flag: string): Rejection {
  if (flag === '-' || rejection.flag.split(',').includes(flag)) return rejection
  let row = joined.get(rejection)
  if (row === undefined) {
    row = new Map()
    joined.set(rejection, row)
  }
  let made = row.get(flag)
  if (made === undefined) {
    made = new Rejection({ ...rejection, flag: rejection.flag === '-' ? flag : `${rejection.flag},${flag}` })
    row.set(flag, made)
  }
  return made
}
