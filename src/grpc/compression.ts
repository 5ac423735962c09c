import { deflate, gunzip, gzip, inflate } from 'node:zlib'

export type Encoding = 'identity' | 'deflate' | 'gzip'

type Done = (error: Error | null, bytes: Buffer) => void

/** Compresses a message; later. */
export function compress(encoding: Encoding, message: Buffer, done: Done): void {
  if (encoding === 'gzip') gzip(message, done)
  else deflate(message, done)
}

/**
 * @param limit bytes that may come out: what would be more fails with code ERR_BUFFER_TOO_LARGE before it is there
 * @returns false = nobody knows this encoding
 */
export function decompress(encoding: string, message: Buffer, limit: number, done: Done): boolean {
  const options = Number.isFinite(limit) ? { maxOutputLength: Math.max(limit, 1) } : {}
  if (encoding === 'gzip') gunzip(message, options, done)
  else if (encoding === 'deflate') inflate(message, options, done)
  else return false
  return true
}
