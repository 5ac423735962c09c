import type { EndpointKey, EndpointRecord } from '../store/store.ts'

export interface LeaseOptions {
  /** How long endpoints stay when the stream that holds them breaks, ms. */
  readonly graceMs: number
  /** How long endpoints found at start stay without a stream, ms. */
  readonly startupGraceMs: number
  /** How much longer endpoints are kept that would leave all at once, ms. */
  readonly suspectMs: number
}

/** What has to be written. */
export interface LeaseChange {
  readonly put: readonly EndpointRecord[]
  readonly remove: readonly EndpointRecord[]
}

export interface Sweep {
  readonly expired: readonly EndpointRecord[]
  /** Services that kept endpoints whose time was up, because too many would have gone at once. */
  readonly held: readonly { service: string; namespace: string; endpoints: number; of: number }[]
}

/** Who registers. */
export interface Registrant {
  readonly instanceId: string
  readonly spiffeId: string
}

interface Lease {
  record: EndpointRecord
  /** The stream that holds it; null = none does, and its time is up at `until`. */
  stream: number | null
  until: number
  suspect: boolean
}

/** Deadlines this close together count as one event for the mass-expiry guard, ms. */
const SAME_EVENT = 1_000

/**
 * Which endpoints live, and until when. An endpoint belongs to the stream that registered it; when the stream breaks it
 * has a grace time to come back, and nothing is written if it does. Decides only: time comes in, what to write goes out.
 *
 * Guard against mass expiry: when more than half of a service's endpoints (and more than one) would go at once, the
 * likelier cause is the network or this process. They stay `suspectMs` longer, once; clients eject dead ones themselves.
 */
export class Leases {
  readonly #options: LeaseOptions
  readonly #leases = new Map<string, Lease>()
  readonly #streams = new Map<number, Registrant>()

  constructor(options: LeaseOptions) {
    this.#options = options
  }

  /** Takes over what an earlier run of the control plane has stored. */
  restore(records: readonly EndpointRecord[], now: number): void {
    for (const record of records) {
      this.#leases.set(keyOf(record), {
        record,
        stream: null,
        until: now + this.#options.startupGraceMs,
        suspect: false,
      })
    }
  }

  /**
   * `records` are all that the registrant serves now; what it registered before and is not among them goes. None at all
   * is how a workload says goodbye.
   */
  register(stream: number, registrant: Registrant, records: readonly EndpointRecord[]): LeaseChange {
    this.#streams.set(stream, registrant)
    const put: EndpointRecord[] = []
    const kept = new Set<string>()
    for (const record of records) {
      const key = keyOf(record)
      kept.add(key)
      const lease = this.#leases.get(key)
      if (lease === undefined || !sameRecord(lease.record, record)) put.push(record)
      // The newest wins: a process that starts anew on the same port replaces the one that was there.
      this.#leases.set(key, { record, stream, until: Number.POSITIVE_INFINITY, suspect: false })
    }
    const remove: EndpointRecord[] = []
    for (const [key, lease] of this.#leases) {
      if (kept.has(key)) continue
      const own =
        lease.stream === stream ||
        (lease.record.instanceId === registrant.instanceId && lease.record.spiffeId === registrant.spiffeId)
      if (!own) continue
      this.#leases.delete(key)
      remove.push(lease.record)
    }
    return { put, remove }
  }

  /** The stream broke. What another stream of the instance has taken over is not touched. */
  drop(stream: number, now: number): void {
    this.#streams.delete(stream)
    for (const lease of this.#leases.values()) {
      if (lease.stream !== stream) continue
      lease.stream = null
      lease.until = now + this.#options.graceMs
    }
  }

  /** When `sweep` has to be called; Infinity = nothing waits. */
  get nextDeadline(): number {
    let next = Number.POSITIVE_INFINITY
    for (const lease of this.#leases.values()) next = Math.min(next, lease.until)
    return next
  }

  sweep(now: number): Sweep {
    const services = new Map<string, { all: Lease[]; due: Lease[] }>()
    for (const lease of this.#leases.values()) {
      const name = `${lease.record.namespace}/${lease.record.service}`
      let service = services.get(name)
      if (service === undefined) {
        service = { all: [], due: [] }
        services.set(name, service)
      }
      service.all.push(lease)
      if (lease.until <= now) service.due.push(lease)
    }
    const expired: EndpointRecord[] = []
    const held: Sweep['held'][number][] = []
    for (const { all, due } of services.values()) {
      if (due.length === 0) continue
      const going = all.filter((l) => l.until <= now + SAME_EVENT)
      const guarded = going.length > 1 && going.length * 2 > all.length
      let kept = 0
      for (const lease of guarded ? going : due) {
        if (guarded && !lease.suspect) {
          kept++
          lease.suspect = true
          lease.until = now + this.#options.suspectMs
        } else if (lease.until <= now) {
          this.#leases.delete(keyOf(lease.record))
          expired.push(lease.record)
        }
      }
      const { service, namespace } = due[0]!.record
      if (kept > 0) held.push({ service, namespace, endpoints: kept, of: all.length })
    }
    return { expired, held }
  }

  /** How many endpoints there are, by what holds them. */
  count(): { held: number; waiting: number; suspect: number } {
    const result = { held: 0, waiting: 0, suspect: 0 }
    for (const lease of this.#leases.values())
      result[lease.suspect ? 'suspect' : lease.stream === null ? 'waiting' : 'held']++
    return result
  }
}

function keyOf(key: EndpointKey): string {
  return `${key.namespace}/${key.service}/${key.address}/${key.port}`
}

function sameRecord(a: EndpointRecord, b: EndpointRecord): boolean {
  const labels = Object.keys(a.labels)
  return (
    a.locality === b.locality &&
    a.weight === b.weight &&
    a.spiffeId === b.spiffeId &&
    a.health === b.health &&
    a.instanceId === b.instanceId &&
    labels.length === Object.keys(b.labels).length &&
    labels.every((name) => a.labels[name] === b.labels[name])
  )
}
