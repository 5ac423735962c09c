import type { Metadata, ServerInterceptingCallInterface } from '@grpc/grpc-js'
import { waitOf } from '../../engine/deadline.ts'
import type { Admitted, Inbound } from '../../engine/inbound.ts'
import { grpcStatusOf, httpStatusOf, Rejection, rejections } from '../../engine/rejection.ts'
import { REPEAT_HEADER } from '../../engine/retry-tree.ts'
import type { Clock } from '../../model/clock.ts'
import { type CallContext, callContext, noContext } from '../../telemetry/context.ts'
import type { ServerTelemetry } from '../../telemetry/server-telemetry.ts'
import { EXPECTED_HEADER, PRIORITY_HEADER, priorityOf } from '../../transport/hop-headers.ts'
import { UnderWay } from '../../transport/under-way.ts'
import { headerOf, withoutMeshHeaders } from './call-metadata.ts'
import type { Connection } from './connections.ts'
import { InboundCall } from './inbound-call.ts'

export interface GrpcAdmissionOptions {
  readonly inbound: () => Inbound | undefined
  readonly clock: Clock
  /** null = off. */
  readonly telemetry: ServerTelemetry | null
}

/** A verdict that comes later. */
export const HELD = Symbol('held')

const CANCELLED = 1
/** ms by which the timer of grpc-js, which goes by the wall clock, may be early by ours. */
const TIMER_SLACK_MS = 5

/** Two authorities are as bad as none (RFC 9113 section 8.3.1). */
const badAuthority = new Rejection({
  status: 400,
  grpcStatus: grpcStatusOf(400),
  flag: '-',
  details: 'bad_authority',
  body: 'exactly one authority is needed',
})

/**
 * What happens to each call of a port between grpc-js and the app: cleaned, counted, judged by the inbound policy of this
 * moment, the same that judges requests of HTTP. Also counts what is under way, for a graceful end.
 */
export class GrpcAdmission {
  /** New calls are sent elsewhere. */
  closing = false
  /** Called when nothing is under way any more. */
  whenIdle: (() => void) | null = null
  private readonly options: GrpcAdmissionOptions
  private readonly underWay = new UnderWay<InboundCall>()

  constructor(options: GrpcAdmissionOptions) {
    this.options = options
  }

  /** Calls under way. */
  get active(): number {
    return this.underWay.size
  }

  /** Answers that have begun, and may go on for hours, are no load any more. */
  easeStreams(): void {
    for (const { answering, admitted } of this.underWay) if (answering) admitted?.streaming()
  }

  /** Reads the head of a call and takes out of `metadata` what is not for the app. */
  read(call: ServerInterceptingCallInterface, path: string, metadata: Metadata, connection: Connection): InboundCall {
    const { peer } = connection
    const now = this.options.clock.now()
    const authority = (call.getHost() as string | undefined) ?? ''
    const inbound = new InboundCall(metadata, connection, path, authority.toLowerCase())
    const deadline = call.getDeadline()
    if (deadline !== Number.POSITIVE_INFINITY) inbound.wholeUntil = now + (Number(deadline) - Date.now())
    if (peer !== null) {
      // Only a verified peer is believed what it says of its own.
      inbound.repeated = headerOf(metadata, REPEAT_HEADER) === '1'
      inbound.priority = priorityOf(headerOf(metadata, PRIORITY_HEADER))
      inbound.headUntil = now + waitOf(headerOf(metadata, EXPECTED_HEADER), undefined)
    }
    withoutMeshHeaders(metadata, peer !== null)
    return inbound
  }

  /** @returns why the call is refused; null = it may pass */
  judge(call: InboundCall, metadata: Metadata): Rejection | null | typeof HELD {
    if (this.closing) return rejections.closing
    const host = metadata.get('host')[0]
    if (call.authority === '' || (host !== undefined && String(host).toLowerCase() !== call.authority))
      return badAuthority
    this.underWay.add(call)
    call.connection.begin()
    const { telemetry } = this.options
    if (telemetry !== null) {
      call.seen = telemetry.start(call)
      if (headerOf(metadata, 'x-request-id') !== call.seen.requestId) metadata.set('x-request-id', call.seen.requestId)
    }
    const verdict = this.options.inbound()?.admit(call) ?? rejections.noInboundPolicy
    if (!('cancel' in verdict)) return this.told(call, verdict)
    call.held = verdict
    return HELD
  }

  /** Notes what was decided. @returns why the call is refused */
  told(call: InboundCall, verdict: Rejection | Admitted): Rejection | null {
    if (!(verdict instanceof Rejection)) {
      call.admitted = verdict
      return null
    }
    call.flags = verdict.flag
    // A connection that was open when the policy turned STRICT: its client must dial anew, by TLS.
    if (verdict === rejections.plaintextRefused) call.connection.leave()
    return verdict
  }

  /** What the work of a call's handler is done in. */
  contextOf(call: InboundCall): CallContext {
    return call.seen ?? { ...noContext, hop: call }
  }

  /** Does a part of the work of a call's handler, within its trace. */
  run<A, B>(call: InboundCall, context: CallContext, work: (a: A, b: B) => void, a: A, b: B): void {
    if (call.seen === null) callContext.run(context, work, a, b)
    else this.options.telemetry!.run(call.seen, work, a, b)
  }

  /** Once for each call that was judged. @param status null = none was sent: its caller is gone, or its time is over */
  over(call: InboundCall, status: number | null): void {
    if (call.place < 0) return
    const late = status === null && this.options.clock.now() >= call.wholeUntil - TIMER_SLACK_MS
    const code = status ?? (late ? rejections.expired.grpcStatus : CANCELLED)
    call.held?.cancel()
    call.admitted?.done(status === null && !late ? 0 : httpStatusOf(code))
    if (call.seen !== null) this.options.telemetry!.end(call.seen, code, call.flags)
    this.underWay.delete(call)
    call.connection.end()
    call.place = -1
    if (this.underWay.size === 0) this.whenIdle?.()
  }
}
