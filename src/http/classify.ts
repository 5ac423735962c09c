import { errors } from 'undici'
import { Kind } from '../engine/outcome.ts'
import {
  classifyConnect,
  codeOf,
  type Failure,
  isHandshakeAlert,
  localCodes,
  localFailure,
} from '../transport/connect-failure.ts'

/** The caller asked for what cannot be sent: it gets undici's own error. */
const callerCodes = new Set(['UND_ERR_INVALID_ARG', 'UND_ERR_NOT_SUPPORTED', 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH'])

/** Of an error by which a connection says that a request never left it. */
export const STALE_CONNECTION = 'ERR_INMESH_STALE_CONNECTION'
const REFUSED_STREAM = 7

const refused: Failure = { kind: Kind.Refused, rejection: null }
const reset: Failure = { kind: Kind.Reset, rejection: null }
const protocolError: Failure = { kind: Kind.ProtocolError, rejection: null }
const cancelled: Failure = { kind: Kind.Cancelled, rejection: null }

/**
 * Why a request failed that was given to a connection.
 * @param answered some byte of the response had come
 * @param first it was the first request of its connection
 */
export function classifyRequest(error: unknown, answered: boolean, first: boolean): Failure {
  const code = codeOf(error)
  if (wasRefused(error, code)) return refused
  // TLS 1.3 lets a client send before the server judged its certificate: the refusal comes as an alert after the request.
  if (!answered && first && isHandshakeAlert(code)) return classifyConnect(error)
  if (error instanceof errors.HTTPParserError)
    // A connection that ended in the middle of a message is broken, not foreign.
    return error.message.includes('EOF') ? reset : protocolError
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return protocolError
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT')
    return { kind: Kind.TryTimeout, rejection: null }
  if (localCodes.has(code)) return { kind: Kind.Local, rejection: localFailure(error) }
  if (callerCodes.has(code)) return cancelled
  if (code !== '') return reset
  // Without a code it comes from the caller's own code: a handler or a body that threw.
  return cancelled
}

/** RFC 9113 section 8.7: REFUSED_STREAM, and streams above the last one of a GOAWAY, which undici would send again elsewhere. */
function wasRefused(error: unknown, code: string): boolean {
  return code === STALE_CONNECTION || (error as { http2ErrorCode?: unknown } | null)?.http2ErrorCode === REFUSED_STREAM
}
