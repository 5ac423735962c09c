import { randomFillSync } from 'node:crypto'

const POOL_BYTES = 4_096
const pool = Buffer.allocUnsafeSlow(POOL_BYTES)
let used = POOL_BYTES

/** Takes `bytes` of the pool, refilled by one call of the system's generator per 4 KiB. */
function take(bytes: number): number {
  if (used + bytes > POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  const at = used
  used += bytes
  return at
}

/** 16 lower-case hex digits, never all zero (W3C trace-context, parent-id). */
export function newSpanId(): string {
  const at = take(8)
  // A zero draw has a chance of 2^-64; the standard forbids it all the same.
  if (pool.readUInt32LE(at) === 0) pool[at] = 1
  return pool.toString('hex', at, at + 8)
}

const digits = Buffer.from('0123456789abcdef', 'latin1')
const line = Buffer.from('00-00000000000000000000000000000000-0000000000000000-00', 'latin1')

/** A whole traceparent of a new trace, 55 characters in one string allocation. */
export function newTraceparent(sampled: boolean): string {
  const at = take(24)
  if (pool.readUInt32LE(at) === 0) pool[at] = 1
  if (pool.readUInt32LE(at + 16) === 0) pool[at + 16] = 1
  let to = 3
  for (let i = 0; i < 24; i++) {
    if (i === 16) to = 36
    const byte = pool[at + i]!
    line[to++] = digits[byte >> 4]!
    line[to++] = digits[byte & 15]!
  }
  line[54] = sampled ? 0x31 : 0x30
  return line.toString('latin1', 0, 55)
}

/** A random UUID (version 4) for x-request-id. */
export { randomUUID as newRequestId } from 'node:crypto'
