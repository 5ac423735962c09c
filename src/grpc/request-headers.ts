import { sensitiveHeaders } from 'node:http2'
import { editByApp } from '../engine/app-hooks.ts'
import type { Call } from '../engine/call.ts'
import type { RouteEdits } from '../engine/route.ts'
import { carriedBit, propagate, replacedBits } from '../telemetry/propagate.ts'
import { isMeshHeader, tellPeer } from '../transport/hop-headers.ts'
import type { GrpcAttempt } from './attempt.ts'

/** Metadata as text, by name in lower case; `-bin` values in base64. */
export type MetadataRecord = Readonly<Record<string, string | readonly string[]>>

/** Where `:path` and `:authority` stand. */
const PATH = 5
const AUTHORITY = 7

/** What differs from call to call: in HPACK's table it would only push out what does not. */
const volatile = ['grpc-timeout', 'traceparent', 'x-request-id']

/**
 * The head of one try, flat, pseudo headers first. Of the caller's metadata is left out what is not the caller's to say: what
 * belongs to HTTP/2 or to gRPC itself, what meshes say to each other, and the trace headers that the try replaces.
 */
export function requestHeaders(attempt: GrpcAttempt, secure: boolean): string[] {
  const { exchange, call } = attempt
  const { settings, path } = exchange
  const headers: string[] = [
    ':method',
    'POST',
    ':scheme',
    secure ? 'https' : 'http',
    ':path',
    path,
    ':authority',
    exchange.wireAuthority,
    'te',
    'trailers',
    'content-type',
    'application/grpc',
    'user-agent',
    settings.userAgent,
    'grpc-accept-encoding',
    'identity,deflate,gzip',
  ]
  if (exchange.encoding !== 'identity') headers.push('grpc-encoding', exchange.encoding)
  const ms = attempt.completeMs(call.now)
  if (ms !== Number.POSITIVE_INFINITY) headers.push('grpc-timeout', formatTimeout(ms))
  if (attempt.number > 1) headers.push('grpc-previous-rpc-attempts', String(attempt.number - 1))
  const replaced = replacedBits(attempt)
  let present = addMetadata(headers, exchange.metadata, replaced)
  if (exchange.credentialMetadata !== null) present |= addMetadata(headers, exchange.credentialMetadata, replaced)
  propagate(attempt, present, headers)
  tellPeer(headers, attempt)
  const { edits } = call.route
  if (edits !== null) editHead(edits, headers, call)
  if (call.appHeaders !== null) editByApp(call.appHeaders, headers)
  ;(headers as unknown as Record<symbol, unknown>)[sensitiveHeaders] = volatile
  return headers
}

function addMetadata(headers: string[], metadata: MetadataRecord, replaced: number): number {
  let present = 0
  for (const name in metadata) {
    const bit = carriedBit(name)
    if ((bit & replaced) !== 0 || isReserved(name)) continue
    const value = metadata[name]!
    if (typeof value === 'string') headers.push(name, value)
    else for (const line of value) headers.push(name, line)
    present |= bit
  }
  return present
}

/** @param name in lower case */
function isReserved(name: string): boolean {
  switch (name.charCodeAt(0)) {
    case 0x3a: // ':'
      return true
    case 0x67: // g
      return name.startsWith('grpc-') && !name.endsWith('-bin')
    case 0x63: // c
      return name === 'content-type' || name === 'content-length' || name === 'connection'
    case 0x68: // h
      return name === 'host' || name === 'http2-settings'
    case 0x6b: // k
      return name === 'keep-alive'
    case 0x70: // p
      return name === 'proxy-connection'
    case 0x74: // t
      return name === 'te' || name === 'transfer-encoding' || name === 'trailer'
    case 0x75: // u
      return name === 'upgrade' || name === 'user-agent'
    default:
      return isMeshHeader(name)
  }
}

/** Changes metadata, authority and path as the route says. */
function editHead(edits: RouteEdits, headers: string[], call: Call): void {
  const before = headers[AUTHORITY]!
  const authority = edits.authority(before)
  if (authority !== before && !call.route.shadow) headers.push('x-envoy-original-host', before)
  headers[AUTHORITY] = authority
  const path = edits.path(headers[PATH]!)
  if (path !== headers[PATH]) headers.push('x-envoy-original-path', headers[PATH]!)
  headers[PATH] = path
  edits.request(headers, call.exchange, call)
}

/** Of gRPC over HTTP/2: at most 8 digits and a unit; never longer than `ms`, but for what would be nothing. */
export function formatTimeout(ms: number): string {
  if (ms < 1) return `${Math.max(1, Math.floor(ms * 1000))}u`
  if (ms < 1e8) return `${Math.floor(ms)}m`
  if (ms < 1e11) return `${Math.floor(ms / 1000)}S`
  return `${Math.min(99_999_999, Math.floor(ms / 3_600_000))}H`
}
