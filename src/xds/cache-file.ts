import { createHash } from 'node:crypto'
import type { CachedResource } from './cache.ts'

/*
 * Layout: magic, format version (u32), length of the payload (u32), SHA-256 of the payload; then the payload:
 * length of the index (u32), index (JSON), values one after the other. Big endian.
 */
const MAGIC = Buffer.from('inmesh-xds-cache')
const FORMAT = 1
const HEADER = MAGIC.length + 4 + 4 + 32

export interface CacheContent {
  /** Wall clock ms. */
  readonly savedAt: number
  readonly entries: readonly CachedResource[]
}

interface Index {
  readonly savedAt: number
  readonly entries: readonly (Omit<CachedResource, 'value'> & { readonly length: number })[]
}

export function encodeCache(content: CacheContent): Buffer {
  const index: Index = {
    savedAt: content.savedAt,
    entries: content.entries.map(({ typeUrl, name, version, seenAt, value }) => ({
      typeUrl,
      name,
      version,
      seenAt,
      length: value.length,
    })),
  }
  const json = Buffer.from(JSON.stringify(index))
  const payload = Buffer.concat([u32(json.length), json, ...content.entries.map((e) => e.value)])
  const hash = createHash('sha256').update(payload).digest()
  return Buffer.concat([MAGIC, u32(FORMAT), u32(payload.length), hash, payload])
}

/** Throws an Error that says what is wrong when the file is not whole, not ours or of another format. */
export function decodeCache(file: Buffer): CacheContent {
  if (file.length < HEADER) throw new Error(`is cut off: ${file.length} bytes are less than a header`)
  if (!file.subarray(0, MAGIC.length).equals(MAGIC)) throw new Error('is not a cache of inmesh')
  const format = file.readUInt32BE(MAGIC.length)
  if (format !== FORMAT) throw new Error(`has format ${format}, expected ${FORMAT}`)
  const payload = file.subarray(HEADER)
  const length = file.readUInt32BE(MAGIC.length + 4)
  if (payload.length !== length) throw new Error(`has ${payload.length} bytes of content, expected ${length}`)
  const hash = createHash('sha256').update(payload).digest()
  if (!hash.equals(file.subarray(MAGIC.length + 8, HEADER))) throw new Error('has a wrong checksum')

  const indexLength = payload.readUInt32BE(0)
  const index: Index = JSON.parse(payload.toString('utf8', 4, 4 + indexLength))
  let offset = 4 + indexLength
  const entries = index.entries.map(({ length, ...entry }) => {
    // A copy of its own: a slice would keep the whole file in memory.
    const value = new Uint8Array(payload.subarray(offset, offset + length))
    offset += length
    return { ...entry, value }
  })
  return { savedAt: index.savedAt, entries }
}

function u32(n: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(n)
  return bytes
}
