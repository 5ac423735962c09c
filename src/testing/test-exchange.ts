import { editByApp } from '../engine/app-hooks.ts'
import { Attempt } from '../engine/attempt.ts'
import type { Call } from '../engine/call.ts'
import type { Exchange } from '../engine/exchange.ts'
import type { ExplainRequest } from '../engine/explain/explanation.ts'
import { AskedRequest } from '../engine/explain/request.ts'
import type { HostRuntime } from '../engine/host.ts'
import { Kind } from '../engine/outcome.ts'
import type { Rejection } from '../engine/rejection.ts'
import { isIdempotent } from '../http/exchange.ts'
import type { TestPeer } from './test-peer.ts'
import type { VirtualTime } from './virtual-time.ts'

export interface TestEnv {
  readonly time: VirtualTime
  /** Who plays this host; undefined = nobody is there. */
  peerAt(host: HostRuntime): TestPeer | undefined
}

/** A call of a test: the request, and what its caller gets. */
export class TestExchange implements Exchange {
  readonly method: string
  readonly authority: string
  readonly path: string
  readonly headers: ReadonlyMap<string, string>
  readonly idempotent: boolean
  readonly replayable = true
  readonly hedgeable = true
  readonly callerDeadline: number
  readonly attempts: TestAttempt[] = []
  rejection: Rejection | null = null
  call: Call | null = null
  /** Virtual ms; null = it is under way. */
  endedAt: number | null = null
  readonly env: TestEnv

  constructor(env: TestEnv, request: ExplainRequest, deadline: number) {
    const asked = new AskedRequest(request)
    this.env = env
    this.method = asked.method
    this.authority = asked.authority
    this.path = asked.path
    this.headers = asked.headers
    this.idempotent = isIdempotent(asked.method) || asked.header('idempotency-key') !== undefined
    this.callerDeadline = deadline
  }

  header(name: string): string | undefined {
    return this.headers.get(name)
  }

  open(call: Call, host: HostRuntime): Attempt {
    const attempt = new TestAttempt(call, host, this)
    this.attempts.push(attempt)
    return attempt
  }

  reject(rejection: Rejection): void {
    this.rejection = rejection
    this.over()
  }

  over(): void {
    this.endedAt = this.env.time.now()
  }
}

/** One try in virtual time: the peer's script decides what comes of it. */
export class TestAttempt extends Attempt {
  readonly exchange: TestExchange
  readonly peer: TestPeer | undefined
  private answerHeaders: Readonly<Record<string, string>> = {}
  private over = false

  constructor(call: Call, host: HostRuntime, exchange: TestExchange) {
    super(call, host)
    this.exchange = exchange
    this.peer = exchange.env.peerAt(host)
  }

  override start(): void {
    const { peer } = this
    const { time } = this.exchange.env
    if (peer === undefined) {
      time.after(1, () => this.finish(Kind.ConnectFailure))
      return
    }
    const behaviour = peer.next()
    if (behaviour.what === 'refuse') {
      time.after(behaviour.afterMs, () => this.finish(Kind.ConnectFailure))
      return
    }
    this.sent()
    this.show(peer)
    if (behaviour.what === 'hang') return
    time.after(behaviour.afterMs, () => {
      if (behaviour.what === 'reset') this.finish(Kind.Reset)
      else this.answer(behaviour.status, behaviour.headers, behaviour.body)
    })
  }

  override abort(): void {
    this.over = true
  }

  override responseHeader(name: string): string | undefined {
    return this.answerHeaders[name]
  }

  private answer(status: number, headers: Readonly<Record<string, string>>, body: string): void {
    if (this.over) return
    this.answerHeaders = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
    if (status === 503 && this.answerHeaders['x-inmesh-not-started'] === '1') this.notStarted = true
    if (this.answerHeaders['x-envoy-ratelimited'] !== undefined) this.rateLimited = true
    if (this.answerHeaders['x-envoy-overloaded'] !== undefined) this.overloaded = true
    const { classifier } = this.call.route
    if (classifier !== null) {
      const bodyStart = classifier.bodyBytes === 0 ? null : Buffer.from(body).subarray(0, classifier.bodyBytes)
      const whole = bodyStart !== null && Buffer.byteLength(body) <= classifier.bodyBytes
      this.classified = classifier.classify(this.call, { status, headers: this.answerHeaders, bodyStart, whole })
    }
    if (!this.head(status, -1)) return
    this.finish(Kind.Response)
    this.exchange.over()
  }

  private finish(kind: Kind): void {
    if (this.over) return
    this.over = true
    this.end(kind, null)
  }

  /** The request as the peer gets it, edited as the route says. */
  private show(peer: TestPeer): void {
    const { exchange, call } = this
    const { edits } = call.route
    const list = [...exchange.headers].flat()
    edits?.request(list, exchange, call)
    if (call.appHeaders !== null) editByApp(call.appHeaders, list)
    const headers = new Map<string, string>()
    for (let i = 0; i < list.length; i += 2) {
      const before = headers.get(list[i]!)
      headers.set(list[i]!.toLowerCase(), before === undefined ? list[i + 1]! : `${before},${list[i + 1]!}`)
    }
    peer.requests.push({
      at: exchange.env.time.now(),
      method: exchange.method,
      authority: edits?.authority(exchange.authority) ?? exchange.authority,
      path: edits?.path(exchange.path) ?? exchange.path,
      headers: Object.fromEntries(headers),
    })
  }
}
