import type { InboundFaultSpec } from '../model/inbound.ts'
import type { FaultSpec } from '../model/route.ts'
import { compileHeader } from './compile-match.ts'
import { compileInboundMatches } from './inbound-match.ts'
import type { InboundRuntime } from './inbound-runtime.ts'
import type { Delay, InboundRequest, InboundStep } from './inbound-step.ts'
import { below } from './random.ts'
import { grpcStatusOf, httpStatusOf, Rejection } from './rejection.ts'

/**
 * Faults for a server's callers: the first rule that is about a request decides. The delay first, then, drawn by itself,
 * the abort (Envoy HTTPFault); flags DI and FI. Requests cannot order faults: headers that could are removed before.
 */
export function inboundFaultStep(specs: readonly InboundFaultSpec[], runtime: InboundRuntime): InboundStep {
  const rules = specs.map((spec) => compile(spec, runtime))
  /** What is being delayed, for maxActive. */
  const delayed = new WeakSet<InboundRequest>()
  return {
    name: 'fault',
    admit(request) {
      for (const rule of rules) {
        if (!rule.applies(request)) continue
        const answer = rule.draw()
        if (answer !== undefined && !(answer instanceof Rejection)) {
          delayed.add(request)
          runtime.faults++
        }
        return answer
      }
      return undefined
    },
    done(request) {
      if (delayed.delete(request)) runtime.faults--
    },
  }
}

function compile({ match, fault }: InboundFaultSpec, runtime: InboundRuntime) {
  const { random } = runtime.env
  const matches = compileInboundMatches(match)
  const headers = fault.headers.map(compileHeader)
  const abort = abortOf(fault, 'FI')
  const late = abortOf(fault, 'DI,FI')
  const { delay } = fault
  const drawn = (perMillion: number) => perMillion > 0 && below(random, 1_000_000) < perMillion
  const abortDrawn = () => abort !== null && drawn(fault.abort!.perMillion)
  return {
    applies: (request: InboundRequest) =>
      (matches === null || matches(request)) && headers.every((header) => header(request)),
    draw(): Rejection | Delay | undefined {
      if (runtime.faults >= fault.maxActive) return undefined
      if (delay !== null && delay.ms !== null && delay.ms > 0 && drawn(delay.perMillion))
        return { ms: delay.ms, refusal: abortDrawn() ? late : null }
      return abortDrawn() ? abort! : undefined
    },
  }
}

function abortOf({ abort }: FaultSpec, flag: string): Rejection | null {
  if (abort === null || abort.how.kind === 'header') return null
  const [status, grpcStatus] =
    abort.how.kind === 'http'
      ? [abort.how.status, grpcStatusOf(abort.how.status)]
      : [httpStatusOf(abort.how.code), abort.how.code]
  return new Rejection({ status, grpcStatus, flag, details: 'fault_filter_abort', body: 'fault filter abort' })
}
