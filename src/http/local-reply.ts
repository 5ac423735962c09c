import type { FormatView, ResponseHeaders } from '../engine/format.ts'
import type { Rejection } from '../engine/rejection.ts'
import type { ResponseEdits } from '../engine/route.ts'

/** Tells the caller that this process answered, and why: Envoy's response flags (%RESPONSE_FLAGS%). */
export const FLAGS_HEADER = 'x-inmesh-response-flags'
/** Envoy's %RESPONSE_CODE_DETAILS%. */
export const DETAILS_HEADER = 'x-inmesh-response-details'

/** An answer made here, in the shapes that undici's handlers read. */
export interface LocalReply {
  readonly status: number
  readonly headers: ResponseHeaders
  /** The same as undici keeps them: handlers of older versions read no other. */
  readonly rawHeaders: Buffer[]
  readonly body: Buffer
}

/** @param edits what a route changes in it; null = nothing */
export function rejectionReply(
  rejection: Rejection,
  edits: ResponseEdits | null = null,
  view: FormatView | null = null,
): LocalReply {
  const headers: ResponseHeaders = {
    'content-type': 'text/plain; charset=utf-8',
    [FLAGS_HEADER]: rejection.flag,
    [DETAILS_HEADER]: printable(rejection.details),
  }
  for (let i = 0; i < rejection.headers.length; i += 2) headers[rejection.headers[i]!] = rejection.headers[i + 1]!
  if (rejection.body === '') delete headers['content-type']
  if (edits !== null && view !== null) edits.apply(headers, { ...view, response: headers })
  return localReply(
    rejection.status,
    headers,
    rejection.body === '' || rejection.verbatim ? rejection.body : `${rejection.body}\n`,
  )
}

function localReply(status: number, headers: ResponseHeaders, text: string): LocalReply {
  const body = Buffer.from(text)
  headers['content-length'] = String(body.length)
  headers.date = new Date().toUTCString()
  const rawHeaders: Buffer[] = []
  for (const name in headers) pushRaw(rawHeaders, name, headers[name])
  return { status, headers, rawHeaders, body }
}

function pushRaw(raw: Buffer[], name: string, value: string | string[] | undefined): void {
  if (value === undefined) return
  for (const text of typeof value === 'string' ? [value] : value)
    raw.push(bytesOfName(name), Buffer.from(text, 'latin1'))
}

/** Names come from configuration, so there are few; those of local replies are always the same. */
const encoded = new Map<string, Buffer>()

function bytesOfName(name: string): Buffer {
  let bytes = encoded.get(name)
  if (bytes === undefined) {
    bytes = Buffer.from(name, 'latin1')
    if (encoded.size < 1_000) encoded.set(name, bytes)
  }
  return bytes
}

/**
 * Changes a peer's answer as its route says.
 * @returns the raw headers that agree with the changed ones
 */
export function editResponse<Raw>(edits: ResponseEdits, headers: ResponseHeaders, raw: Raw, view: FormatView): Raw {
  if (!edits.apply(headers, view) || !Array.isArray(raw)) return raw
  const { names } = edits
  const kept: unknown[] = []
  for (let i = 0; i < raw.length; i += 2) if (!isOneOf(names, raw[i])) kept.push(raw[i], raw[i + 1])
  const changed: Buffer[] = []
  for (const name of names) pushRaw(changed, name, headers[name])
  return kept.concat(typeof raw[0] === 'string' ? changed.map((b) => b.toString('latin1')) : changed) as Raw
}

/** Most names differ in length already, which spares making text of them. */
function isOneOf(names: readonly string[], raw: Buffer | string): boolean {
  for (const name of names) if (name.length === raw.length && String(raw).toLowerCase() === name) return true
  return false
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
