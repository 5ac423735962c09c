import { AsyncResource } from 'node:async_hooks'
import type { IncomingHttpHeaders } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { Metadata, status as Status, type StatusObject } from '@grpc/grpc-js'
import { Call } from '../engine/call.ts'
import { DEADLINE_SLACK_MS } from '../engine/deadline.ts'
import type { Engine } from '../engine/engine.ts'
import type { Exchange } from '../engine/exchange.ts'
import type { HostRuntime } from '../engine/host.ts'
import type { Shadow } from '../engine/mirror.ts'
import type { Outbound } from '../engine/outbound.ts'
import type { Rejection } from '../engine/rejection.ts'
import type { RetryTree } from '../engine/retry-tree.ts'
import type { Route } from '../engine/route.ts'
import { nameOf } from '../engine/virtual-host.ts'
import type { Priority } from '../model/route.ts'
import { callContext, type Hop } from '../telemetry/context.ts'
import { GrpcAttempt } from './attempt.ts'
import type { MeshChannel } from './channel.ts'
import { compress, decompress, type Encoding } from './compression.ts'
import { type CallCredentials, credentialsOf } from './credentials.ts'
import type { GrpcDispatcher } from './dispatcher.ts'
import { frame } from './framing.ts'
import { Inbox } from './inbox.ts'
import type { ChannelSettings } from './options.ts'
import { Outbox } from './outbox.ts'
import type { MetadataRecord } from './request-headers.ts'
import { startShadow } from './shadow.ts'
import { localStatus } from './status.ts'
import type { GrpcCall, GrpcListener } from './types.ts'

type AuthContext = NonNullable<ReturnType<GrpcCall['getAuthContext']>>
type MessageContext = Parameters<GrpcCall['sendMessageWithContext']>[0]

const NO_COMPRESS = 2

let calls = 0

/**
 * One call of a client of grpc-js: what gRPC is to the engine, and the call object that grpc-js holds from the first moment
 * to the last, whatever becomes of the tries in between.
 */
export class GrpcExchange implements Exchange, GrpcCall {
  readonly protocol = 'grpc'
  readonly method = 'POST'
  readonly repeatsByCode = true
  readonly channel: MeshChannel
  readonly dispatcher: GrpcDispatcher
  readonly settings: ChannelSettings
  readonly authority: string
  /** What peers see. */
  readonly wireAuthority: string
  readonly path: string
  /** The request in whose handling it is made. */
  readonly hop: Hop | null
  readonly outbox = new Outbox()
  readonly encoding: Encoding
  metadata: MetadataRecord = {}
  /** What call credentials add; null = there are none. */
  credentialMetadata: MetadataRecord | null = null
  /** It waits for hosts and connections rather than fail for want of them. */
  patient = false
  call: Call | null = null
  /** For the dispatcher's list of what is under way. */
  place = -1
  done = false
  /** Its head may come with its first message, so limits until the head are not for it. */
  readonly lateHead = true
  private readonly deadline: number
  private readonly scope = new AsyncResource('INMESH_GRPC_CALL')
  private readonly number = ++calls
  private readonly inbox = new Inbox()
  private listener: GrpcListener | null = null
  private credentials: CallCredentials | null = null
  private delivering: GrpcAttempt | null = null
  /** Messages that the reader waits for. */
  private credits = 0
  private flushing = false
  /** What is told once all messages are read. */
  private final: StatusObject | null = null
  private started = false
  /** ms that its answer may be silent; Infinity = for ever. */
  private idleMs = Number.POSITIVE_INFINITY
  /** Something came or went since the last look. */
  private heard = false
  private heardAt = 0
  private whenDone: (() => void) | null = null

  /** @param deadline monotonic ms of the engine's clock; Infinity = none */
  constructor(channel: MeshChannel, path: string, host: string | null, deadline: number) {
    const { dispatcher, settings } = channel
    this.channel = channel
    this.dispatcher = dispatcher
    this.settings = settings
    this.authority = channel.authority
    this.wireAuthority = host ?? settings.authority ?? nameOf(channel.authority)
    this.path = path
    this.deadline = deadline
    this.encoding = channel.encoding
    // Here and not later: calls that wait for configuration go on in another context.
    this.hop = dispatcher.hopOf()
  }

  // What the engine asks.

  get replayable(): boolean {
    return this.outbox.replayable
  }

  /** A method of gRPC says nothing of itself. */
  get idempotent(): boolean {
    return this.metadata['idempotency-key'] !== undefined
  }

  get hedgeable(): boolean {
    return this.outbox.closed && this.outbox.replayable
  }

  get callerDeadline(): number {
    const { hop } = this
    return hop === null ? this.deadline : Math.min(this.deadline, hop.deadline - DEADLINE_SLACK_MS)
  }

  get tree(): RetryTree | null {
    return this.hop
  }

  get priority(): Priority | null {
    return this.hop === null ? null : this.hop.priority
  }

  get sourceAddress(): string | undefined {
    return callContext.getStore()?.remoteAddress
  }

  get overriding(): boolean {
    for (const name in this.metadata) if (name.startsWith('x-envoy-')) return true
    return false
  }

  /** Binary metadata matches nothing (gRFC A28). */
  header(name: string): string | undefined {
    if (name === 'content-type') return 'application/grpc'
    const value = this.metadata[name]
    if (value === undefined || name.endsWith('-bin')) return undefined
    return typeof value === 'string' ? value : value.join(',')
  }

  headerLines(name: string): readonly string[] {
    const value = name.endsWith('-bin') ? undefined : this.metadata[name]
    return value === undefined ? [] : typeof value === 'string' ? [value] : value
  }

  headerNames(): string[] {
    return Object.keys(this.metadata)
  }

  open(call: Call, host: HostRuntime): GrpcAttempt {
    return new GrpcAttempt(call, host, this)
  }

  shadow(shadow: Shadow, call: Call): void {
    startShadow(this, call, shadow)
  }

  reject(rejection: Rejection, cause: unknown): void {
    this.refuse(localStatus(rejection, cause, this.authority))
  }

  // What grpc-js does.

  start(metadata: Metadata, listener: GrpcListener): void {
    this.listener = listener
    if (this.done || this.started) return
    this.started = true
    this.metadata = metadata.toHttp2Headers() as MetadataRecord
    this.patient = metadata.getOptions().waitForReady === true
    this.dispatcher.enter(this)
    // Later, when what is sent at once is there; and nothing is told from inside of this.
    process.nextTick(begin, this)
  }

  sendMessageWithContext(context: MessageContext, message: Buffer): void {
    const { callback = null } = context
    if (this.done) {
      if (callback !== null) process.nextTick(callback)
      return
    }
    const { maxSend } = this.settings
    if (message.length > maxSend) {
      const text = `Attempted to send message with a size larger than ${maxSend}`
      this.cancelWithStatus(Status.RESOURCE_EXHAUSTED, text)
      if (callback !== null) process.nextTick(callback)
      return
    }
    if (this.encoding !== 'identity' && ((context.flags ?? 0) & NO_COMPRESS) === 0) {
      const entry = this.outbox.add(null, callback)
      compress(this.encoding, message, (error, bytes) => {
        if (error !== null) this.cancelWithStatus(Status.INTERNAL, `a message cannot be compressed: ${error.message}`)
        else if (!this.done) {
          this.outbox.fill(entry, frame(bytes, true))
          this.pump()
        }
      })
      return
    }
    this.outbox.add(frame(message, false), callback)
    this.pump()
  }

  startRead(): void {
    this.credits++
    if (this.inbox.size > 0) this.flush()
    if (this.inbox.size === 0 && this.delivering !== null) this.delivering.resume()
  }

  halfClose(): void {
    this.outbox.closed = true
    this.pump()
  }

  cancelWithStatus(code: number, details: string): void {
    if (this.done) return
    this.call?.cancel(null)
    this.inbox.clear()
    this.refuse({ code, details, metadata: new Metadata() })
  }

  setCredentials(credentials: CallCredentials): void {
    this.credentials = credentials
  }

  getPeer(): string {
    const spec = (this.call?.winner ?? this.call?.latest)?.host.spec
    return spec === undefined ? this.channel.getTarget() : `${spec.address}:${spec.port}`
  }

  getCallNumber(): number {
    return this.number
  }

  getAuthContext(): AuthContext | null {
    const attempt = (this.call?.winner ?? this.call?.latest ?? null) as GrpcAttempt | null
    const session = attempt?.session ?? null
    if (session === null) return null
    if (!session.secure) return {}
    const sslPeerCertificate = (session.socket as TLSSocket).getPeerCertificate()
    return { transportSecurityType: 'ssl', sslPeerCertificate }
  }

  // Its course.

  /** Configuration is there: on with it. */
  run(engine: Engine, outbound: Outbound): void {
    const target = outbound.match(this, engine.random)
    if (target.kind === 'route') this.runOn(engine, target)
    else if (target.kind === 'direct') {
      engine.events?.localReply?.(this, target, engine.clock.now())
      this.reject(target.rejection, null)
    } else this.dispatcher.refuse(this)
  }

  /** The same call once more, with all that it sends; not started. */
  copy(metadata: MetadataRecord, frames: readonly Buffer[]): GrpcExchange {
    const copy = new GrpcExchange(this.channel, this.path, this.wireAuthority, Number.POSITIVE_INFINITY)
    copy.metadata = metadata
    for (const bytes of frames) copy.outbox.add(bytes, null)
    copy.outbox.closed = true
    return copy
  }

  /** In place of `start`, for a copy. */
  tellTo(listener: GrpcListener): void {
    this.started = true
    this.listener = listener
    this.credits = 1
  }

  /** On with it, by a route that is known. */
  runOn(engine: Engine, route: Route): void {
    if (route.retry !== null) this.outbox.keepUpTo(route.retry.spec.maxBodyBytes)
    this.call = new Call(engine, this, route)
    this.call.run()
  }

  /** `then` is called when it is over, however that comes. */
  onDone(then: () => void): void {
    const before = this.whenDone
    this.whenDone =
      before === null
        ? then
        : () => {
            before()
            then()
          }
  }

  /** Calls `work` in the async context of whoever made the call. */
  inScope<A>(work: (arg: A) => void, self: unknown, arg: A): void {
    this.scope.runInAsyncScope(work, self, arg)
  }

  /** What call credentials say goes into the head of each try. */
  private generateMetadata(credentials: CallCredentials): void {
    credentialsOf(credentials, this.wireAuthority, this.path, (status, metadata) => {
      if (this.done) return
      if (status !== null) this.refuse(status)
      else {
        this.credentialMetadata = metadata
        this.dispatcher.begin(this)
      }
    })
  }

  /** @internal */
  begin(): void {
    if (this.done) return
    const { credentials } = this
    if (credentials === null) this.dispatcher.begin(this)
    else this.generateMetadata(credentials)
  }

  private listen(idleMs: number): void {
    this.idleMs = idleMs
    this.heard = true
    this.dispatcher.silence.expect(idleMs, this.dispatcher.clock.now())
  }

  private pump(): void {
    for (let a = (this.call?.latest ?? null) as GrpcAttempt | null; a !== null; a = a.previous as GrpcAttempt | null)
      if (!a.settled) a.pump()
  }

  // What the tries report.

  /** @internal Message `n` is in a connection. */
  sent(n: number): void {
    this.heard = true
    const callback = this.outbox.sent(n)
    if (callback !== null) this.scope.runInAsyncScope(callback, undefined, null)
  }

  /** @internal */
  deliverHead(attempt: GrpcAttempt, headers: IncomingHttpHeaders): void {
    this.delivering = attempt
    this.outbox.commit(attempt.taken)
    const { call } = this
    const idleMs = call?.route.spec.idleTimeoutMs ?? Number.POSITIVE_INFINITY
    if (idleMs !== Number.POSITIVE_INFINITY) this.listen(idleMs)
    this.edit(headers)
    this.channel.heard(headers)
    const metadata = Metadata.fromHttp2Headers(headers)
    metadata.remove('grpc-encoding')
    metadata.remove('grpc-accept-encoding')
    const { listener } = this
    if (listener !== null) this.scope.runInAsyncScope(listener.onReceiveMetadata, listener, metadata)
  }

  /** @internal What a route changes in answers. */
  edit(headers: IncomingHttpHeaders): void {
    const { call } = this
    const edits = call?.route.edits?.response ?? null
    if (call !== null && edits !== null)
      edits.apply(headers, { request: this, call, response: headers, routeName: call.route.name })
  }

  /** @internal */
  receive(message: Buffer): void {
    this.heard = true
    this.inbox.add(message)
  }

  /** @internal @returns false = nobody knows that encoding */
  receiveCompressed(attempt: GrpcAttempt, message: Buffer, encoding: string): boolean {
    const item = this.inbox.add(null)
    return decompress(encoding, message, this.settings.maxReceive, (error, bytes) => {
      if (this.done) return
      if (error === null) {
        item.bytes = bytes
        if (!this.flush()) attempt.resume()
      } else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') attempt.tooLong('decompressed')
      else attempt.broken(Status.INTERNAL, `a message cannot be decompressed: ${error.message}`, 'bad_message')
    })
  }

  /** @internal Gives the reader what it waits for. @returns messages are left */
  flush(): boolean {
    if (this.flushing) return true
    this.flushing = true
    try {
      const listener = this.listener!
      while (this.credits > 0 && !this.done) {
        const message = this.inbox.take()
        if (message === null) break
        this.credits--
        this.scope.runInAsyncScope(listener.onReceiveMessage, listener, message)
      }
    } finally {
      this.flushing = false
    }
    const left = this.inbox.size > 0
    if (!left && this.final !== null && !this.done) this.tell(this.final)
    return left
  }

  /** @internal The peer's word; after the messages that came before it. */
  deliverStatus(attempt: GrpcAttempt, status: StatusObject): void {
    if (this.done) return
    if (this.inbox.size > 0) this.final = status
    else {
      this.delivering = attempt
      this.tell(status)
    }
  }

  /** No (full) answer of a peer. Told later: whoever is told may throw, and this may be the engine's timer. */
  refuse(status: StatusObject): void {
    if (this.done) return
    this.finish()
    process.nextTick(tellLater, this, status)
  }

  /** @internal */
  look(now: number): number {
    const { delivering } = this
    if (delivering === null) return Number.POSITIVE_INFINITY
    // A reader that makes the sender wait is no silence of the sender.
    if (this.heard || this.inbox.size > 0) {
      this.heard = false
      this.heardAt = now
    } else if (now - this.heardAt >= this.idleMs) delivering.silent(this.idleMs)
    return this.idleMs
  }

  /** @internal */
  tellStatus(status: StatusObject): void {
    const { listener } = this
    if (listener !== null) this.scope.runInAsyncScope(listener.onReceiveStatus, listener, status)
  }

  private tell(status: StatusObject): void {
    this.finish()
    this.tellStatus(status)
  }

  private finish(): void {
    this.done = true
    this.delivering = null
    for (const callback of this.outbox.close()) process.nextTick(callback)
    if (this.whenDone !== null) this.whenDone()
    if (this.started) this.dispatcher.ended(this)
  }
}

function begin(exchange: GrpcExchange): void {
  exchange.begin()
}

function tellLater(exchange: GrpcExchange, status: StatusObject): void {
  exchange.tellStatus(status)
}
