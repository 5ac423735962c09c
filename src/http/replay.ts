import type { Readable } from 'node:stream'

/** Bytes of a streamed request body that are kept for another try, unless the route's retry policy says otherwise. */
export const REPLAY_LIMIT = 64 * 1024

type Chunk = string | ArrayBufferView | ArrayBuffer
type Source = AsyncIterable<Chunk> | Iterable<Chunk> | Readable

/** Why a reader that belongs to an earlier try stops. */
const superseded = new Error('the request was sent again: this try reads no further')

/**
 * A request body that can be read again from its start while little of it went through. The source is pulled at the pace
 * of the try that reads it; it is never destroyed because a try ended, only by {@link destroy}.
 */
export class ReplayBody {
  /** The source's own failure, which is the caller's and no peer's. */
  failed: unknown
  private readonly source: Source
  private readonly iterator: AsyncIterator<Chunk> | Iterator<Chunk>
  private limit: number
  private readonly chunks: Uint8Array[] = []
  /** Index of chunks[0] in the whole body. */
  private base = 0
  private bytes = 0
  private keep = true
  private ended = false
  private readers = 0
  private pulling: Promise<void> | null = null
  private captures: Capture[] | null = null

  constructor(source: Source, limit: number = REPLAY_LIMIT) {
    this.source = source
    this.limit = limit
    this.iterator =
      Symbol.asyncIterator in source
        ? (source as AsyncIterable<Chunk>)[Symbol.asyncIterator]()
        : (source as Iterable<Chunk>)[Symbol.iterator]()
    // A stream that breaks while nobody reads it must not end the process; whoever reads on gets its error.
    if (isStream(source)) source.on('error', ignore)
  }

  /** Whether it could be read again from its start. Never true again once false. */
  get replayable(): boolean {
    return this.base === 0 && this.failed === undefined
  }

  /** Bytes that are kept for another try from now on; what is gone is gone. */
  keepUpTo(bytes: number): void {
    this.limit = bytes
  }

  /** No try will follow the one that reads now: nothing needs to be kept. */
  commit(): void {
    this.keep = false
  }

  /**
   * Collects the body while others read it. `done` gets all of it, or null when it is larger than `limit` bytes or was never
   * read to its end; not before this returns.
   */
  capture(limit: number, done: (body: Uint8Array | null) => void): void {
    this.captures ??= []
    this.captures.push({ limit, chunks: [], bytes: 0, done })
  }

  /** For one try, from the first byte on; readers before it fail at their next step, for a truncated body must not look whole. */
  async *read(): AsyncGenerator<Uint8Array, void, void> {
    const mine = ++this.readers
    for (let i = 0; ; ) {
      while (i >= this.base + this.chunks.length) {
        if (this.failed !== undefined) throw this.failed
        if (this.ended) return
        this.pulling ??= this.pull()
        await this.pulling
        if (mine !== this.readers) throw superseded
      }
      const chunk = this.chunks[i - this.base]!
      i++
      if (!this.keep || this.bytes > this.limit) {
        this.keep = false
        this.chunks.splice(0, i - this.base)
        this.base = i
      }
      yield chunk
      if (mine !== this.readers) throw superseded
    }
  }

  /** The call is over: the source is told, as undici tells a stream that nobody reads any more. */
  destroy(reason: Error | undefined): void {
    this.readers++
    this.chunks.length = 0
    this.endCaptures(false)
    if (this.ended || this.failed !== undefined) return
    this.ended = true
    if (isStream(this.source)) {
      this.source.destroy(reason)
      return
    }
    try {
      const returned = this.iterator.return?.()
      if (returned instanceof Promise) returned.catch(ignore)
    } catch {
      // What a body's iterator throws when it is told to stop concerns nobody: the call has its result.
    }
  }

  private endCaptures(whole: boolean): void {
    const { captures } = this
    this.captures = null
    for (const { chunks, bytes, limit, done } of captures ?? [])
      done(whole && bytes <= limit ? Buffer.concat(chunks) : null)
  }

  private async pull(): Promise<void> {
    try {
      const result = await this.iterator.next()
      if (result.done === true) {
        this.ended = true
        this.endCaptures(true)
      } else if (!this.ended) {
        const chunk = bytesOf(result.value)
        if (this.captures !== null) for (const capture of this.captures) take(capture, chunk)
        this.bytes += chunk.byteLength
        this.chunks.push(chunk)
      }
    } catch (error) {
      this.failed = error ?? new Error('the request body failed without saying why')
      this.endCaptures(false)
    } finally {
      this.pulling = null
    }
  }
}

interface Capture {
  readonly limit: number
  readonly chunks: Uint8Array[]
  bytes: number
  readonly done: (body: Uint8Array | null) => void
}

function take(capture: Capture, chunk: Uint8Array): void {
  capture.bytes += chunk.byteLength
  if (capture.bytes <= capture.limit) capture.chunks.push(chunk)
  else capture.chunks.length = 0
}

function bytesOf(chunk: Chunk): Uint8Array {
  if (typeof chunk === 'string') return Buffer.from(chunk)
  if (chunk instanceof Uint8Array) return chunk
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk)
  throw new TypeError('a request body must yield strings, ArrayBuffers or views of them')
}

function isStream(source: Source): source is Readable {
  return typeof (source as Partial<Readable>).pipe === 'function'
}

function ignore(): void {}
