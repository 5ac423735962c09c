import { STATUS_CODES } from 'node:http'
import { stringify } from 'node:querystring'
import type { Duplex } from 'node:stream'
import { type Dispatcher, errors } from 'undici'
import { Call } from '../engine/call.ts'
import { DEADLINE_SLACK_MS } from '../engine/deadline.ts'
import type { Engine } from '../engine/engine.ts'
import type { Exchange } from '../engine/exchange.ts'
import type { HostRuntime } from '../engine/host.ts'
import type { Shadow } from '../engine/mirror.ts'
import type { Rejection } from '../engine/rejection.ts'
import type { RetryTree } from '../engine/retry-tree.ts'
import type { PassthroughTarget, Route } from '../engine/route.ts'
import type { RuleList } from '../engine/rule-list.ts'
import type { Priority } from '../model/route.ts'
import { callContext, type Hop } from '../telemetry/context.ts'
import type { AnswerDigest } from './answer-digest.ts'
import { HttpAttempt } from './attempt.ts'
import type { Flight } from './coalesce.ts'
import type { MeshDispatcher } from './dispatcher.ts'
import { type HeaderList, hasOverride, headerList, headerOf, linesOf, namesOf } from './headers.ts'
import { editResponse, type LocalReply, rejectionReply, withoutLocalHeaders } from './local-reply.ts'
import { Relay } from './relay.ts'
import { ReplayBody } from './replay.ts'
import { startShadow } from './shadow.ts'

type Headers = Record<string, string | string[] | undefined>
type Controller = Dispatcher.DispatchController
type RawHeaders = Controller['rawHeaders']

/**
 * One request of a caller of undici: what HTTP is to the engine, and the controller that the caller holds from the first
 * moment to the last, whatever becomes of the tries in between. Does not say that it implements DispatchController: its types are read by apps,
 * too, and with exactOptionalPropertyTypes it would not. Compared where it is handed out.
 */
export class HttpExchange implements Exchange {
  readonly dispatcher: MeshDispatcher
  readonly options: Dispatcher.DispatchOptions
  readonly handler: Dispatcher.DispatchHandler
  readonly method: string
  readonly authority: string
  readonly path: string
  readonly headers: HeaderList | null
  readonly idempotent: boolean
  /** The request in whose handling it is made. */
  readonly hop: Hop | null
  call: Call | null = null
  /** For the dispatcher's list of what is under way. */
  place = -1
  paused = false
  aborted = false
  reason: Error | null = null
  rawHeaders: RawHeaders = null
  rawTrailers: RawHeaders = null
  /** null = the body is nothing, or can be sent any number of times. */
  readonly replay: ReplayBody | null
  /** Its route leads out of the mesh; null = it has none, or another one. */
  outside: PassthroughTarget | null = null
  /** What mirrors compare with; null = nothing. */
  digest: AnswerDigest | null = null
  /** Whose answer is shared, its own or another's; null = nobody's. */
  flight: Flight | null = null
  private delivering: Controller | null = null
  private relayed: Relay | null = null
  private started = false
  private done = false
  private thrown: unknown
  /** A byte came, or the reader made the sender wait, since the last look. */
  private heard = false
  /** Of the last look that found one of these; null = nobody has looked. */
  private heardAt: number | null = null

  constructor(
    dispatcher: MeshDispatcher,
    authority: string,
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
  ) {
    this.dispatcher = dispatcher
    this.options = options
    this.handler = handler
    this.method = options.method
    this.authority = authority
    this.path = pathOf(options)
    this.headers = headerList(options.headers)
    this.idempotent = options.idempotent ?? (isIdempotent(this.method) || this.header('idempotency-key') !== undefined)
    this.replay = streamed(options.body)
    // Here and not later: calls that wait for configuration go on in another context.
    this.hop = dispatcher.hopOf()
  }

  get replayable(): boolean {
    return this.replay === null || this.replay.replayable
  }

  /** undici's callers give a signal, not a time; but whoever called us does, if this is done for somebody. */
  get callerDeadline(): number {
    const { hop } = this
    return hop === null ? Number.POSITIVE_INFINITY : hop.deadline - DEADLINE_SLACK_MS
  }

  get tree(): RetryTree | null {
    return this.hop
  }

  get priority(): Priority | null {
    return this.hop === null ? null : this.hop.priority
  }

  /** A body that is a stream has one reader at a time. */
  get hedgeable(): boolean {
    return this.replay === null && this.options.upgrade === undefined
  }

  get overriding(): boolean {
    return hasOverride(this.headers)
  }

  /** ms that its response may be silent; Infinity = for ever, as one that comes from outside of the mesh. */
  private get idleMs(): number {
    if (this.call === null) return Number.POSITIVE_INFINITY
    const { route, cluster } = this.call
    return route.idleTimeoutMs ?? cluster.spec.idleTimeoutMs
  }

  get sourceAddress(): string | undefined {
    return callContext.getStore()?.remoteAddress
  }

  header(name: string): string | undefined {
    return headerOf(this.headers, name)
  }

  headerLines(name: string): readonly string[] {
    return linesOf(this.headers, name)
  }

  headerNames(): string[] {
    return namesOf(this.headers)
  }

  open(call: Call, host: HostRuntime): HttpAttempt {
    return new HttpAttempt(call, host, this)
  }

  shadow(shadow: Shadow, call: Call): void {
    startShadow(this, call, shadow)
  }

  reject(rejection: Rejection, cause: unknown): void {
    if (this.done) return
    if (this.started || rejection.status === 0) this.fail(this.errorOf(rejection, cause))
    else {
      const { call } = this
      const view = call === null ? null : { request: this, call, response: null, routeName: call.route.name }
      this.reply(rejectionReply(rejection, call?.route.edits?.local ?? null, view))
    }
  }

  /** Whether an error of a try is none of its host: the caller's body broke, or its handler threw. */
  causedByCaller(error: unknown): boolean {
    return (this.replay !== null && error === this.replay.failed) || (error === this.thrown && error !== undefined)
  }

  bodyForTry(): unknown {
    return this.replay === null ? this.options.body : this.replay.read()
  }

  /** Tells the handler that it has a request under way. false = it is over already. */
  begin(): boolean {
    try {
      this.handler.onRequestStart?.(this, null)
    } catch (error) {
      this.fail(error as Error)
    }
    return !this.done
  }

  /** Configuration is there: on with it. */
  run(engine: Engine, rules: RuleList): void {
    const target = rules.target(this, engine.random)
    if (target.kind === 'route') {
      if (target.coalesce === null || !this.dispatcher.coalescer.joins(this, engine, target)) this.runOn(engine, target)
    } else if (target.kind === 'direct') {
      engine.events?.localReply?.(this, target, engine.clock.now())
      const view = { request: this, call: null, response: null, routeName: target.name }
      this.reply(rejectionReply(target.rejection, target.edits, view))
    } else {
      this.outside = target
      this.dispatcher.relay(this)
    }
  }

  /** On with it, by a route that is known. */
  runOn(engine: Engine, route: Route): void {
    if (route.retry !== null) this.replay?.keepUpTo(route.retry.spec.maxBodyBytes)
    this.call = new Call(engine, this, route)
    this.call.run()
  }

  /** Goes through a dispatcher without the mesh, and stays the caller's controller. */
  relayBy(plain: Dispatcher): void {
    this.relayed = new Relay(this)
    this.relayed.start(plain)
  }

  // What the caller may do at any time.

  abort(reason?: Error): void {
    if (this.aborted || this.done) return
    this.aborted = true
    this.reason = reason ?? new errors.RequestAbortedError()
    this.call?.cancel(this.reason)
    this.relayed?.abort(this.reason)
    this.fail(this.reason)
  }

  pause(): void {
    this.paused = true
    if (this.flight === null || this.flight.holdsBack(this)) this.delivering?.pause()
  }

  resume(): void {
    this.paused = false
    this.heard = true
    this.delivering?.resume()
  }

  /** Nobody waits for its answer any more but its own reader. */
  unheld(): void {
    if (this.paused) this.delivering?.pause()
  }

  // What the delivering try brings. A handler that throws gets undici's treatment: the try is aborted with its error.

  deliver(controller: Controller, status: number, headers: Headers, statusText: string | undefined, now: number): void {
    this.commit(controller)
    const raw = withoutLocalHeaders(headers, controller.rawHeaders)
    if (this.digest !== null) this.digest.head(status, headers)
    this.rawHeaders = this.edited(headers, raw)
    if (this.flight !== null) this.flight.head(status, headers, this.rawHeaders)
    this.heard = true
    this.dispatcher.silence.expect(this.idleMs, now)
    if (this.paused) controller.pause()
    try {
      this.handler.onResponseStart?.(this, status, headers, statusText)
    } catch (error) {
      this.thrown = error
      throw error
    }
  }

  /** 1xx other than 101. */
  deliverInformation(status: number, headers: Headers, statusText: string | undefined): void {
    if (!this.done) this.handler.onResponseStart?.(this, status, headers, statusText)
  }

  deliverData(chunk: Buffer): void {
    if (this.done) return
    this.heard = true
    if (this.digest !== null) this.digest.data(chunk)
    if (this.flight !== null) this.flight.data(chunk)
    try {
      this.handler.onResponseData?.(this, chunk)
    } catch (error) {
      this.thrown = error
      throw error
    }
  }

  deliverEnd(controller: Controller, trailers: Headers): void {
    if (this.done) return
    this.rawTrailers = controller.rawTrailers
    if (this.digest !== null) this.digest.complete()
    if (this.flight !== null) this.flight.complete()
    this.finish()
    try {
      this.handler.onResponseEnd?.(this, trailers)
    } catch (error) {
      this.tell(error as Error)
    }
  }

  deliverUpgrade(controller: Controller, status: number, headers: Headers, socket: Duplex): void {
    this.commit(controller)
    this.rawHeaders = this.edited(headers, controller.rawHeaders)
    this.delivering = null
    this.finish()
    try {
      this.handler.onRequestUpgrade?.(this, status, headers, socket)
    } catch (error) {
      socket.destroy()
      this.tell(error as Error)
    }
  }

  /** An answer made here. */
  reply(local: LocalReply): void {
    if (this.done) return
    this.started = true
    if (this.flight !== null) this.flight.replied(local)
    this.rawHeaders = local.rawHeaders
    try {
      this.handler.onResponseStart?.(this, local.status, local.headers, STATUS_CODES[local.status] ?? '')
      if (this.done) return
      if (local.body.length > 0 && this.method !== 'HEAD') this.handler.onResponseData?.(this, local.body)
      if (this.done) return
    } catch (error) {
      this.fail(error as Error)
      return
    }
    this.finish()
    try {
      this.rawTrailers = []
      this.handler.onResponseEnd?.(this, {})
    } catch (error) {
      this.tell(error as Error)
    }
  }

  /** No answer, or none that is whole. */
  fail(error: Error): void {
    if (this.done) return
    this.reason ??= error
    this.finish()
    this.tell(error)
  }

  /**
   * @internal Ends a response that was silent for too long.
   * @returns ms that this response may be silent; Infinity = it does not matter
   */
  look(now: number): number {
    if (this.delivering === null) return Number.POSITIVE_INFINITY
    const { idleMs } = this
    // A reader that makes the sender wait is no silence of the sender.
    if (this.heard || this.paused) {
      this.heard = false
      this.heardAt = now
    } else if (this.heardAt !== null && now - this.heardAt >= idleMs)
      this.delivering.abort(new errors.BodyTimeoutError(`no byte of the response for ${idleMs} ms`))
    return idleMs
  }

  private edited(headers: Headers, raw: RawHeaders): RawHeaders {
    const route = this.call?.route ?? this.outside
    const edits = route?.edits?.response ?? null
    if (route === null || edits === null) return raw
    const { call } = this
    return editResponse(edits, headers, raw, { request: this, call, response: headers, routeName: route.name })
  }

  private commit(controller: Controller): void {
    this.started = true
    this.delivering = controller
    this.replay?.commit()
  }

  private finish(): void {
    this.done = true
    this.delivering = null
    this.replay?.destroy(this.reason ?? undefined)
    if (this.flight !== null) this.flight.over(this, this.reason)
    if (this.digest !== null) this.digest.finish(this.call?.status ?? 0)
    this.dispatcher.ended(this)
  }

  private tell(error: Error): void {
    try {
      this.handler.onResponseError?.(this, error)
    } catch (thrown) {
      // As undici has it: a handler that throws here ends the process unless that is caught there; our state must not suffer.
      queueMicrotask(() => {
        throw thrown
      })
    }
  }

  private errorOf(rejection: Rejection, cause: unknown): Error {
    if (this.reason !== null) return this.reason
    if (cause instanceof Error) return cause
    return new errors.SocketError(`${rejection.body} (${rejection.details})`)
  }
}

/** RFC 9110 section 9.2.2, and QUERY. */
export function isIdempotent(method: string): boolean {
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'PUT':
    case 'DELETE':
    case 'OPTIONS':
    case 'TRACE':
    case 'QUERY':
      return true
    default:
      return false
  }
}

/** null = the body is nothing, or an object that undici can send any number of times. */
function streamed(body: unknown): ReplayBody | null {
  if (body === null || body === undefined || typeof body === 'string') return null
  if (ArrayBuffer.isView(body) || body instanceof ArrayBuffer) return null
  const shape = body as { arrayBuffer?: unknown; append?: unknown; pipe?: unknown }
  if (
    typeof shape.pipe !== 'function' &&
    (typeof shape.arrayBuffer === 'function' || typeof shape.append === 'function')
  )
    return null
  if (!(Symbol.asyncIterator in (body as object)) && !(Symbol.iterator in (body as object))) return null
  return new ReplayBody(body as AsyncIterable<Uint8Array>)
}

function pathOf(options: Dispatcher.DispatchOptions): string {
  const { path, query } = options
  if (query === undefined || query === null) return path
  if (path.includes('?') || path.includes('#'))
    throw new errors.InvalidArgumentError('query params cannot be passed when url already contains "?" or "#".')
  const text = stringify(query)
  return text === '' ? path : `${path}?${text}`
}
