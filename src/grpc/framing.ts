/** Length-Prefixed-Message of gRPC over HTTP/2: one byte of flags, four of length, the message. */
export const PREFIX = 5

const COMPRESSED = 1
/** Bytes of what was read at once that a small message may keep from being freed. */
const RETAINED = 4_096

/** The frame of one message, in a buffer of its own. */
export function frame(message: Uint8Array, compressed: boolean): Buffer {
  const framed = Buffer.allocUnsafe(PREFIX + message.length)
  framed[0] = compressed ? COMPRESSED : 0
  framed.writeUInt32BE(message.length, 1)
  framed.set(message, PREFIX)
  return framed
}

/** Who gets the messages of a {@link FrameDecoder}. */
export interface FrameSink {
  /** A message; what comes after it is decoded when this returns. */
  frame(message: Buffer, compressed: boolean): void
  /** A message is longer than `limit` bytes: nothing more will be decoded. */
  frameTooLong(length: number): void
}

/** Takes messages out of a stream of bytes that is cut anywhere: several in one piece, or one in many. */
export class FrameDecoder {
  private readonly limit: number
  private readonly prefix = Buffer.allocUnsafe(PREFIX)
  /** Bytes of `prefix` that are there. */
  private prefixed = 0
  /** The message that is on its way; null = none. */
  private partial: Buffer | null = null
  private filled = 0
  private broken = false

  /** @param limit bytes that a message may have */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Whether the bytes end where a message does. */
  get whole(): boolean {
    return this.prefixed === 0
  }

  push(chunk: Buffer, sink: FrameSink): void {
    let at = 0
    while (at < chunk.length && !this.broken) {
      if (this.partial === null) at = this.begin(chunk, at, sink)
      else at = this.fill(chunk, at, sink)
    }
  }

  /** At a prefix, or in the middle of one. @returns where to go on */
  private begin(chunk: Buffer, from: number, sink: FrameSink): number {
    let at = from
    let head = chunk
    let start = at
    if (this.prefixed > 0 || chunk.length - at < PREFIX) {
      while (this.prefixed < PREFIX && at < chunk.length) this.prefix[this.prefixed++] = chunk[at++]!
      if (this.prefixed < PREFIX) return at
      head = this.prefix
      start = 0
    } else at += PREFIX
    const length = head.readUInt32BE(start + 1)
    if (length > this.limit) {
      this.broken = true
      sink.frameTooLong(length)
      return chunk.length
    }
    if (chunk.length - at >= length) {
      const compressed = (head[start]! & COMPRESSED) !== 0
      this.prefixed = 0
      const message = chunk.subarray(at, at + length)
      sink.frame(mustCopy(message) ? Buffer.from(message) : message, compressed)
      return at + length
    }
    if (this.prefixed === 0) chunk.copy(this.prefix, 0, start, start + PREFIX)
    this.prefixed = PREFIX
    this.partial = Buffer.allocUnsafeSlow(length)
    this.filled = 0
    return at
  }

  private fill(chunk: Buffer, from: number, sink: FrameSink): number {
    const partial = this.partial!
    const n = Math.min(partial.length - this.filled, chunk.length - from)
    chunk.copy(partial, this.filled, from, from + n)
    this.filled += n
    if (this.filled === partial.length) {
      const compressed = (this.prefix[0]! & COMPRESSED) !== 0
      this.partial = null
      this.prefixed = 0
      sink.frame(partial, compressed)
    }
    return from + n
  }
}

/** A few bytes that somebody keeps must not keep alive all that came with them. */
function mustCopy(message: Buffer): boolean {
  const { byteLength } = message.buffer
  return byteLength > RETAINED && message.length * 4 < byteLength
}
