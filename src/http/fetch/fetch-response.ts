import { Readable } from 'node:stream'
import type { FastRequest } from './fast-request.ts'
import type { FetchBody } from './fetch-body.ts'

type RawHeaders = Record<string, string | string[] | undefined>

/**
 * A `Response` that makes of itself only what is asked for: `text()`, `json()` and the like read the bytes as they came;
 * `headers`, `body` and `clone()` make the real thing when they are first touched.
 */
export class FetchResponse extends (Response as unknown as new (body: null) => object) {
  readonly #request: FastRequest
  readonly #status: number
  readonly #statusText: string
  readonly #raw: RawHeaders
  readonly #source: FetchBody | null
  readonly #redirected: boolean
  #headers: Headers | null = null
  #stream: ReadableStream<Uint8Array> | null = null
  #used = false

  constructor(
    request: FastRequest,
    status: number,
    statusText: string,
    raw: RawHeaders,
    source: FetchBody | null,
    redirected: boolean,
  ) {
    super(null)
    this.#request = request
    this.#status = status
    this.#statusText = statusText
    this.#raw = raw
    this.#source = source
    this.#redirected = redirected
    if (source !== null) source.onPause = () => source.watch(this)
  }

  get status(): number {
    return this.#status
  }

  get statusText(): string {
    return this.#statusText
  }

  get ok(): boolean {
    return this.#status >= 200 && this.#status <= 299
  }

  get redirected(): boolean {
    return this.#redirected
  }

  get type(): 'basic' {
    return 'basic'
  }

  get url(): string {
    return new URL(this.#request.origin + this.#request.path).href
  }

  get headers(): Headers {
    if (this.#headers !== null) return this.#headers
    const headers = new Headers()
    for (const name in this.#raw) {
      const value = this.#raw[name]
      if (typeof value === 'string') headers.append(name, value)
      else if (value !== undefined) for (const one of value) headers.append(name, one)
    }
    this.#headers = headers
    return headers
  }

  get body(): ReadableStream<Uint8Array<ArrayBuffer>> | null {
    if (this.#source === null) return null
    this.#stream ??= this.#used ? spent() : this.#source.stream()
    return this.#stream as ReadableStream<Uint8Array<ArrayBuffer>>
  }

  get bodyUsed(): boolean {
    return this.#used || (this.#stream !== null && disturbed(this.#stream))
  }

  text(): Promise<string> {
    return this.#whole().then(decode)
  }

  json(): Promise<unknown> {
    return this.#whole().then((bytes) => JSON.parse(decode(bytes)))
  }

  bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#whole().then((bytes) => new Uint8Array(bytes))
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    return this.bytes().then((bytes) => bytes.buffer)
  }

  blob(): Promise<Blob> {
    return this.bytes().then((bytes) => new Blob([bytes], { type: this.headers.get('content-type') ?? '' }))
  }

  formData(): Promise<FormData> {
    const type = this.headers.get('content-type') ?? ''
    return this.bytes().then((bytes) => new Response(bytes, { headers: { 'content-type': type } }).formData())
  }

  clone(): FetchResponse {
    if (this.bodyUsed || this.#stream?.locked === true)
      throw new TypeError('Response.clone: Body has already been consumed.')
    const { body } = this
    const copy = new FetchResponse(
      this.#request,
      this.#status,
      this.#statusText,
      this.#raw,
      this.#source,
      this.#redirected,
    )
    if (body !== null) {
      const [mine, theirs] = body.tee()
      this.#stream = mine
      copy.#stream = theirs
    }
    return copy
  }

  #whole(): Promise<Uint8Array> {
    if (this.bodyUsed || this.#stream?.locked === true)
      return Promise.reject(new TypeError('Body is unusable: Body has already been read'))
    const source = this.#source
    // No body is no body read, as often as one likes.
    if (source === null) return Promise.resolve(nothing)
    this.#used = true
    if (this.#stream === null && !source.coded) return source.whole()
    this.#stream ??= source.stream()
    return new Response(this.#stream as ReadableStream<Uint8Array<ArrayBuffer>>).bytes()
  }
}

const nothing = new Uint8Array(0)
const utf8 = new TextDecoder()

/** UTF-8 without its byte order mark. */
function decode(bytes: Uint8Array): string {
  return bytes instanceof Buffer && bytes[0] !== 0xef ? bytes.toString('utf8') : utf8.decode(bytes)
}

/** The stream of a body that was read by other means. */
function spent(): ReadableStream<Uint8Array> {
  const stream = new ReadableStream<Uint8Array>({ start: (controller) => controller.close() })
  stream.getReader()
  return stream
}

function disturbed(stream: ReadableStream): boolean {
  // Takes streams of the web too, which its type does not say.
  return Readable.isDisturbed(stream as unknown as Readable)
}
