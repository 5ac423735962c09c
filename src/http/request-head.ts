import type { IncomingMessage } from 'node:http'
import { isMeshHeader, toldToApps } from '../transport/hop-headers.ts'

/** Header lines beyond this are refused: 431 (Envoy's default max_headers_count is 100). */
export const MAX_HEADER_LINES = 100

/** A request that must not reach anybody, and what is said to its sender. */
export interface BadHead {
  readonly status: number
  readonly message: string
}

const tooMany: BadHead = { status: 431, message: `more than ${MAX_HEADER_LINES} header lines` }
const oneHost: BadHead = { status: 400, message: 'exactly one Host header is needed' }
const badTarget: BadHead = { status: 400, message: 'bad request target' }
const badEncoding: BadHead = { status: 400, message: 'HTTP/1.0 knows no transfer coding' }

/**
 * Makes a parsed request unambiguous before anybody looks at it, in place, so that policy and app see one and the same
 * (RFC 9112 section 3.2): one host, the target in origin form, no header in it by which mesh proxies talk to each other.
 * What such a header of a verified peer is worth reading for is to be read before; those that are for the app stay.
 *
 * @param verified the sender has shown a certificate
 * @returns why the request is refused, or null
 */
export function cleanHead(request: IncomingMessage, verified: boolean): BadHead | null {
  const raw = request.rawHeaders
  if (raw.length > 2 * MAX_HEADER_LINES) return tooMany
  let hosts = 0
  let mesh = 0
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!
    const first = name.charCodeAt(0) | 0x20
    if (first === 0x78) {
      if (isMeshHeader(name)) mesh++
    } else if (first === 0x68) {
      // An empty one names nobody, so it is as bad as two.
      if (name.length === 4 && name.toLowerCase() === 'host') hosts += raw[i + 1] === '' ? 2 : 1
    } else if (first === 0x74 && request.httpVersionMinor === 0 && name.toLowerCase() === 'transfer-encoding') {
      return badEncoding
    }
  }
  if (hosts !== 1) return oneHost
  if (mesh > 0) strip(request, raw, verified)
  const target = request.url!
  return target.charCodeAt(0) === 0x2f ? null : otherForm(request, target)
}

/** Absolute form names the host itself, and wins over the header; asterisk form is for OPTIONS only (RFC 9112 section 3.2). */
function otherForm(request: IncomingMessage, target: string): BadHead | null {
  if (target === '*') return request.method === 'OPTIONS' ? null : badTarget
  if (request.method === 'CONNECT') return null
  const parts = /^https?:\/\/([^/?#@\s]+)([/?][^#]*)?(#.*)?$/i.exec(target)
  if (parts === null) return badTarget
  const [, host, path] = parts
  request.url = path === undefined ? '/' : path.startsWith('/') ? path : `/${path}`
  request.headers.host = host
  const { rawHeaders } = request
  for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i]!.toLowerCase() === 'host') rawHeaders[i + 1] = host!
  return null
}

function strip(request: IncomingMessage, raw: string[], verified: boolean): void {
  // Node makes these two of rawHeaders when they are first read; from then on each stands for itself.
  const { headers, headersDistinct } = request
  const kept: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!
    const lower = name.toLowerCase()
    if (!isMeshHeader(name) || (verified && toldToApps.has(lower))) {
      kept.push(name, raw[i + 1]!)
      continue
    }
    delete headers[lower]
    delete headersDistinct[lower]
  }
  request.rawHeaders = kept
}

/** Sets a header, whether it was there or not. */
export function setHeader(request: IncomingMessage, name: string, value: string): void {
  const { rawHeaders } = request
  if (request.headers[name] === undefined) rawHeaders.push(name, value)
  else {
    for (let i = 0; i < rawHeaders.length; i += 2) if (rawHeaders[i]!.toLowerCase() === name) rawHeaders[i + 1] = value
  }
  request.headers[name] = value
}
