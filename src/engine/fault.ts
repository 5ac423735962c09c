import type { FaultSpec } from '../model/route.ts'
import { type Call, Phase } from './call.ts'
import { compileHeader } from './compile-match.ts'
import type { RequestView } from './exchange.ts'
import { HOLD, type Policy } from './policy.ts'
import { below } from './random.ts'
import { grpcStatusOf, httpStatusOf, Rejection } from './rejection.ts'
import { shared } from './shared.ts'
import { TimerNode } from './time.ts'

/** What an abort answers, and the same after a delay. */
interface Abort {
  readonly now: Rejection
  readonly delayed: Rejection
}

/**
 * Injects what {@link FaultSpec} says, as Envoy's fault filter: the delay first, then, drawn by itself, the abort. It stands
 * before all gates: a call that is delayed holds no place in them, its route's timeout begins after the delay, and what it
 * aborts is neither retried nor counted by breakers. Flags DI and FI.
 */
export class FaultGate implements Policy {
  private readonly spec: FaultSpec
  private readonly tests: readonly ((view: RequestView) => boolean)[]
  private readonly fixed: Abort | null
  private readonly byHeader = new Map<string, Abort>()
  /** null = none yet. */
  private delayed: Set<Call> | null = null

  constructor(spec: FaultSpec) {
    this.spec = spec
    this.tests = spec.headers.map(compileHeader)
    const how = spec.abort?.how
    this.fixed =
      how === undefined || how.kind === 'header' ? null : how.kind === 'http' ? http(how.status) : grpc(how.code)
  }

  enter(call: Call, now: number): Rejection | typeof HOLD | undefined {
    if ((this.delayed?.size ?? 0) >= this.spec.maxActive) return undefined
    for (const test of this.tests) if (!test(call.exchange)) return undefined
    const ms = this.delayOf(call)
    if (ms <= 0) return this.abortOf(call)?.now
    this.delayed ??= new Set()
    this.delayed.add(call)
    call.delayInjected = true
    // The timeout of the route begins when the delay is over, that of the caller does not wait.
    call.postpone(ms)
    call.env.wheel.arm(new Delay(this, call), now + ms)
    return HOLD
  }

  leave(call: Call): void {
    this.delayed?.delete(call)
  }

  /** @internal The delay of a call is over; the call may be too. */
  resume(call: Call): void {
    const refusal = call.phase === Phase.Done ? undefined : this.abortOf(call)?.delayed
    if (refusal !== undefined || call.phase === Phase.Done) this.delayed?.delete(call)
    call.resume(refusal)
  }

  /** ms; 0 = none. */
  private delayOf(call: Call): number {
    const { delay } = this.spec
    if (delay === null) return 0
    const { exchange } = call
    const ms = delay.ms ?? wholeNumber(exchange.header('x-envoy-fault-delay-request'))
    if (ms === null || ms <= 0) return 0
    const share =
      delay.ms === null
        ? lowered(delay.perMillion, exchange, 'x-envoy-fault-delay-request-percentage')
        : delay.perMillion
    return drawn(call, share) ? ms : 0
  }

  private abortOf(call: Call): Abort | undefined {
    const { abort } = this.spec
    if (abort === null) return undefined
    if (this.fixed !== null) return drawn(call, abort.perMillion) ? this.fixed : undefined
    const { exchange } = call
    const asked = this.asked(exchange)
    if (asked === undefined) return undefined
    return drawn(call, lowered(abort.perMillion, exchange, 'x-envoy-fault-abort-request-percentage'))
      ? asked
      : undefined
  }

  private asked(view: RequestView): Abort | undefined {
    const status = wholeNumber(view.header('x-envoy-fault-abort-request'))
    if (status !== null && status >= 200 && status <= 599) return this.made(`http ${status}`, () => http(status))
    const code = wholeNumber(view.header('x-envoy-fault-abort-grpc-request'))
    return code === null || code > 16 ? undefined : this.made(`grpc ${code}`, () => grpc(code))
  }

  private made(key: string, make: () => Abort): Abort {
    let abort = this.byHeader.get(key)
    if (abort === undefined) {
      abort = make()
      this.byHeader.set(key, abort)
    }
    return abort
  }
}

/** Without a limit on how many are delayed nobody need know of the others. */
export function compileFault(spec: FaultSpec): FaultGate {
  return spec.maxActive === Number.POSITIVE_INFINITY ? unlimited(spec) : new FaultGate(spec)
}

const unlimited = shared((spec: FaultSpec) => new FaultGate(spec))

/** One delayed call. */
class Delay extends TimerNode {
  private readonly gate: FaultGate
  private readonly call: Call

  constructor(gate: FaultGate, call: Call) {
    super()
    this.gate = gate
    this.call = call
  }

  override fire(): void {
    this.gate.resume(this.call)
  }
}

function drawn(call: Call, perMillion: number): boolean {
  return perMillion >= 1_000_000 || (perMillion > 0 && below(call.env.random, 1_000_000) < perMillion)
}

/** A request may ask for fewer faults than are configured, never for more. Percent. */
function lowered(perMillion: number, view: RequestView, header: string): number {
  const percent = wholeNumber(view.header(header))
  return percent === null ? perMillion : Math.min(perMillion, percent * 10_000)
}

function wholeNumber(text: string | undefined): number | null {
  return text !== undefined && /^[0-9]{1,9}$/.test(text) ? Number(text) : null
}

function http(status: number): Abort {
  return abortWith(status, grpcStatusOf(status))
}

/** A caller of HTTP sees what the code means there. */
function grpc(code: number): Abort {
  return abortWith(httpStatusOf(code), code)
}

function abortWith(status: number, grpcStatus: number): Abort {
  const fields = { status, grpcStatus, details: 'fault_filter_abort', body: 'fault filter abort' }
  return { now: new Rejection({ ...fields, flag: 'FI' }), delayed: new Rejection({ ...fields, flag: 'DI,FI' }) }
}
