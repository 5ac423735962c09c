import { constants, type IncomingHttpHeaders } from 'node:http2'
import { Metadata, status as Status, type StatusObject } from '@grpc/grpc-js'
import { Kind } from '../engine/outcome.ts'
import { grpcStatusOf, Rejection, type RejectionFields, rejections } from '../engine/rejection.ts'
import type { Failure } from '../transport/connect-failure.ts'

/** Tells the caller that this process answered, and why: Envoy's response flags, as on local replies of HTTP. */
export const FLAGS_KEY = 'x-inmesh-response-flags'
/** Envoy's %RESPONSE_CODE_DETAILS%. */
export const DETAILS_KEY = 'x-inmesh-response-details'

export const OK: number = Status.OK

/** What the caller gets where no peer has answered, or not to the end. */
export function localStatus(rejection: Rejection, cause: unknown, authority: string): StatusObject {
  const metadata = new Metadata()
  const why = printable(rejection.details)
  metadata.set(FLAGS_KEY, rejection.flag)
  metadata.set(DETAILS_KEY, why)
  for (let i = 0; i < rejection.headers.length; i += 2) {
    const name = rejection.headers[i]!
    if (isMetadata(name)) metadata.set(name, printable(rejection.headers[i + 1]!))
  }
  const text = rejection.verbatim && rejection.body !== '' ? rejection.body : sentence(rejection, cause, authority, why)
  return { code: rejection.grpcStatus, details: text, metadata }
}

function sentence({ body, flag }: Rejection, cause: unknown, authority: string, why: string): string {
  const more =
    cause instanceof Error && cause.message !== '' && !body.includes(cause.message) ? `: ${cause.message}` : ''
  return `${authority}: ${body === '' ? 'refused' : body}${more} (${flag === '-' ? '' : `${flag} `}${why})`
}

/** What headers of a rejection are about HTTP alone. */
function isMetadata(name: string): boolean {
  return !name.startsWith('access-control-') && name !== 'location' && name !== 'content-type'
}

/** Metadata values are visible ASCII. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, ' ')
}

/**
 * The status in trailers, or in the head of an answer that has nothing else. Where there is none, what the HTTP status stands
 * for (grpc/doc/http-grpc-status-mapping.md).
 */
export function statusIn(headers: IncomingHttpHeaders, httpStatus: number): StatusObject {
  const text = headers['grpc-status']
  if (text === undefined) return withoutStatus(httpStatus, metadataOf(headers))
  const said = typeof text === 'string' && /^\d{1,2}$/.test(text) ? Number(text) : Status.UNKNOWN
  // Codes that nobody knows yet.
  const code = said <= Status.UNAUTHENTICATED ? said : Status.UNKNOWN
  const message = headers['grpc-message']
  return { code, details: typeof message === 'string' ? decodeMessage(message) : '', metadata: metadataOf(headers) }
}

/** Of an answer without a status of gRPC. */
export function withoutStatus(httpStatus: number, metadata: Metadata): StatusObject {
  if (httpStatus === 200) return { code: Status.UNKNOWN, details: 'the answer has no grpc-status', metadata }
  return { code: grpcStatusOf(httpStatus), details: `Received HTTP status code ${httpStatus}`, metadata }
}

function metadataOf(headers: IncomingHttpHeaders): Metadata {
  for (const name in headers) {
    if (name === 'grpc-status' || name === 'grpc-message') continue
    const metadata = Metadata.fromHttp2Headers(headers)
    metadata.remove('grpc-status')
    metadata.remove('grpc-message')
    return metadata
  }
  // Nearly always there is nothing else.
  return new Metadata()
}

/** Status-Message: percent-encoded UTF-8; what is not is left as it is. */
function decodeMessage(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return text.replace(/(%[0-9a-f]{2})+/gi, (escaped) => {
      return Buffer.from(escaped.replaceAll('%', ''), 'hex').toString('utf8')
    })
  }
}

/** The bits of an HTTP/2 error that gRPC tells apart ("HTTP2 Transport Mapping" of the protocol). */
function broken(fields: Pick<RejectionFields, 'grpcStatus' | 'details' | 'body'>): Rejection {
  const details = `upstream_reset_before_response_started{${fields.details}}`
  return new Rejection({ ...rejections.reset, ...fields, flag: 'UR', details })
}

const refused: Failure = { kind: Kind.Refused, rejection: null }
const lost: Failure = { kind: Kind.Reset, rejection: null }
const cancelled: Failure = {
  kind: Kind.Reset,
  rejection: broken({
    grpcStatus: Status.CANCELLED,
    details: 'remote_reset|CANCEL',
    body: 'the server cancelled the call',
  }),
}
const calm: Failure = {
  kind: Kind.Reset,
  rejection: broken({
    grpcStatus: Status.RESOURCE_EXHAUSTED,
    details: 'remote_reset|ENHANCE_YOUR_CALM',
    body: 'the server has no room for the call (bandwidth or memory)',
  }),
}
const insecure: Failure = {
  kind: Kind.Reset,
  rejection: broken({
    grpcStatus: Status.PERMISSION_DENIED,
    details: 'remote_reset|INADEQUATE_SECURITY',
    body: 'the server finds the connection not secure enough',
  }),
}
const noStatus: Failure = {
  kind: Kind.ProtocolError,
  rejection: new Rejection({
    ...rejections.protocolError,
    grpcStatus: Status.INTERNAL,
    body: 'the answer ended without a grpc-status',
  }),
}

const others = new Map<number, Failure>()

/**
 * Why a stream ended that got no status, by the code of its RST_STREAM.
 * @param connected false = its connection broke, and the code is made up
 */
export function resetFailure(code: number, connected: boolean): Failure {
  if (code === constants.NGHTTP2_REFUSED_STREAM) return refused
  if (!connected) return lost
  switch (code) {
    case constants.NGHTTP2_NO_ERROR:
      return noStatus
    case constants.NGHTTP2_CANCEL:
      return cancelled
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return calm
    case constants.NGHTTP2_INADEQUATE_SECURITY:
      return insecure
    default: {
      let failure = others.get(code)
      if (failure === undefined) {
        const fields = {
          grpcStatus: Status.INTERNAL,
          details: `remote_reset|${code}`,
          body: `the server reset the stream with code ${code}`,
        }
        failure = { kind: Kind.Reset, rejection: broken(fields) }
        if (others.size < 100) others.set(code, failure)
      }
      return failure
    }
  }
}

/** A failure that is the caller's own: no host is to blame, nothing is sent again. */
export function callersFailure(grpcStatus: number, body: string, details: string): Failure {
  return {
    kind: Kind.Cancelled,
    rejection: new Rejection({ status: 500, grpcStatus, flag: '-', details, body }),
  }
}
