import type { Attempt } from './attempt.ts'
import type { BreakerState } from './breaker.ts'
import type { Call } from './call.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { RequestView } from './exchange.ts'
import type { HostRuntime } from './host.ts'
import type { MirrorReport } from './mirror.ts'
import type { DirectTarget } from './route.ts'

/** Who wants to know what calls do: metrics, spans, logs. Synchronous; must not throw; the engine holds null when nobody listens. */
export interface CallEvents {
  /** Route and cluster are known, no policy was asked yet. May set `call.trace`. */
  callStart(call: Call): void
  /** Before `attempt.start()`: may set `attempt.traceparent`, `tracestate` and `trace`. */
  attemptStart(attempt: Attempt): void
  /** Once per attempt; the attempt is its own Outcome. */
  attemptEnd(attempt: Attempt): void
  /** Once per call: `call.status`, `flag`, `details`, `attempts`, `startedAt` are final. */
  callEnd(call: Call, now: number): void
  /** An answer without a call: a direct response, no route, no cluster. */
  localReply?(request: RequestView, target: DirectTarget, now: number): void
  /** What became of a shadow of a call. */
  mirrored?(report: MirrorReport): void
  /** `route`: the name of the route whose own breaker it is; null = that of the cluster. */
  breakerChange?(cluster: ClusterRuntime, from: BreakerState, to: BreakerState, now: number, route: string | null): void
  /** `host.outlier.reason` says why. */
  hostEjected?(cluster: ClusterRuntime, host: HostRuntime, now: number): void
  hostReturned?(cluster: ClusterRuntime, host: HostRuntime, now: number): void
  /** Active health checks changed their mind about a host. */
  hostChecked?(cluster: ClusterRuntime, host: HostRuntime, healthy: boolean, now: number): void
}

/** One listener out of several; null out of none. They are told in order. */
export function joinEvents(listeners: readonly CallEvents[]): CallEvents | null {
  if (listeners.length <= 1) return listeners[0] ?? null
  return {
    callStart(call) {
      for (const l of listeners) l.callStart(call)
    },
    attemptStart(attempt) {
      for (const l of listeners) l.attemptStart(attempt)
    },
    attemptEnd(attempt) {
      for (const l of listeners) l.attemptEnd(attempt)
    },
    callEnd(call, now) {
      for (const l of listeners) l.callEnd(call, now)
    },
    localReply(request, target, now) {
      for (const l of listeners) l.localReply?.(request, target, now)
    },
    mirrored(report) {
      for (const l of listeners) l.mirrored?.(report)
    },
    breakerChange(cluster, from, to, now, route) {
      for (const l of listeners) l.breakerChange?.(cluster, from, to, now, route)
    },
    hostEjected(cluster, host, now) {
      for (const l of listeners) l.hostEjected?.(cluster, host, now)
    },
    hostReturned(cluster, host, now) {
      for (const l of listeners) l.hostReturned?.(cluster, host, now)
    },
    hostChecked(cluster, host, healthy, now) {
      for (const l of listeners) l.hostChecked?.(cluster, host, healthy, now)
    },
  }
}
