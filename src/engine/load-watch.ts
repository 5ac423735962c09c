import type { Random } from '../model/clock.ts'
import type { LoadReport } from '../model/load-report.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { HostRuntime } from './host.ts'
import { below, unit } from './random.ts'
import { TimerNode } from './time.ts'

/** How a stream of load reports ended. 'unsupported': the host has no such service. */
export type LoadWatchEnd = 'failed' | 'unsupported'

/**
 * Asks a host to report its load every `periodMs` (gRFC A51): the I/O. Calls `report` for each report and `ended` at most once,
 * neither before it has returned.
 * @returns stops it, and nothing more is called; null = it cannot be asked now, for a reason of this process
 */
export type LoadProbe = (
  cluster: ClusterRuntime,
  host: HostRuntime,
  periodMs: number,
  report: (report: LoadReport) => void,
  ended: (how: LoadWatchEnd) => void,
) => (() => void) | null

/** Back-off of gRPC: 1 s, times 1.6, at most 2 minutes, +-20 %. A host that does not know the service is asked again after the longest. */
const FIRST_MS = 1_000
const FACTOR = 1.6
const LONGEST_MS = 120_000
const JITTER = 0.2
/** First streams of a large cluster are spread over this, ms a host. */
const SPREAD_MS = 1

/** Streams of load reports of all hosts of one cluster, where its policy asks for reports apart from calls. Keeps no process alive. */
export class LoadWatch {
  readonly periodMs: number
  readonly cluster: ClusterRuntime
  readonly random: Random
  private readonly probe: () => LoadProbe | null
  private readonly watched = new Map<HostRuntime, HostWatch>()

  constructor(periodMs: number, cluster: ClusterRuntime, probe: () => LoadProbe | null, random: Random) {
    this.periodMs = periodMs
    this.cluster = cluster
    this.probe = probe
    this.random = random
  }

  /** Begins with hosts that joined, ends with those that left. */
  update(hosts: readonly HostRuntime[], now: number): void {
    const current = new Set(hosts)
    for (const [host, watch] of this.watched) {
      if (current.has(host)) continue
      watch.stop()
      this.watched.delete(host)
    }
    for (const host of hosts) {
      if (this.watched.has(host)) continue
      const watch = new HostWatch(this, host)
      this.watched.set(host, watch)
      this.cluster.wheel.arm(watch, now + below(this.random, hosts.length * SPREAD_MS))
    }
  }

  stop(): void {
    for (const watch of this.watched.values()) watch.stop()
    this.watched.clear()
  }

  /** @internal */
  ask(watch: HostWatch, ended: (how: LoadWatchEnd) => void): (() => void) | null {
    const { host } = watch
    return this.probe()?.(this.cluster, host, this.periodMs, (report) => watch.reported(report), ended) ?? null
  }
}

/** The stream of one host, or the pause before the next one. */
class HostWatch extends TimerNode {
  readonly host: HostRuntime
  private readonly owner: LoadWatch
  private giveUp: (() => void) | null = null
  private run = 0
  private failures = 0

  constructor(owner: LoadWatch, host: HostRuntime) {
    super()
    this.owner = owner
    this.host = host
  }

  stop(): void {
    this.run++
    this.owner.cluster.wheel.disarm(this)
    this.giveUp?.()
    this.giveUp = null
  }

  reported(report: LoadReport): void {
    const { cluster } = this.owner
    this.failures = 0
    cluster.loadObserved(this.host, report, cluster.now())
  }

  override fire(): void {
    const run = ++this.run
    this.giveUp = this.owner.ask(this, (how) => {
      if (run === this.run) this.again(how === 'unsupported')
    })
    if (this.giveUp === null) this.again(false)
  }

  private again(seldom: boolean): void {
    const { cluster, random } = this.owner
    this.run++
    this.giveUp = null
    const pause = seldom ? LONGEST_MS : Math.min(LONGEST_MS, FIRST_MS * FACTOR ** this.failures)
    this.failures++
    cluster.wheel.arm(this, cluster.now() + pause * (1 - JITTER + 2 * JITTER * unit(random)))
  }
}
