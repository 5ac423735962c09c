import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { RouteEdits } from '../engine/route.ts'
import type { HttpExchange } from './exchange.ts'
import { flatHeaders } from './headers.ts'

type Controller = Dispatcher.DispatchController
type Headers = Record<string, string | string[] | undefined>

/** Hands a call on to a plain dispatcher, as if there were no mesh, while the caller keeps the controller that it has. */
export class Relay implements Dispatcher.DispatchHandler {
  private readonly exchange: HttpExchange
  private controller: Controller | null = null

  constructor(exchange: HttpExchange) {
    this.exchange = exchange
  }

  start(plain: Dispatcher): void {
    const { exchange } = this
    const body = exchange.bodyForTry() as Dispatcher.DispatchOptions['body']
    const edits = exchange.outside?.edits ?? null
    if (edits === null) plain.dispatch({ ...exchange.options, body }, this)
    else {
      const { query: _inPath, ...options } = exchange.options
      plain.dispatch(
        { ...options, path: edits.path(exchange.path), headers: editedHeaders(edits, exchange), body },
        this,
      )
    }
  }

  /** The caller lost interest. */
  abort(reason: Error): void {
    this.controller?.abort(reason)
  }

  onRequestStart(controller: Controller): void {
    this.controller = controller
    if (this.exchange.reason !== null) controller.abort(this.exchange.reason)
  }

  onResponseStart(controller: Controller, status: number, headers: Headers, statusText?: string): void {
    if (status >= 200) this.exchange.deliver(controller, status, headers, statusText, 0)
    else this.exchange.deliverInformation(status, headers, statusText)
  }

  onResponseData(_controller: Controller, chunk: Buffer): void {
    this.exchange.deliverData(chunk)
  }

  onResponseEnd(controller: Controller, trailers: Headers): void {
    this.exchange.deliverEnd(controller, trailers)
  }

  onRequestUpgrade(controller: Controller, status: number, headers: Headers, socket: Duplex): void {
    this.exchange.deliverUpgrade(controller, status, headers, socket)
  }

  onResponseError(_controller: Controller | null, error: Error): void {
    this.exchange.fail(error)
  }
}

/** What the route changes, without the marks by which proxies tell each other: nobody of the mesh reads them there. */
function editedHeaders(edits: RouteEdits, exchange: HttpExchange): string[] {
  const headers = flatHeaders(exchange.headers) as string[]
  const at = headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'host')
  const before = at < 0 ? exchange.authority : headers[at + 1]!
  const authority = edits.authority(before)
  if (authority !== before) {
    if (at < 0) headers.push('host', authority)
    else headers[at + 1] = authority
  }
  edits.request(headers, exchange, null)
  return headers
}
