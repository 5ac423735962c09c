import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { waitOf } from '../engine/deadline.ts'
import type { Admitted, Inbound } from '../engine/inbound.ts'
import { systemRandom, unit } from '../engine/random.ts'
import { Rejection, rejections } from '../engine/rejection.ts'
import { REPEAT_HEADER } from '../engine/retry-tree.ts'
import type { Clock } from '../model/clock.ts'
import { REPORT_HEADER } from '../orca/header.ts'
import type { LoadMeter } from '../orca/load-meter.ts'
import { callContext, noContext } from '../telemetry/context.ts'
import type { ServerTelemetry } from '../telemetry/server-telemetry.ts'
import { EXPECTED_HEADER, PRIORITY_HEADER, priorityOf } from '../transport/hop-headers.ts'
import { getPeer } from '../transport/peer.ts'
import { isSurplus } from '../transport/surplus.ts'
import { UnderWay } from '../transport/under-way.ts'
import { InboundExchange } from './inbound-exchange.ts'
import { type BadHead, cleanHead, setHeader } from './request-head.ts'

export interface AdmissionOptions {
  readonly inbound: () => Inbound | undefined
  readonly clock: Clock
  /** null = off. */
  readonly telemetry: ServerTelemetry | null
  /** null = answers do not say how loaded this server is. */
  readonly meter: LoadMeter | null
}

const EXCHANGE = Symbol('inmesh.exchange')
type Tracked = ServerResponse & { [EXCHANGE]?: InboundExchange }

/** A draining server's mark: this request was not begun, so it may be sent elsewhere whatever it is. */
const notStartedHeaders = { 'x-inmesh-not-started': '1' }

/**
 * What happens to each request between the parser and the app: cleaned, counted, judged by the inbound policy of this
 * moment; refused ones never reach the app. Also counts what is under way, for a graceful end.
 */
export class Admission {
  /** 'draining' = answers say `connection: close`; 'closing' = new requests are sent elsewhere. */
  phase: 'open' | 'draining' | 'closing' = 'open'
  /** Called when nothing is under way any more. */
  whenIdle: (() => void) | null = null
  private drainedAt = 0
  private spreadMs = 0
  private readonly options: AdmissionOptions
  private readonly underWay = new UnderWay<InboundExchange>()

  constructor(options: AdmissionOptions) {
    this.options = options
  }

  /** Requests and upgraded connections under way. */
  get active(): number {
    return this.underWay.size
  }

  /** Answers say `connection: close`, those under way too; more and more of them over `spreadMs`. */
  drain(phase: 'draining' | 'closing', spreadMs = 0): void {
    this.phase = phase
    this.drainedAt = this.options.clock.now() + spreadMs
    this.spreadMs = spreadMs
    if (spreadMs > 0) return
    for (const { response } of this.underWay) if (response !== null) response.shouldKeepAlive = false
  }

  /** While draining: whether this answer is to be the last one of its connection. */
  private isLast(): boolean {
    const left = this.drainedAt - this.options.clock.now()
    return left <= 0 || unit(systemRandom) * this.spreadMs >= left
  }

  /**
   * Answers that have begun, and may go on for hours, are no load any more. Asked for while load is limited, so that servers
   * which are not overloaded pay nothing for it.
   */
  easeStreams(): void {
    for (const { response, admitted } of this.underWay) if (response?.headersSent) admitted?.streaming()
  }

  /** Calls `handler` with the request if it may pass, within its trace; answers it otherwise. */
  request(
    request: IncomingMessage,
    response: ServerResponse,
    handler: (request: IncomingMessage, response: ServerResponse) => void,
  ): void {
    if (this.phase !== 'open' && this.isLast()) response.shouldKeepAlive = false
    if (this.phase === 'closing') {
      response.writeHead(503, notStartedHeaders).end()
      return
    }
    const exchange = this.read(request, response)
    if (!(exchange instanceof InboundExchange)) {
      response.shouldKeepAlive = false
      response.writeHead(exchange.status, { 'content-type': 'text/plain' })
      response.end(`${exchange.message}\n`)
      return
    }
    ;(response as Tracked)[EXCHANGE] = exchange
    response.on('close', this.responseClosed)
    this.underWay.add(exchange)
    const verdict = this.judge(exchange)
    if (verdict === HELD) exchange.onResume = (later) => this.answer(exchange, handler, this.told(exchange, later))
    else this.answer(exchange, handler, verdict)
  }

  /** Refuses the request, or hands it to the app. */
  private answer(
    exchange: InboundExchange,
    handler: (request: IncomingMessage, response: ServerResponse) => void,
    refusal: Rejection | null,
  ): void {
    const { request } = exchange
    const response = exchange.response!
    if (refusal === null) {
      const load = this.options.meter === null ? null : this.options.meter.text()
      if (load !== null) response.setHeader(REPORT_HEADER, load)
      if (exchange.seen === null) callContext.run({ ...noContext, hop: exchange }, handler, request, response)
      else this.options.telemetry!.run(exchange.seen, handler, request, response)
      return
    }
    // A connection that was open when the policy turned STRICT, or one too many: the next request is not even read.
    if (refusal === rejections.plaintextRefused || isSurplus(request.socket)) response.shouldKeepAlive = false
    const { headers } = refusal
    for (let i = 0; i < headers.length; i += 2) response.setHeader(headers[i]!, headers[i + 1]!)
    response.writeHead(refusal.status, { 'content-type': 'text/plain' })
    response.end(refusal.body)
  }

  /** The same for `upgrade` and `connect`: what follows a connection that is no longer HTTP's is under way until it closes. */
  upgrade(request: IncomingMessage, socket: Duplex, handler: (request: IncomingMessage, socket: Duplex) => void): void {
    if (this.phase === 'closing') {
      refuseUpgrade(socket, 503, 'x-inmesh-not-started: 1\r\n', '')
      return
    }
    const exchange = this.read(request, null)
    if (!(exchange instanceof InboundExchange)) {
      refuseUpgrade(socket, exchange.status, '', exchange.message)
      return
    }
    this.underWay.add(exchange)
    let status = 0
    socket.once('close', () => this.over(exchange, status))
    const proceed = (refusal: Rejection | null) => {
      status = refusal?.status ?? 101
      if (refusal !== null) refuseUpgrade(socket, status, headerLines(refusal, exchange), refusal.body)
      else {
        // From here on it is no request any more by which load is measured.
        exchange.admitted?.streaming()
        if (exchange.seen === null) handler(request, socket)
        else this.options.telemetry!.run(exchange.seen, handler, request, socket)
      }
    }
    const verdict = this.judge(exchange)
    if (verdict === HELD) exchange.onResume = (later) => proceed(this.told(exchange, later))
    else proceed(verdict)
  }

  private read(request: IncomingMessage, response: ServerResponse | null): InboundExchange | BadHead {
    const peer = getPeer(request) ?? null
    // Only a verified peer is believed how long it will wait.
    const expected = peer === null ? undefined : request.headers[EXPECTED_HEADER]
    const repeated = peer !== null && request.headers[REPEAT_HEADER] === '1'
    const priority = peer === null ? null : priorityOf(request.headers[PRIORITY_HEADER])
    const bad = cleanHead(request, peer !== null)
    if (bad !== null) return bad
    const exchange = new InboundExchange(request, response, peer)
    exchange.repeated = repeated
    exchange.priority = priority
    const waits = waitOf(typeof expected === 'string' ? expected : undefined, request.headers['grpc-timeout'])
    if (waits !== Number.POSITIVE_INFINITY) exchange.deadline = this.options.clock.now() + waits
    return exchange
  }

  private judge(exchange: InboundExchange): Rejection | null | typeof HELD {
    const { telemetry } = this.options
    if (telemetry !== null) {
      exchange.seen = telemetry.start(exchange)
      if (exchange.header('x-request-id') !== exchange.seen.requestId)
        setHeader(exchange.request, 'x-request-id', exchange.seen.requestId)
    }
    const verdict = isSurplus(exchange.request.socket)
      ? rejections.inboundOverflow
      : (this.options.inbound()?.admit(exchange) ?? rejections.noInboundPolicy)
    if (!('cancel' in verdict)) return this.told(exchange, verdict)
    exchange.held = verdict
    return HELD
  }

  /** Notes what was decided. @returns why the request is refused */
  private told(exchange: InboundExchange, verdict: Rejection | Admitted): Rejection | null {
    if (!(verdict instanceof Rejection)) {
      exchange.admitted = verdict
      return null
    }
    exchange.flags = verdict.flag
    return verdict
  }

  /** One function for all responses, which finds its request on its `this`. */
  private readonly responseClosed = ((admission: Admission) =>
    function (this: ServerResponse): void {
      admission.over((this as Tracked)[EXCHANGE]!, this.headersSent ? this.statusCode : 0)
    })(this)

  private over(exchange: InboundExchange, status: number): void {
    if (exchange.held !== null) exchange.held.cancel()
    exchange.admitted?.done(status)
    if (exchange.admitted !== null) this.options.meter?.answered(status)
    if (exchange.seen !== null) this.options.telemetry!.end(exchange.seen, status, exchange.flags)
    this.underWay.delete(exchange)
    if (this.underWay.size === 0) this.whenIdle?.()
  }
}

/** A verdict that comes later. */
const HELD = Symbol('held')

function headerLines(refusal: Rejection, { answerHeaders }: InboundExchange): string {
  const all = [...refusal.headers, ...(answerHeaders ?? [])]
  let lines = ''
  for (let i = 0; i < all.length; i += 2) lines += `${all[i]}: ${all[i + 1]}\r\n`
  return lines
}

function refuseUpgrade(socket: Duplex, status: number, headers: string, text: string): void {
  const body = text === '' ? '' : `${text}\n`
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nconnection: close\r\n${headers}content-type: text/plain\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}
