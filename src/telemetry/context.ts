import { AsyncLocalStorage } from 'node:async_hooks'
import type { Context } from '@opentelemetry/api'
import type { RetryTree } from '../engine/retry-tree.ts'
import type { Priority } from '../model/route.ts'

/** The request in whose handling calls are made, as far as they must heed it. */
export interface Hop extends RetryTree {
  /** Monotonic ms by which its answer is wanted; Infinity = not known, or the head of the answer is on its way. */
  readonly deadline: number
  /** Class of work that its caller named; null = none. */
  readonly priority: Priority | null
}

/**
 * What a call carries on from the request in whose handling it is made: its trace and correlation headers, verbatim. One
 * object per inbound request; immutable for all but the one who makes it.
 */
export interface CallContext {
  /** Valid, or '' when there is none to be sent. */
  readonly traceparent: string
  readonly tracestate: string
  /** '' when absent or longer than 8 KiB. */
  readonly baggage: string
  readonly requestId: string
  /** IP address of the peer that made the request; absent = unknown. */
  readonly remoteAddress?: string
  /** b3 and x-b3-* headers as name, value, name, value...; null = none. */
  readonly b3: readonly string[] | null
  /** OpenTelemetry's context with the span to be the parent, when a tracer provider is registered and the trace is recorded. */
  readonly otel: Context | null
  /** null = there is none, or what is done now is not done for it any more: see {@link detach}. */
  readonly hop: Hop | null
}

/** Nothing to carry. */
export const noContext: CallContext = {
  traceparent: '',
  tracestate: '',
  baggage: '',
  requestId: '',
  b3: null,
  otel: null,
  hop: null,
}

/**
 * Where calls find the request on whose behalf they are made. One storage per process, whichever copy of the library made
 * it: two copies (say, of an app and of a plug-in) share it.
 */
const KEY = Symbol.for('inmesh.context.v1')
const shared = globalThis as { [KEY]?: AsyncLocalStorage<CallContext> }
shared[KEY] ??= new AsyncLocalStorage<CallContext>()
export const callContext: AsyncLocalStorage<CallContext> = shared[KEY]

/**
 * Runs `work` as something that is begun in handling a request and goes on without it: its calls have no deadline of the
 * request's caller, and are repeated as those of a process of its own. Trace and correlation headers stay.
 *
 *     server.on('request', (req, res) => {
 *       detach(() => mesh.fetch('http://audit/', { method: 'POST', body }))   // not cut off with the request
 *       res.end()
 *     })
 */
export function detach<T>(work: () => T): T {
  return callContext.run({ ...(callContext.getStore() ?? noContext), hop: null }, work)
}

/**
 * Runs `work` such that its calls, now and later, are of this class: servers that have too much to do refuse SHEDDABLE first
 * and CRITICAL last. Beats the class of the request in whose handling it is done, and that of routes.
 *
 *     await withPriority('SHEDDABLE', () => mesh.fetch('http://search/reindex', { method: 'POST' }))
 */
export function withPriority<T>(priority: Priority, work: () => T): T {
  const context = callContext.getStore() ?? noContext
  return callContext.run({ ...context, hop: new PrioritizedHop(context.hop, priority) }, work)
}

/**
 * The request in whose handling a call is made, as far as the call is to heed it.
 * @param propagates its time and its repeats concern the call; its class always does
 */
export function hopOf(propagates: boolean): Hop | null {
  const hop = callContext.getStore()?.hop ?? null
  if (propagates || hop === null || hop.priority === null) return propagates ? hop : null
  return new PrioritizedHop(null, hop.priority)
}

/** All but the class is the hop's own. */
export class PrioritizedHop implements Hop {
  readonly priority: Priority
  private readonly hop: Hop | null

  constructor(hop: Hop | null, priority: Priority) {
    this.hop = hop
    this.priority = priority
  }

  get deadline(): number {
    return this.hop?.deadline ?? Number.POSITIVE_INFINITY
  }

  get repeated(): boolean {
    return this.hop?.repeated ?? false
  }

  settle(): void {
    this.hop?.settle()
  }
}
