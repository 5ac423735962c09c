import type { Rejection } from '../engine/rejection.ts'

/** Tells the caller that this process answered, and why: Envoy's response flags (%RESPONSE_FLAGS%). */
export const FLAGS_HEADER = 'x-inmesh-response-flags'
/** Envoy's %RESPONSE_CODE_DETAILS%. */
export const DETAILS_HEADER = 'x-inmesh-response-details'

/** An answer made here, in the shapes that undici's handlers read. */
export interface LocalReply {
  readonly status: number
  readonly headers: Record<string, string>
  /** The same as undici keeps them: handlers of older versions read no other. */
  readonly rawHeaders: Buffer[]
  readonly body: Buffer
}

export function rejectionReply(rejection: Rejection): LocalReply {
  const headers: Record<string, string> = {
    'content-type': 'text/plain; charset=utf-8',
    [FLAGS_HEADER]: rejection.flag,
    [DETAILS_HEADER]: printable(rejection.details),
  }
  for (let i = 0; i < rejection.headers.length; i += 2) headers[rejection.headers[i]!] = rejection.headers[i + 1]!
  return localReply(rejection.status, headers, rejection.body === '' ? '' : `${rejection.body}\n`)
}

function localReply(status: number, headers: Record<string, string>, text: string): LocalReply {
  const body = Buffer.from(text)
  headers['content-length'] = String(body.length)
  headers.date = new Date().toUTCString()
  const rawHeaders: Buffer[] = []
  for (const name in headers) rawHeaders.push(Buffer.from(name, 'latin1'), Buffer.from(headers[name]!, 'latin1'))
  return { status, headers, rawHeaders, body }
}

/** Header values are one line of visible ASCII. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, ' ')
}

/**
 * Takes what only this process may say out of a peer's answer: a caller must be able to tell the two apart.
 * @returns the raw headers to show
 */
export function withoutLocalHeaders<Raw>(headers: Record<string, unknown>, raw: Raw): Raw {
  if (headers[FLAGS_HEADER] === undefined && headers[DETAILS_HEADER] === undefined) return raw
  delete headers[FLAGS_HEADER]
  delete headers[DETAILS_HEADER]
  if (!Array.isArray(raw)) return raw
  const kept: unknown[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = String(raw[i]).toLowerCase()
    if (name !== FLAGS_HEADER && name !== DETAILS_HEADER) kept.push(raw[i], raw[i + 1])
  }
  return kept as Raw
}
