import { Kind } from '../engine/outcome.ts'
import { Rejection, rejections } from '../engine/rejection.ts'
import { InmeshError } from '../errors.ts'

/** What an error of the transport means to the engine. */
export interface Failure {
  readonly kind: Kind
  /** More than the kind alone says; null = what the kind says. */
  readonly rejection: Rejection | null
}

/** This process ran out of something; no host is to blame. */
export const localCodes: ReadonlySet<string> = new Set([
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENOMEM',
  'EADDRNOTAVAIL',
  'EPERM',
  'EACCES',
])

/** Why no connection came about: the request was certainly not sent. */
export function classifyConnect(error: unknown): Failure {
  const code = codeOf(error)
  if (error instanceof InmeshError || localCodes.has(code)) return { kind: Kind.Local, rejection: localFailure(error) }
  return { kind: Kind.ConnectFailure, rejection: connectFailure(code, error) }
}

export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null | undefined)?.code
  return typeof code === 'string' ? code : ''
}

function connectFailure(code: string, error: unknown): Rejection {
  const tls = code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_') || isCertificateCode(code)
  const why = code === '' ? '' : `|${tls ? 'TLS_error:' : ''}${code}`
  return new Rejection({
    ...rejections.connectFailure,
    details: `upstream_reset_before_response_started{connection_failure${why}}`,
    body: `${rejections.connectFailure.body}: ${messageOf(error)}`,
  })
}

/** OpenSSL's verdicts on a peer's chain, as Node spells them. */
function isCertificateCode(code: string): boolean {
  return code.startsWith('CERT_') || code.includes('_CERT') || code.includes('ISSUER')
}

export function localFailure(error: unknown): Rejection {
  if (error instanceof InmeshError)
    return new Rejection({
      ...rejections.connectFailure,
      details: 'upstream_reset_before_response_started{connection_failure|no_own_identity}',
      body: error.message,
    })
  return new Rejection({
    ...rejections.overflow,
    details: `upstream_reset_before_response_started{overflow|${codeOf(error)}}`,
    body: `this process cannot open a connection: ${messageOf(error)}`,
  })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** TLS: the other end says that it will have none of this. */
export function isHandshakeAlert(code: string): boolean {
  return code.startsWith('ERR_SSL_') && code.includes('_ALERT_')
}
