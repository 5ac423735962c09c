import { type Clock, systemClock } from '../model/clock.ts'
import type { InboundSpec } from '../model/inbound.ts'
import type { Peer } from '../model/peer.ts'
import { type AuthorizationView, type Authorize, compileRbac } from './authorize.ts'
import { deadlineStep } from './deadline.ts'
import type { RequestView } from './exchange.ts'
import { type NormalPath, normalizePath } from './path.ts'
import { type Rejection, rejections } from './rejection.ts'

/** A request as a server's transport shows it. `path` is the target as received, with query. */
export interface InboundRequest extends RequestView {
  /** null = plaintext. */
  readonly peer: Peer | null
  /** Monotonic ms after which nobody waits for the answer; Infinity = not known. */
  readonly deadline: number
  readonly remoteAddress: string
  readonly localAddress: string
  readonly localPort: number
  /** Each line of the header by itself; lower-case name. */
  values(name: string): readonly string[]
  /** What the app must see instead: what policy saw is what is handed on. */
  setPath(path: string): void
}

/** One step of the way in. Returns why the request ends here, or undefined. */
export interface InboundStep {
  readonly name: string
  admit(request: InboundRequest): Rejection | undefined
}

/** A request that may go on. `done` once, with the status of its answer (0 = none was given). */
export interface Admitted {
  done(status: number): void
}

/** What one server enforces; the same list for HTTP and gRPC. Immutable. */
export class Inbound implements Admitted {
  readonly spec: InboundSpec
  /** In order. */
  readonly steps: readonly InboundStep[]

  constructor(spec: InboundSpec, clock: Clock = systemClock) {
    this.spec = spec
    this.steps = [identityStep(spec.tlsMode), deadlineStep(clock), pathStep(spec.rbac.map(compileRbac))]
  }

  /** Why the request is refused, or what is to be told when it is over. */
  admit(request: InboundRequest): Rejection | Admitted {
    for (const step of this.steps) {
      const refusal = step.admit(request)
      if (refusal !== undefined) return refusal
    }
    // No step of today keeps count of requests, so all of them share one answer.
    return this
  }

  done(_status: number): void {}
}

/** Connections outlive modes: one that came in plaintext is judged by the mode of now. */
function identityStep(mode: InboundSpec['tlsMode']): InboundStep {
  return {
    name: 'identity',
    admit: (request) => (mode === 'STRICT' && request.peer === null ? rejections.plaintextRefused : undefined),
  }
}

/**
 * Normalises the path and authorizes by it. Policy matches the strict form; where the BASE form, which the app gets, would be
 * judged otherwise, the path is ambiguous and refused.
 */
function pathStep(filters: readonly Authorize[]): InboundStep {
  return {
    name: 'authorize',
    admit(request) {
      const { path, refusal } = authorizePath(filters, request, request.path)
      if (path !== null && refusal === undefined && path.base + path.query !== request.path)
        request.setPath(path.base + path.query)
      return refusal
    },
  }
}

/** What authorization says of a target as received, and the path that it judged; `path` null = none that anybody may see. */
export function authorizePath(
  filters: readonly Authorize[],
  view: AuthorizationView,
  target: string,
): { readonly path: NormalPath | null; readonly refusal: Rejection | undefined } {
  const path = normalizePath(target)
  if (path === null) return { path, refusal: rejections.badPath }
  const refusal = judge(filters, view, path.strict)
  const ambiguous =
    path.base !== path.strict && (judge(filters, view, path.base) === undefined) !== (refusal === undefined)
  return { path, refusal: ambiguous ? rejections.ambiguousPath : refusal }
}

function judge(filters: readonly Authorize[], request: AuthorizationView, path: string): Rejection | undefined {
  for (const authorize of filters) {
    const refusal = authorize(request, path)
    if (refusal !== undefined) return refusal
  }
  return undefined
}
