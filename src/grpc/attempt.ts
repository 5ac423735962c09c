import { constants, type IncomingHttpHeaders } from 'node:http2'
import { Metadata, status as Status, type StatusObject } from '@grpc/grpc-js'
import { Attempt } from '../engine/attempt.ts'
import type { Call } from '../engine/call.ts'
import type { HostRuntime } from '../engine/host.ts'
import { Kind } from '../engine/outcome.ts'
import { httpStatusOf, Rejection } from '../engine/rejection.ts'
import { asksForRetry } from '../engine/retry.ts'
import { SPENT_HEADER } from '../engine/retry-tree.ts'
import { learnLoad } from '../orca/answer.ts'
import { REPORT_BIN_HEADER, REPORT_HEADER } from '../orca/header.ts'
import { classifyConnect, codeOf, type Failure, isHandshakeAlert } from '../transport/connect-failure.ts'
import type { Waiting } from '../transport/host-connections.ts'
import type { GrpcExchange } from './exchange.ts'
import { FrameDecoder, type FrameSink } from './framing.ts'
import type { GrpcHostLink } from './host-link.ts'
import { requestHeaders } from './request-headers.ts'
import { CANCEL, type GrpcSession, type GrpcStream } from './session.ts'
import { callersFailure, DETAILS_KEY, FLAGS_KEY, resetFailure, statusIn, withoutStatus } from './status.ts'

const END_STREAM = constants.NGHTTP2_FLAG_END_STREAM

const credentialsInClear = callersFailure(
  Status.UNAUTHENTICATED,
  'call credentials are sent over TLS only, and this endpoint speaks plaintext',
  'call_credentials_in_plaintext',
)

const silence: Failure = {
  kind: Kind.Reset,
  rejection: new Rejection({
    ...{ status: 504, grpcStatus: Status.UNAVAILABLE, flag: 'SI', details: 'stream_idle_timeout' },
    body: 'the stream was silent for too long',
  }),
}

/** One try over gRPC: one HTTP/2 stream. What it brings goes to the engine, and what the engine wants delivered to the caller. */
export class GrpcAttempt extends Attempt implements Waiting<GrpcAttempt>, FrameSink {
  readonly exchange: GrpcExchange
  link: GrpcHostLink | null = null
  before: GrpcAttempt | null = null
  after: GrpcAttempt | null = null
  session: GrpcSession | null = null
  /** Messages that a connection has taken. */
  taken = 0
  /** Number of the message that is sent next. */
  private cursor = 0
  private stream: GrpcStream | null = null
  /** It has told the engine its end, or is not to tell any more. */
  private over = false
  /** A message is on its way into the connection. */
  private writing = false
  /** All is sent. */
  private ended = false
  private decoder: FrameDecoder | null = null
  private headers: IncomingHttpHeaders | null = null
  private httpStatus = 0
  private encoding = 'identity'
  /** What the trailers say; null = they did not come. */
  private final: StatusObject | null = null
  private error: unknown = null
  private answered = false
  /** It was refused once and sent again without telling the engine. */
  private repeated = false
  private wrote: (() => void) | null = null

  constructor(call: Call, host: HostRuntime, exchange: GrpcExchange) {
    super(call, host)
    this.exchange = exchange
  }

  override start(): void {
    this.exchange.dispatcher.linkOf(this.host, this.call.cluster).send(this)
  }

  override abort(): void {
    if (this.link !== null) this.link.forget(this)
    this.giveUp()
  }

  override responseHeader(name: string): string | undefined {
    const value = this.headers?.[name]
    return typeof value === 'object' ? value.join(',') : value
  }

  /** It never got to a connection. */
  failed(failure: Failure, cause: unknown): void {
    if (!this.over) this.fail(failure, cause)
  }

  /** @internal There is a connection for it. */
  begin(session: GrpcSession): void {
    const { exchange } = this
    if (exchange.credentialMetadata !== null && !session.secure) {
      this.fail(credentialsInClear, null)
      return
    }
    const { outbox, settings } = exchange
    const whole = outbox.closed && outbox.length === 0
    let stream: GrpcStream
    try {
      stream = session.request(requestHeaders(this, session.secure), whole)
    } catch (error) {
      const failure = callersFailure(Status.INTERNAL, (error as Error).message, 'request_not_sendable')
      this.fail(failure, error)
      return
    }
    if (settings.keepalive !== null) session.keepAlive(settings.keepalive)
    stream.attempt = this
    this.stream = stream
    this.session = session
    this.ended = whole
    stream.on('response', onResponse)
    stream.on('trailers', onTrailers)
    stream.on('error', onError)
    stream.on('close', onClose)
    this.sent()
    this.pump()
  }

  /** @internal Sends what the caller has given, one message at a time. */
  pump(): void {
    const { stream } = this
    if (stream === null || this.writing || this.ended || this.over) return
    const { outbox } = this.exchange
    const message = outbox.at(this.cursor)
    if (message === null) {
      if (!outbox.closed || this.cursor < outbox.length) return
      this.ended = true
      stream.end()
      return
    }
    const last = outbox.closed && this.cursor === outbox.length - 1
    this.cursor++
    if (last) {
      this.ended = true
      if (outbox.awaited(this.cursor - 1)) stream.end(message, this.onWrote)
      else {
        stream.end(message)
        this.taken = this.cursor
      }
      return
    }
    this.writing = true
    stream.write(message, this.onWrote)
  }

  private get onWrote(): () => void {
    this.wrote ??= () => this.written()
    return this.wrote
  }

  private written(): void {
    this.writing = false
    this.taken = this.cursor
    if (this.over && !this.delivered) return
    this.exchange.sent(this.cursor - 1)
    this.pump()
  }

  /** @internal The reader waits for nothing that is here already. */
  resume(): void {
    if (this.stream?.isPaused() === true) this.stream.resume()
  }

  // What the stream brings.

  /** @internal */
  onHead(headers: IncomingHttpHeaders, flags: number): void {
    if (this.over) return
    const httpStatus = headers[':status'] as unknown as number
    this.answered = true
    this.headers = headers
    this.httpStatus = httpStatus
    if (this.wantsLoad) this.learnLoad(headers)
    withoutOwn(headers)
    if ((flags & END_STREAM) !== 0) {
      this.onlyTrailers(headers)
      return
    }
    const { exchange } = this
    if (httpStatus !== 200 || !isGrpc(headers['content-type'])) {
      this.notGrpc(headers)
      return
    }
    const { classifier } = this.call.route
    if (classifier !== null) {
      const response = { status: 200, headers, bodyStart: null, whole: false }
      this.classified = classifier.classify(this.call, response)
    }
    if (!this.head(200, 0)) {
      this.giveUp()
      return
    }
    const encoding = headers['grpc-encoding']
    if (encoding !== undefined) this.encoding = String(encoding)
    this.decoder = new FrameDecoder(exchange.settings.maxReceive)
    exchange.deliverHead(this, headers)
    // Not before: node:http2 tells of a head a tick after it came, of what came with it at once.
    if (!this.over) this.stream!.on('data', onData)
  }

  /** An answer that has nothing but a status: another try may do better (gRFC A6). */
  private onlyTrailers(headers: IncomingHttpHeaders): void {
    this.exchange.edit(headers)
    const status = statusIn(headers, this.httpStatus)
    const { classifier } = this.call.route
    const said = headers['grpc-status'] !== undefined
    const http = said ? httpStatusOf(status.code) : this.httpStatus
    if (status.code !== Status.OK) this.readMarks(headers)
    if (classifier !== null) {
      const response = { status: http, headers, bodyStart: null, whole: true }
      this.classified = classifier.classify(this.call, response)
    }
    this.conclude(status, http, said ? status.code : -1)
  }

  /** It comes from something in between that knows no gRPC: the body is not for the caller. */
  private notGrpc(headers: IncomingHttpHeaders): void {
    const { httpStatus } = this
    const said = headers['grpc-status'] !== undefined
    const status = said ? statusIn(headers, httpStatus) : withoutStatus(httpStatus, new Metadata())
    if (!said && httpStatus === 200)
      status.details = `the answer is no gRPC: ${headers['content-type'] ?? 'no content-type'}`
    this.readMarks(headers)
    this.conclude(status, httpStatus === 200 ? httpStatusOf(status.code) : httpStatus, said ? status.code : -1)
  }

  private conclude(status: StatusObject, httpStatus: number, grpcStatus: number): void {
    const taken = this.head(httpStatus, grpcStatus)
    this.giveUp()
    if (!taken) return
    this.end(Kind.Response, null)
    this.exchange.deliverStatus(this, status)
  }

  /** What a failing answer says about itself. */
  private readMarks(headers: IncomingHttpHeaders): void {
    const pushback = headers['grpc-retry-pushback-ms']
    // gRFC A6: what cannot be read as a number means no retry, as a negative one does.
    if (pushback !== undefined)
      this.pushbackMs = /^\d{1,10}$/.test(String(pushback)) ? Number(pushback) : Number.POSITIVE_INFINITY
    if (headers['x-inmesh-not-started'] === '1') this.notStarted = true
    if (headers['x-envoy-ratelimited'] !== undefined) this.rateLimited = true
    if (headers['x-envoy-overloaded'] !== undefined) this.overloaded = true
    if (headers[SPENT_HEADER] === '1') this.spent = true
  }

  /** @internal */
  onData(chunk: Buffer): void {
    if (this.over || this.decoder === null) return
    this.decoder.push(chunk, this)
    if (!this.over && this.exchange.flush()) this.stream!.pause()
  }

  frame(message: Buffer, compressed: boolean): void {
    if (this.over) return
    if (!compressed) this.exchange.receive(message)
    else if (this.encoding === 'identity')
      this.broken(Status.INTERNAL, 'a message is compressed and grpc-encoding says nothing', 'bad_message')
    else if (!this.exchange.receiveCompressed(this, message, this.encoding))
      this.broken(
        Status.INTERNAL,
        `messages are compressed by ${this.encoding}, which nobody knows here`,
        'bad_message',
      )
  }

  frameTooLong(length: number): void {
    this.tooLong(`${length}`)
  }

  /** @internal A message is longer than the caller takes. */
  tooLong(length: string): void {
    const { maxReceive } = this.exchange.settings
    const text = `Received message larger than max (${length} vs ${maxReceive})`
    this.broken(Status.RESOURCE_EXHAUSTED, text, 'message_too_long')
  }

  /** @internal What came cannot be given to the caller. */
  broken(grpcStatus: number, text: string, details: string): void {
    if (this.over) return
    this.fail(callersFailure(grpcStatus, text, details), null)
  }

  /** @internal No message in either direction for as long as the route allows. */
  silent(ms: number): void {
    if (!this.over) this.fail(silence, new Error(`no message for ${ms} ms`))
  }

  /** @internal */
  onTrailers(trailers: IncomingHttpHeaders): void {
    if (this.over) return
    if (this.wantsLoad) this.learnLoad(trailers)
    withoutOwn(trailers)
    const status = statusIn(trailers, this.httpStatus)
    this.final = status
    if (status.code !== Status.OK) this.restate(httpStatusOf(status.code), status.code)
    const stream = this.stream!
    if (stream.readableEnded || (stream.readableLength === 0 && !stream.isPaused())) this.onEnd()
    else stream.on('end', onEnd)
  }

  /** @internal All that the peer has sent is read. */
  onEnd(): void {
    const { final } = this
    if (this.over || final === null) return
    if (final.code === Status.OK && this.decoder?.whole === false) {
      this.broken(Status.INTERNAL, 'the answer ended in the middle of a message', 'bad_message')
      return
    }
    this.giveUp()
    this.end(Kind.Response, null)
    this.exchange.deliverStatus(this, final)
  }

  /** @internal */
  onError(error: unknown): void {
    this.error = error
  }

  /** @internal */
  onClose(stream: GrpcStream): void {
    const session = this.session!
    session.finished()
    if (this.over || stream !== this.stream) return
    if (this.final !== null) {
      this.onEnd()
      return
    }
    const cause = this.error ?? session.error
    const code = stream.rstCode
    // TLS 1.3 lets a client send before the server judged its certificate: the refusal comes as an alert after the request.
    const alert = !this.answered && session.requests === 1 && isHandshakeAlert(codeOf(session.error))
    const failure = alert ? classifyConnect(session.error) : resetFailure(code, !session.lost)
    if (failure.kind === Kind.Refused && this.repeats()) return
    this.fail(failure, cause)
  }

  /**
   * The peer has not begun it, which no policy need allow to be sent again (gRFC A6, transparent retries): once, where the
   * route's own policy would not see to it.
   */
  private repeats(): boolean {
    const { call, exchange } = this
    if (this.repeated || !exchange.replayable || this.answered) return false
    if (call.retry !== null && asksForRetry(call.retry, this, Kind.Refused)) return false
    this.repeated = true
    this.stream = null
    this.session = null
    this.cursor = 0
    this.taken = 0
    this.writing = false
    this.ended = false
    this.wrote = null
    this.error = null
    this.exchange.dispatcher.linkOf(this.host, call.cluster).again(this)
    return true
  }

  private fail(failure: Failure, cause: unknown): void {
    this.giveUp()
    this.rejection = failure.rejection
    this.end(failure.kind, cause)
  }

  /** Nothing more is wanted of the stream. */
  private giveUp(): void {
    this.over = true
    const { stream } = this
    if (stream === null || stream.closed || stream.destroyed) return
    // What the peer has ended is over when we have ended too; for what is still on its way in either direction there is CANCEL.
    if (this.final !== null && !this.ended) stream.close(constants.NGHTTP2_NO_ERROR)
    else if (this.final === null || stream.writableLength > 0) stream.close(CANCEL)
    stream.resume()
  }

  private learnLoad(headers: IncomingHttpHeaders): void {
    learnLoad(this, single(headers[REPORT_BIN_HEADER]), single(headers[REPORT_HEADER]))
  }
}

function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'object' ? value[0] : value
}

/** A caller must be able to tell our own answers from a peer's. */
function withoutOwn(headers: IncomingHttpHeaders): void {
  if (headers[FLAGS_KEY] !== undefined) delete headers[FLAGS_KEY]
  if (headers[DETAILS_KEY] !== undefined) delete headers[DETAILS_KEY]
}

/** application/grpc, application/grpc+proto, application/grpc;... */
function isGrpc(type: string | undefined): boolean {
  return type?.startsWith('application/grpc') === true && !type.startsWith('application/grpc-web')
}

// One function each for all streams.

function onResponse(this: GrpcStream, headers: IncomingHttpHeaders, flags: number): void {
  this.attempt.onHead(headers, flags)
}

function onData(this: GrpcStream, chunk: Buffer): void {
  this.attempt.onData(chunk)
}

function onTrailers(this: GrpcStream, trailers: IncomingHttpHeaders): void {
  this.attempt.onTrailers(trailers)
}

function onEnd(this: GrpcStream): void {
  this.attempt.onEnd()
}

function onError(this: GrpcStream, error: Error): void {
  this.attempt.onError(error)
}

function onClose(this: GrpcStream): void {
  this.attempt.onClose(this)
}
