import { Readable, type Transform } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import type { Dispatcher } from 'undici'

type Controller = Dispatcher.DispatchController

/** Bytes that are read ahead while nobody asks for the body. */
const AHEAD = 64 * 1024

interface Waiting {
  resolve(bytes: Buffer): void
  reject(error: unknown): void
}

/** A body nobody reads any more must not keep its connection for ever. */
const forgotten = new FinalizationRegistry<Controller>((controller) =>
  controller.abort(new Error('the response was forgotten before its body was read')),
)

/**
 * The body of an answer while it comes in: kept as it is until somebody wants all of it, or made a stream when somebody
 * wants that. Beyond what is read ahead the sender has to wait.
 */
export class FetchBody {
  private readonly controller: Controller
  private readonly decoder: Transform | null
  private chunks: Buffer[] = []
  private length = 0
  private ended = false
  private failure: { readonly error: unknown } | null = null
  private waiting: Waiting | null = null
  private sink: ReadableStreamDefaultController<Uint8Array> | null = null
  private paused = false

  constructor(controller: Controller, headers: Record<string, string | string[] | undefined>) {
    this.controller = controller
    const coding = headers['content-encoding']
    this.decoder = coding === undefined ? null : decoderOf(String(coding))
    this.decoder?.on('drain', () => this.resume())
  }

  /** Whether only a stream can give it: it is decoded on the way. */
  get coded(): boolean {
    return this.decoder !== null
  }

  /** Of the transport. */
  push(chunk: Buffer): void {
    if (this.failure !== null) return
    if (this.decoder !== null) {
      if (!this.decoder.write(chunk)) this.pause()
    } else if (this.sink !== null) {
      this.sink.enqueue(chunk)
      if ((this.sink.desiredSize ?? 0) <= 0) this.pause()
    } else {
      this.chunks.push(chunk)
      this.length += chunk.length
      if (this.length > AHEAD && this.waiting === null) this.pause()
    }
  }

  /** Of the transport. */
  end(): void {
    if (this.failure !== null) return
    this.ended = true
    if (this.decoder !== null) this.decoder.end()
    else if (this.sink !== null) this.sink.close()
    else this.waiting?.resolve(this.take())
  }

  /** It breaks off. */
  fail(error: unknown): void {
    if (this.ended || this.failure !== null) return
    this.failure = { error }
    if (this.decoder !== null)
      this.decoder.destroy(error instanceof Error ? error : new Error('aborted', { cause: error }))
    else if (this.sink !== null) this.sink.error(error)
    else this.waiting?.reject(error)
  }

  /** All of it. Asked once, and not together with `stream`. */
  whole(): Promise<Buffer> {
    if (this.failure !== null) return Promise.reject(this.failure.error)
    if (this.ended) return Promise.resolve(this.take())
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject }
      this.resume()
    })
  }

  /** As it comes. Asked once, and not together with `whole`. */
  stream(): ReadableStream<Uint8Array> {
    if (this.decoder !== null)
      return Readable.toWeb(this.decoder, { type: 'bytes' } as object) as ReadableStream<Uint8Array>
    return new ReadableStream<Uint8Array>({
      start: (sink) => {
        for (const chunk of this.chunks) sink.enqueue(chunk)
        this.chunks = []
        this.sink = sink
        if (this.failure !== null) sink.error(this.failure.error)
        else if (this.ended) sink.close()
      },
      pull: () => this.resume(),
      cancel: (reason) => {
        this.failure ??= { error: reason }
        if (!this.ended)
          this.controller.abort(reason instanceof Error ? reason : new Error('cancelled', { cause: reason }))
      },
    })
  }

  /** When `owner` is garbage, so is what it has not read. */
  watch(owner: object): void {
    forgotten.register(owner, this.controller)
  }

  /** Told when it first makes the sender wait. */
  onPause: (() => void) | null = null

  private take(): Buffer {
    const { chunks } = this
    this.chunks = []
    return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, this.length)
  }

  private pause(): void {
    if (this.paused) return
    this.paused = true
    this.controller.pause()
    this.onPause?.()
    this.onPause = null
  }

  private resume(): void {
    if (!this.paused) return
    this.paused = false
    this.controller.resume()
  }
}

/** null = not coded, or in a way that nobody here knows: then the bytes are given as they are. */
function decoderOf(coding: string): Transform | null {
  switch (coding.trim().toLowerCase()) {
    case 'gzip':
    case 'x-gzip':
      return createGunzip()
    case 'deflate':
      return createInflate()
    case 'br':
      return createBrotliDecompress()
    case 'zstd':
      return createZstdDecompress()
    default:
      return null
  }
}
