import type { Dispatcher } from 'undici'
import type { MeshDispatcher } from '../dispatcher.ts'
import type { FastRequest } from './fast-request.ts'
import { FetchBody } from './fetch-body.ts'
import { FetchResponse } from './fetch-response.ts'
import { redirected } from './redirect.ts'

type Headers = Record<string, string | string[] | undefined>
type Controller = Dispatcher.DispatchController

/** Fetch standard, HTTP-redirect fetch. */
const MAX_REDIRECTS = 20
/** Bytes of a redirect's body that are read for the sake of the connection. */
const DRAIN_LIMIT = 64 * 1024

/** One fetch on the short way: undici's handler, first of the request and its redirects, then of the body. */
export class FetchCall implements Dispatcher.DispatchHandler {
  private readonly dispatcher: MeshDispatcher
  private readonly resolve: (response: Response) => void
  private readonly reject: (error: unknown) => void
  private readonly signal: AbortSignal | null
  private request: FastRequest
  private controller: Controller | null = null
  private body: FetchBody | null = null
  private next: FastRequest | null = null
  private redirects = 0
  private dropped = 0

  constructor(
    dispatcher: MeshDispatcher,
    request: FastRequest,
    resolve: (response: Response) => void,
    reject: (error: unknown) => void,
  ) {
    this.dispatcher = dispatcher
    this.request = request
    this.resolve = resolve
    this.reject = reject
    this.signal = request.signal
    if (this.signal !== null) {
      if (this.signal.aborted) {
        reject(this.signal.reason)
        return
      }
      this.signal.addEventListener('abort', this)
    }
    this.send()
  }

  /** Of the signal. */
  handleEvent(): void {
    const reason: unknown = this.signal!.reason
    this.body?.fail(reason)
    this.reject(reason)
    this.release()
    this.controller?.abort(reason instanceof Error ? reason : new Error('aborted', { cause: reason }))
  }

  onRequestStart(controller: Controller): void {
    this.controller = controller
  }

  onResponseStart(controller: Controller, status: number, headers: Headers, statusText?: string): void {
    if (status < 200) return
    const { request } = this
    const location = isRedirect(status) ? headers.location : undefined
    if (typeof location === 'string' && request.redirect !== 'manual') {
      if (request.redirect === 'error') throw new TypeError('unexpected redirect')
      if (++this.redirects > MAX_REDIRECTS) throw new TypeError('redirect count exceeded')
      this.next = redirected(request, status, location)
      return
    }
    const bodiless = request.method === 'HEAD' || status === 204 || status === 205 || status === 304
    const body = bodiless ? null : new FetchBody(controller, headers)
    this.body = body
    const response = new FetchResponse(request, status, statusText ?? '', headers, body, this.redirects > 0)
    // By its prototype it is one.
    this.resolve(response as unknown as Response)
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.body !== null) {
      this.body.push(chunk)
      return
    }
    this.dropped += chunk.length
    if (this.dropped > DRAIN_LIMIT) controller.abort(new Error('the rest of a redirect'))
  }

  onResponseEnd(): void {
    if (this.follow()) return
    this.release()
    this.body?.end()
  }

  onResponseError(_controller: Controller | null, error: Error): void {
    if (this.follow()) return
    this.release()
    if (this.body !== null) this.body.fail(new TypeError('terminated', { cause: error }))
    else this.reject(new TypeError('fetch failed', { cause: error }))
  }

  private send(): void {
    const { method, origin, path, headers, body } = this.request
    this.dispatcher.dispatch(
      { origin, path, method: method as Dispatcher.HttpMethod, headers: headers as string[], body },
      this,
    )
  }

  private follow(): boolean {
    const { next } = this
    if (next === null || this.signal?.aborted === true) return false
    this.request = next
    this.next = null
    this.dropped = 0
    this.send()
    return true
  }

  private release(): void {
    this.signal?.removeEventListener('abort', this)
  }
}

function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308
}
