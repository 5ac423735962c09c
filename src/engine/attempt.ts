import type { LoadReport } from '../model/load-report.ts'
import type { Budget } from './budget.ts'
import type { Call } from './call.ts'
import type { HostRuntime } from './host.ts'
import { Classified, Kind, type Outcome } from './outcome.ts'
import type { Rejection } from './rejection.ts'
import { TimerNode } from './time.ts'

/**
 * One try at one host: the timer of its own timeout, and once ended its own {@link Outcome}. Transports extend it (their
 * handler object is the attempt), report what happens by `sent`, `head` and `end`, and obey `start` and `abort`.
 */
export abstract class Attempt extends TimerNode implements Outcome {
  readonly call: Call
  readonly host: HostRuntime
  /** The try before this one. */
  previous: Attempt | null = null
  /** 1 for the first try. */
  number = 0
  kind: Kind = Kind.Pending
  /** Monotonic ms. */
  startedAt = 0
  elapsedMs = 0
  wasSent = false
  /** Its head was accepted: what follows goes to the caller. */
  delivered = false
  status = 0
  grpcStatus = -1
  /** Set by the transport before `head` or `end`. */
  notStarted = false
  /** Set by the transport before `head`. */
  rateLimited = false
  stalled = false
  hiddenRepeats = 0
  /** Set by the transport before `head`: the peer was too busy for it (x-envoy-overloaded). */
  overloaded = false
  /** Set by the transport before `head`: ms after which, and not before, it may be tried again; Infinity = never, -1 = not said. */
  pushbackMs = -1
  /** Set by `restate`: it failed after its head was delivered. */
  restated = false
  /** Set by the transport before `head`: see `Route.classifier`. */
  classified: Classified = Classified.Not
  /** Set by the transport before `head`: hops below have repeated what failed, as often as they may. */
  spent = false
  /** @internal It is over. */
  settled = false
  /** @internal It counts as a retry until it is answered. */
  retrying = false
  /** @internal What it draws on; null = it was for free. */
  paid: Budget | null = null
  /** @internal Who paid for hidden repeats; null = there were none. */
  charged: Budget[] | null = null
  /** @internal Its own time is over and was held against its host; it goes on beside another try. */
  blamed = false
  /** Set by the transport before `end` when it knows more than the kind says. */
  rejection: Rejection | null = null
  /** Filled in by CallEvents.attemptStart, written on the wire by the transport; null = leave the caller's own header. */
  traceparent: string | null = null
  /** As `traceparent`; null = leave the caller's own header. */
  tracestate: string | null = null
  /** For the listener of CallEvents: its span or the like. */
  trace: unknown = null

  constructor(call: Call, host: HostRuntime) {
    super()
    this.call = call
    this.host = host
  }

  /** Begin the I/O. May report before it returns. */
  abstract start(): void

  /** Stop the I/O; reports that come later are ignored. Called at most once, and never after `end` was reported. */
  abstract abort(): void

  /** A header of the answer, several lines joined by ','; asked between `head` and its return. `name` in lower case. */
  responseHeader(_name: string): string | undefined {
    return undefined
  }

  /** Somebody goes by what the answer says about the load of its host. */
  get wantsLoad(): boolean {
    return this.call.cluster.wantsLoad
  }

  /** The answer, its trailers too, says how its host is doing (ORCA); `learnLoad` of src/orca reads it from headers. */
  loadReported(report: LoadReport): void {
    const { call } = this
    call.cluster.loadReported(this.host, report, call.env.clock.now())
  }

  /** ms that its answer is waited for from now on; Infinity = no limit (x-envoy-expected-rq-timeout-ms). */
  remainingMs(now: number): number {
    const { call } = this
    const ownLimit = call.route.hedge?.spec.onTryTimeout === true ? Number.POSITIVE_INFINITY : call.tryTimeoutMs
    return Math.min(call.deadline, this.startedAt + ownLimit) - now
  }

  /** ms within which its answer is to be complete; Infinity = it may go on for as long as it likes (grpc-timeout). */
  completeMs(now: number): number {
    const { call } = this
    return (call.route.timeoutUntilHeaders ? call.exchange.callerDeadline : call.deadline) - now
  }

  /** Bytes go to a connection. A second time = the library sent it again on its own. */
  sent(): void {
    this.call.onSent(this)
  }

  /**
   * The final head of the response came.
   * @returns true = forward this head and what follows; false = the engine moved on, drop it.
   */
  head(status: number, grpcStatus: number): boolean {
    return this.call.onHead(this, status, grpcStatus)
  }

  /** The end of a delivered answer says otherwise than its head: that is what it was. Before `end`. */
  restate(status: number, grpcStatus: number): void {
    this.call.onRestate(this, status, grpcStatus)
  }

  /** It is over: `Response` after a whole answer, else why not. The first report counts. */
  end(kind: Kind, cause: unknown): void {
    this.call.onEnd(this, kind, cause)
  }

  /** @internal Its own timeout. */
  override fire(now: number): void {
    this.call.onTryTimeout(this, now)
  }
}
