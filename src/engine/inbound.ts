import type { InboundSpec } from '../model/inbound.ts'
import { compileRbac } from './authorize.ts'
import { deadlineStep } from './deadline.ts'
import { compileChains, type Ends } from './inbound-chains.ts'
import { inboundFaultStep } from './inbound-fault.ts'
import { authorizeStep, pathStep } from './inbound-path.ts'
import { routedStep } from './inbound-routes.ts'
import { InboundRuntime } from './inbound-runtime.ts'
import type { Admitted, Delay, Held, InboundRequest, InboundStep } from './inbound-step.ts'
import { rateLimitStep } from './rate-limit.ts'
import { Rejection, rejections } from './rejection.ts'
import { requestLimitStep } from './request-limit.ts'
import { shedStep } from './shed-step.ts'
import { TimerNode } from './time.ts'

export type { Admitted, Held, InboundRequest, InboundStep } from './inbound-step.ts'

/** What became of a request on its way in. */
export type Verdict = Rejection | Admitted | Held

/**
 * What one server enforces; the same list for HTTP and gRPC. Immutable: what it counts is kept by the runtime of its
 * listener, which outlives it.
 */
export class Inbound implements Admitted {
  readonly spec: InboundSpec
  readonly runtime: InboundRuntime
  /** In order. This list is the order of the way in. */
  readonly steps: readonly InboundStep[]
  /** null = one set of rules for all connections. */
  private readonly chainOf: ((ends: Ends) => Inbound | null) | null
  /** false = no step keeps count of requests, so all of them share one answer. */
  private readonly counts: boolean

  /** @param runtime what was counted under earlier versions of the spec; brought up to date here */
  constructor(spec: InboundSpec, runtime: InboundRuntime = new InboundRuntime()) {
    this.spec = spec
    this.runtime = runtime
    runtime.update(spec)
    this.chainOf =
      spec.chains === undefined
        ? null
        : compileChains(
            spec.chains.map(({ match, spec }, i) => ({ match, value: new Inbound(spec, runtime.ofChain(i)) })),
          )
    const { shed, limits } = runtime
    this.steps = [
      identityStep(spec.tlsMode),
      deadlineStep,
      pathStep(spec.pathNormalization),
      ...(shed === null ? [] : [shedStep(shed)]),
      ...(spec.maxRequests === Number.POSITIVE_INFINITY ? [] : [requestLimitStep(runtime, spec.maxRequests)]),
      ...(spec.routes !== undefined
        ? [routedStep(spec.routes, runtime.env.random)]
        : spec.rbac.length === 0
          ? []
          : [authorizeStep(spec.rbac.map(compileRbac))]),
      ...(spec.faults.length === 0 ? [] : [inboundFaultStep(spec.faults, runtime)]),
      ...(limits.length === 0 ? [] : [rateLimitStep(limits)]),
    ]
    this.counts = this.steps.some((step) => step.done !== undefined)
  }

  /** Why the request is refused, what is to be told when it is over, or that it has to wait. */
  admit(request: InboundRequest): Verdict {
    if (this.chainOf === null) return this.proceed(request, 0)
    return this.chainOf(request)?.proceed(request, 0) ?? rejections.noInboundPolicy
  }

  /** What counts for a connection; null = it is to be closed. */
  forConnection(ends: Ends): Inbound | null {
    return this.chainOf === null ? this : this.chainOf(ends)
  }

  /** @internal From a step on. */
  proceed(request: InboundRequest, from: number): Verdict {
    const { steps } = this
    const now = this.runtime.env.clock.now()
    for (let i = from; i < steps.length; i++) {
      const answer = steps[i]!.admit(request, now)
      if (answer === undefined) continue
      if (!(answer instanceof Rejection)) return new Waiting(this, request, i, answer, now)
      if (this.counts) this.release(request, i, answer.status)
      return answer
    }
    return this.counts ? new Entry(this, request) : this
  }

  /** @internal Gives back what the steps before `end` took. */
  release(request: InboundRequest, end: number, status: number): void {
    for (let i = end - 1; i >= 0; i--) this.steps[i]!.done?.(request, status)
  }

  done(_status: number): void {}

  streaming(): void {}
}

/** A request that some step counts. */
class Entry implements Admitted {
  private readonly inbound: Inbound
  private readonly request: InboundRequest
  private over = false

  constructor(inbound: Inbound, request: InboundRequest) {
    this.inbound = inbound
    this.request = request
  }

  streaming(): void {
    const { request } = this
    if (this.over || request.eased) return
    for (const step of this.inbound.steps) step.streaming?.(request)
    request.eased = true
  }

  done(status: number): void {
    if (this.over) return
    this.over = true
    this.inbound.release(this.request, this.inbound.steps.length, status)
  }
}

/** A request in the delay of one step. */
class Waiting extends TimerNode implements Held {
  private readonly inbound: Inbound
  private readonly request: InboundRequest
  private readonly at: number
  private readonly refusal: Rejection | null
  private state: 'waiting' | 'over' = 'waiting'
  /** It went on and was held again. */
  private successor: Held | null = null

  constructor(inbound: Inbound, request: InboundRequest, at: number, delay: Delay, now: number) {
    super()
    this.inbound = inbound
    this.request = request
    this.at = at
    this.refusal = delay.refusal
    inbound.runtime.env.wheel.arm(this, now + delay.ms)
  }

  override fire(): void {
    if (this.state === 'over') return
    this.state = 'over'
    const { inbound, request, at, refusal } = this
    if (refusal !== null) {
      inbound.release(request, at + 1, refusal.status)
      request.resume(refusal)
      return
    }
    const verdict = inbound.proceed(request, at + 1)
    if (verdict instanceof Waiting) this.successor = verdict
    else request.resume(verdict as Rejection | Admitted)
  }

  cancel(): void {
    this.successor?.cancel()
    if (this.state === 'over') return
    this.state = 'over'
    this.inbound.runtime.env.wheel.disarm(this)
    this.inbound.release(this.request, this.at + 1, 0)
  }
}

/** Connections outlive modes: one that came in plaintext is judged by the mode of now. */
function identityStep(mode: InboundSpec['tlsMode']): InboundStep {
  return {
    name: 'identity',
    admit: (request) => (mode === 'STRICT' && request.peer === null ? rejections.plaintextRefused : undefined),
  }
}
