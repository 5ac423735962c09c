import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { editByApp } from '../engine/app-hooks.ts'
import { Attempt } from '../engine/attempt.ts'
import type { Call } from '../engine/call.ts'
import type { HostRuntime } from '../engine/host.ts'
import { Kind } from '../engine/outcome.ts'
import { SPENT_HEADER } from '../engine/retry-tree.ts'
import type { RouteEdits } from '../engine/route.ts'
import { learnLoad } from '../orca/answer.ts'
import { REPORT_BIN_HEADER, REPORT_HEADER } from '../orca/header.ts'
import type { Failure } from '../transport/connect-failure.ts'
import { tellPeer, tellWait } from '../transport/hop-headers.ts'
import { classifyRequest } from './classify.ts'
import { type Connection, stale } from './connection.ts'
import type { HttpExchange } from './exchange.ts'
import { requestHeaders } from './headers.ts'
import { HeldAnswer, isJudgeable } from './held-answer.ts'
import type { HttpHostLink } from './host-link.ts'

/** Bytes of an answer nobody wants that are read for the sake of the connection. */
const DRAIN_LIMIT = 64 * 1024
const DRAIN_MS = 1_000

type ResponseHeaders = Record<string, string | string[] | undefined>

/** Changes headers and authority as the route says. @returns the path as it goes out */
function editRequest(edits: RouteEdits, headers: string[], before: string, call: Call): string {
  const authority = edits.authority(headers[1]!)
  if (authority !== headers[1] && !call.route.shadow) headers.push('x-envoy-original-host', headers[1]!)
  headers[1] = authority
  const path = edits.path(before)
  if (path !== before) headers.push('x-envoy-original-path', before)
  edits.request(headers, call.exchange, call)
  return path
}

/** -1 = it is no answer of gRPC, or its status comes in trailers. */
function grpcStatusIn(headers: ResponseHeaders): number {
  const text = headers['grpc-status']
  return typeof text === 'string' && /^\d{1,2}$/.test(text) ? Number(text) : -1
}

function readLoad(attempt: HttpAttempt, headers: ResponseHeaders): void {
  learnLoad(attempt, single(headers[REPORT_BIN_HEADER]), single(headers[REPORT_HEADER]))
}

function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'object' ? value[0] : value
}

/** undici may call an attempt that was given up before it was written: this stops it and keeps the connection. */
const givenUp = new Error('the attempt was given up before it was sent')

/**
 * One try over HTTP/1.1. It is undici's handler itself: what undici tells goes to the engine, and what the engine wants
 * delivered goes to the caller's handler.
 */
export class HttpAttempt extends Attempt implements Dispatcher.DispatchHandler {
  readonly exchange: HttpExchange
  /** Where it waits for a connection. */
  link: HttpHostLink | null = null
  before: HttpAttempt | null = null
  after: HttpAttempt | null = null
  connection: Connection | null = null
  /** What its connection had read when it was sent. */
  bytesBefore = 0
  private controller: Dispatcher.DispatchController | null = null
  private over = false
  private answered = false
  private headers: ResponseHeaders | null = null
  private dropped = 0
  private held: HeldAnswer | null = null
  private drainTimer: NodeJS.Timeout | null = null

  constructor(call: Call, host: HostRuntime, exchange: HttpExchange) {
    super(call, host)
    this.exchange = exchange
  }

  override start(): void {
    this.exchange.dispatcher.linkOf(this.host, this.call.cluster).send(this)
  }

  override abort(): void {
    this.over = true
    if (this.link !== null) this.link.forget(this)
    // Over HTTP/1.1 the connection goes with it: what comes late must not be taken for the next answer, and a peer that
    // stayed silent may stay silent for the next request too. Over HTTP/2 only that second reason is left.
    else {
      if (this.connection?.multiplexed === true && this.connection.silentSince(this.bytesBefore))
        this.connection.retire()
      if (this.controller !== null) this.controller.abort(this.exchange.reason ?? givenUp)
    }
  }

  /** What undici gets to send. */
  dispatchOptions(): Dispatcher.DispatchOptions & { servername: string } {
    const { exchange } = this
    const { options } = exchange
    const headers = requestHeaders(exchange.headers, exchange.authority, this)
    tellPeer(headers, this)
    tellWait(headers, this)
    const { edits } = this.call.route
    const path = edits === null ? exchange.path : editRequest(edits, headers, exchange.path, this.call)
    if (this.call.appHeaders !== null) editByApp(this.call.appHeaders, headers)
    return {
      path,
      method: exchange.method as Dispatcher.HttpMethod,
      headers,
      body: exchange.bodyForTry() as Dispatcher.DispatchOptions['body'],
      upgrade: options.upgrade,
      headersTimeout: options.headersTimeout ?? 0,
      bodyTimeout: options.bodyTimeout ?? 0,
      // Says nothing to anybody here; without it undici would look for one in the Host header.
      servername: 'mesh',
    }
  }

  /** It never got to a connection. */
  failed(failure: Failure, cause: unknown): void {
    if (this.over) return
    this.over = true
    this.rejection = failure.rejection
    this.end(failure.kind, cause)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.over) throw givenUp
    this.controller = controller
    this.sent()
  }

  onResponseStarted(): void {
    this.answered = true
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: ResponseHeaders,
    statusText?: string,
  ): void {
    if (status < 200) return
    const grpcStatus = grpcStatusIn(headers)
    this.headers = headers
    if (status >= 400 || grpcStatus > 0) this.readMarks(status, headers)
    if (this.wantsLoad) readLoad(this, headers)
    const { classifier } = this.call.route
    if (classifier !== null && !this.over) {
      if (classifier.bodyBytes > 0 && this.exchange.method !== 'HEAD' && isJudgeable(headers)) {
        this.held = new HeldAnswer(classifier.bodyBytes, status, headers, statusText, grpcStatus)
        return
      }
      this.classified = classifier.classify(this.call, { status, headers, bodyStart: null, whole: false })
    }
    this.decide(controller, status, headers, statusText, grpcStatus)
  }

  /** The engine says whether this answer goes to the caller. */
  private decide(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: ResponseHeaders,
    statusText: string | undefined,
    grpcStatus: number,
  ): void {
    if (!this.over && this.head(status, grpcStatus)) {
      this.exchange.deliver(controller, status, headers, statusText, this.startedAt + this.elapsedMs)
    } else this.drain(controller)
  }

  /** The app has seen enough of the answer to judge it. */
  private letGo(controller: Dispatcher.DispatchController, held: HeldAnswer, whole: boolean): void {
    this.held = null
    if (!this.over) this.classified = held.judge(this.call.route.classifier!, this.call, whole)
    this.decide(controller, held.status, held.headers, held.statusText, held.grpcStatus)
    for (const chunk of held.chunks) this.onResponseData(controller, chunk)
  }

  /** What a failing answer says about itself. */
  private readMarks(status: number, headers: ResponseHeaders): void {
    if (status === 503 && headers['x-inmesh-not-started'] === '1') this.notStarted = true
    if (headers['x-envoy-ratelimited'] !== undefined) this.rateLimited = true
    if (headers['x-envoy-overloaded'] !== undefined) this.overloaded = true
    if (headers[SPENT_HEADER] === '1') this.spent = true
  }

  override responseHeader(name: string): string | undefined {
    const value = this.headers?.[name]
    return typeof value === 'object' ? value.join(',') : value
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.held !== null) {
      if (this.held.add(chunk)) this.letGo(controller, this.held, false)
      return
    }
    if (this.delivered) {
      this.exchange.deliverData(chunk)
      return
    }
    this.dropped += chunk.length
    if (this.dropped > DRAIN_LIMIT) controller.abort(givenUp)
  }

  onResponseEnd(controller: Dispatcher.DispatchController, trailers: ResponseHeaders): void {
    if (this.held !== null) this.letGo(controller, this.held, true)
    if (this.wantsLoad) readLoad(this, trailers)
    this.release()
    if (this.over) return
    this.over = true
    this.end(Kind.Response, null)
    if (this.delivered) this.exchange.deliverEnd(controller, trailers)
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: ResponseHeaders,
    socket: Duplex,
  ): void {
    this.connection = null
    if (this.over || !this.head(status, -1)) {
      socket.destroy()
      return
    }
    this.over = true
    this.end(Kind.Response, null)
    this.exchange.deliverUpgrade(controller, status, headers, socket)
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    const { connection } = this
    if (!this.wasSent && connection !== null && !this.over && (error === stale || connection.socket.destroyed)) {
      this.connection = null
      connection.running--
      connection.link.again(this)
      return
    }
    const first = connection !== null && connection.requests === 1
    if (!this.wasSent && connection !== null && this.controller === null && error !== givenUp) {
      this.connection = null
      connection.link.unused(connection)
    } else this.release()
    if (this.over) return
    this.over = true
    const failure =
      this.exchange.causedByCaller(error) || !this.wasSent
        ? { kind: Kind.Cancelled, rejection: null }
        : classifyRequest(error, this.answered, first)
    this.rejection = failure.rejection
    this.end(failure.kind, error)
  }

  /** Nobody wants the rest of this answer; it is read for the sake of the connection, as long as that costs little. */
  private drain(controller: Dispatcher.DispatchController): void {
    this.drainTimer = setTimeout(() => controller.abort(givenUp), DRAIN_MS)
  }

  private release(): void {
    if (this.drainTimer !== null) {
      clearTimeout(this.drainTimer)
      this.drainTimer = null
    }
    const { connection } = this
    if (connection === null) return
    this.connection = null
    connection.link.finished(connection)
  }
}
