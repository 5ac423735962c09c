import type { Call } from './call.ts'
import type { HostRuntime } from './host.ts'
import { type Outcome, Verdict, verdictOf } from './outcome.ts'
import type { Policy } from './policy.ts'

/** What a failed try counts as, ms, so that a host that fails fast does not look fast. */
export const FAILURE_MS = 5_000

/**
 * Keeps a moving average of each host's latency for PEAK_EWMA (Finagle): it jumps to a slower answer at once, and comes down
 * by exp(-time / decay).
 */
export class Latency implements Policy {
  readonly decayMs: number
  constructor(decayMs: number) {
    this.decayMs = decayMs
  }

  outcome(_call: Call, outcome: Outcome, now: number): void {
    const verdict = verdictOf(outcome)
    if (verdict === Verdict.None) return
    // Who says that it is overloaded answers fast, too.
    const failed = verdict === Verdict.Bad || outcome.status === 429
    const { host } = outcome
    const seen = failed ? Math.max(FAILURE_MS, outcome.elapsedMs) : outcome.elapsedMs
    const old = host.latencyMs
    const keep = Math.exp(-(now - host.latencyAt) / this.decayMs)
    host.latencyMs = seen > old * keep ? seen : old * keep + seen * (1 - keep)
    host.latencyAt = now
  }
}

/** What the host's latency is taken for at `now`; 0 = it never answered. */
export function latencyOf(host: HostRuntime, decayMs: number, now: number): number {
  return host.latencyMs === 0 ? 0 : host.latencyMs * Math.exp(-(now - host.latencyAt) / decayMs)
}
