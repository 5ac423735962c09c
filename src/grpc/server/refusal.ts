import { Metadata } from '@grpc/grpc-js'
import type { Rejection } from '../../engine/rejection.ts'
import { tell } from './call-metadata.ts'
import type { ServerStatus } from './types.ts'

/** ms after which a client of gRPC may repeat (gRFC A6); it knows no Retry-After. */
const PUSHBACK = 'grpc-retry-pushback-ms'
const NO_PUSHBACK = -1

/**
 * A refusal in the words of gRPC: its status, its text, and its marks as trailing metadata.
 * @param extra name, value, ... that the way in wants said besides; null = nothing
 */
export function statusOf(refusal: Rejection, extra: readonly string[] | null): ServerStatus {
  const metadata = new Metadata()
  tellAll(metadata, refusal.headers)
  if (extra !== null) tellAll(metadata, extra)
  const ms = Math.max(pushbackOf(refusal.headers), extra === null ? NO_PUSHBACK : pushbackOf(extra))
  if (ms !== NO_PUSHBACK) metadata.set(PUSHBACK, String(ms))
  return { code: refusal.grpcStatus, details: refusal.body, metadata }
}

export function tellAll(metadata: Metadata, pairs: readonly string[]): void {
  for (let i = 0; i < pairs.length; i += 2) tell(metadata, pairs[i]!, pairs[i + 1]!)
}

/** What Retry-After or its finer form says; not of a date, which only configuration could name. */
function pushbackOf(pairs: readonly string[]): number {
  let ms = NO_PUSHBACK
  for (let i = 0; i < pairs.length; i += 2) {
    const value = pairs[i + 1]!
    if (!/^\d{1,7}$/.test(value)) continue
    if (pairs[i] === 'retry-after-ms') return Number(value)
    if (pairs[i] === 'retry-after') ms = Number(value) * 1000
  }
  return ms
}
