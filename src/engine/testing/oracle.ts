import type { ClusterSpec } from '../../model/cluster.ts'
import type { RetrySpec } from '../../model/route.ts'
import type { HostRuntime } from '../host.ts'
import { Kind } from '../outcome.ts'

// The rules said a second time, plainly and slowly, for the simulation to compare with.

export interface Ended {
  readonly kind: Kind
  readonly status: number
  readonly wasSent: boolean
  readonly notStarted: boolean
  readonly rateLimited: boolean
}

const broken: readonly Kind[] = [Kind.ConnectFailure, Kind.Refused, Kind.Reset, Kind.TryTimeout, Kind.ProtocolError]

/** Nobody can have acted on it. */
export function provenUnrun(a: Ended): boolean {
  if (a.notStarted) return true
  if (a.kind === Kind.ConnectFailure || a.kind === Kind.Refused) return true
  return a.kind !== Kind.Response && !a.wasSent
}

/** Do the words of the policy ask for another try? */
export function asksForRetry(spec: RetrySpec, a: Ended): boolean {
  if (a.notStarted) return true
  const says = (word: RetrySpec['retryOn'][number]) => spec.retryOn.includes(word)
  if (a.kind === Kind.Response) {
    if (a.rateLimited) return says('envoy-ratelimited')
    if (spec.statusCodes.includes(a.status)) return true
    if (says('5xx') && a.status >= 500 && a.status <= 599) return true
    if (says('gateway-error') && a.status >= 502 && a.status <= 504) return true
    return says('retriable-4xx') && a.status === 409
  }
  if (!broken.includes(a.kind)) return false
  if (says('5xx') || says('gateway-error') || says('reset')) return true
  if (says('connect-failure') && a.kind === Kind.ConnectFailure) return true
  if (says('refused-stream') && a.kind === Kind.Refused) return true
  return says('reset-before-request') && !a.wasSent
}

export interface Judged {
  readonly kind: Kind
  readonly status: number
  readonly notStarted: boolean
  readonly overloaded: boolean
  readonly late: boolean
}

/** true = bad, false = good, undefined = says nothing about the peer. */
export function judged(seen: Judged): boolean | undefined {
  const { kind, status } = seen
  if (seen.notStarted || seen.overloaded || seen.late) return undefined
  switch (kind) {
    case Kind.Response:
      return status >= 500
    case Kind.ConnectFailure:
    case Kind.Reset:
    case Kind.TryTimeout:
    case Kind.ProtocolError:
      return true
    default:
      return undefined
  }
}

/** Hosts that may be picked. */
export interface Usable {
  /** Of the levels whose turn it is: those that are well, or all of them in a panic. */
  readonly first: readonly HostRuntime[]
  /** Backed off: for tries that have nobody else. */
  readonly asleep: readonly HostRuntime[]
}

export function usableHosts(spec: ClusterSpec, hosts: readonly HostRuntime[], now: number): Usable {
  const { overprovisioningPercent } = spec.priorities
  const well = (h: HostRuntime) => h.spec.health === 'HEALTHY' && h.ejectedUntil === 0 && !h.checkFailed
  const levels = [...new Set(hosts.map((h) => h.spec.priority))]
    .sort((a, b) => a - b)
    .map((priority) => {
      const all = hosts.filter((h) => h.spec.priority === priority)
      const good = all.filter(well)
      const health = Math.min(100, Math.floor((good.length * overprovisioningPercent) / all.length))
      return { all, good, health, low: good.length / all.length < spec.panicThresholdPercent / 100 }
    })
  const sum = levels.reduce((total, l) => total + l.health, 0)
  if (sum < 100 && levels.every((l) => l.low)) return { first: hosts, asleep: [] }
  const first: HostRuntime[] = []
  const asleep: HostRuntime[] = []
  let left = 100
  for (const { all, good, health, low } of levels) {
    if (left <= 1e-9 || health === 0) continue
    left -= (health * 100) / Math.min(sum, 100)
    const awake = good.filter((h) => h.backedOffUntil <= now)
    if (sum < 100 && low) first.push(...all)
    else {
      first.push(...(awake.length > 0 ? awake : good))
      if (awake.length > 0) asleep.push(...good.filter((h) => h.backedOffUntil > now))
    }
  }
  return { first, asleep }
}
