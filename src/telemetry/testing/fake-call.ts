import type { Attempt } from '../../engine/attempt.ts'
import type { Call } from '../../engine/call.ts'
import { Kind } from '../../engine/outcome.ts'
import { clientTracing } from '../client-tracing.ts'
import { carriedBit, propagate, replacedBits } from '../propagate.ts'

/** A call as far as tracing looks at it, started in the context that is active now. */
export function startCall(headers: Record<string, string> = {}, path = '/charge?card=1', protocol?: 'grpc'): Call {
  const header = (name: string) => headers[name]
  const exchange = { method: 'GET', authority: 'payments:8080', path, header, protocol }
  const call = { exchange, trace: null, own: headers } as unknown as Call
  clientTracing.callStart(call)
  return call
}

/** The next try of a call; `wire` is what a transport would send. */
export function startAttempt(
  call: Call,
  previous: Attempt | null = null,
): { attempt: Attempt; wire: Record<string, string> } {
  const attempt = {
    call,
    host: { spec: { address: '10.0.0.7', port: 8443 } },
    previous,
    number: (previous?.number ?? 0) + 1,
    kind: Kind.Pending,
    status: 0,
    grpcStatus: -1,
    traceparent: null,
    tracestate: null,
    trace: null,
  } as unknown as Attempt
  clientTracing.attemptStart(attempt)
  const flat: string[] = []
  const replaced = replacedBits(attempt)
  let present = 0
  for (const [name, value] of Object.entries((call as unknown as { own: Record<string, string> }).own)) {
    const bit = carriedBit(name)
    if ((bit & replaced) !== 0) continue
    present |= bit
    flat.push(name, value)
  }
  propagate(attempt, present, flat)
  const wire: Record<string, string> = {}
  for (let i = 0; i < flat.length; i += 2) {
    if (flat[i]! in wire) throw new Error(`${flat[i]} is sent twice`)
    wire[flat[i]!] = flat[i + 1]!
  }
  return { attempt, wire }
}

/** Ends an attempt with an answer, or with the kind of its failure when `status` is 0. */
export function endAttempt(attempt: Attempt, status: number, kind: Kind = Kind.Response, grpcStatus = -1): void {
  attempt.status = status
  attempt.grpcStatus = grpcStatus
  attempt.kind = kind
  clientTracing.attemptEnd(attempt)
}
