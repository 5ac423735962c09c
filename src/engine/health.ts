import type { Random } from '../model/clock.ts'
import type { HealthCheckSpec } from '../model/cluster.ts'
import type { ClusterRuntime } from './cluster.ts'
import type { HostRuntime } from './host.ts'
import { below, unit } from './random.ts'
import { TimerNode } from './time.ts'

/** What one check found. 'unhealthy': the host answered, and says that it is not well. 'failed': no answer. */
export type CheckResult = 'healthy' | 'unhealthy' | 'failed'

/**
 * Makes one check: the I/O. Calls `done` at most once, never before it has returned.
 * @returns gives up: `done` is not called any more; null = no check can be made now, for a reason of this process
 */
export type HealthProbe = (
  cluster: ClusterRuntime,
  host: HostRuntime,
  spec: HealthCheckSpec,
  done: (result: CheckResult) => void,
) => (() => void) | null

/** First checks of a large cluster are spread over this, ms a host. */
const SPREAD_MS = 1

/**
 * Envoy's active health checks of one cluster. The first result decides at once; later `healthyThreshold` good ones in a row
 * bring a host back, and `unhealthyThreshold` without an answer take it out. An answer that says "not well" does so at once.
 * Until its first check a host is what its registry says. Nothing here keeps a process alive.
 */
export class HealthChecks {
  readonly specs: readonly HealthCheckSpec[]
  private readonly cluster: ClusterRuntime
  private readonly probe: () => HealthProbe | null
  private readonly random: Random
  private readonly checks = new Map<HostRuntime, HostCheck[]>()

  constructor(
    specs: readonly HealthCheckSpec[],
    cluster: ClusterRuntime,
    probe: () => HealthProbe | null,
    random: Random,
  ) {
    this.specs = specs
    this.cluster = cluster
    this.probe = probe
    this.random = random
  }

  /** Begins with hosts that joined, ends with those that left. */
  update(hosts: readonly HostRuntime[], now: number): void {
    const current = new Set(hosts)
    for (const [host, checks] of this.checks) {
      if (current.has(host)) continue
      for (const check of checks) check.stop()
      this.checks.delete(host)
    }
    for (const host of hosts) {
      if (this.checks.has(host)) continue
      const checks = this.specs.map((spec) => new HostCheck(this, host, spec))
      this.checks.set(host, checks)
      for (const check of checks) {
        const spread = Math.min(check.spec.intervalMs, hosts.length * SPREAD_MS)
        this.cluster.wheel.arm(check, now + below(this.random, spread))
      }
    }
  }

  /** No more checks; hosts are what their registry says again. */
  stop(now: number): void {
    for (const [host, checks] of this.checks) {
      for (const check of checks) check.stop()
      this.cluster.hostChecked(host, true, now)
    }
    this.checks.clear()
  }

  /** @internal */
  start(check: HostCheck, done: (result: CheckResult) => void): (() => void) | null {
    return this.probe()?.(this.cluster, check.host, check.spec, done) ?? null
  }

  /** @internal A host is well when all of its checks say so. */
  judge(host: HostRuntime, now: number): void {
    this.cluster.hostChecked(host, this.checks.get(host)?.every((check) => check.healthy !== false) ?? true, now)
  }

  /** @internal ms to the next check. */
  pause({ intervalMs, noTrafficIntervalMs, intervalJitterPercent }: HealthCheckSpec): number {
    const interval = this.cluster.used ? intervalMs : noTrafficIntervalMs
    return interval * (1 + (unit(this.random) * intervalJitterPercent) / 100)
  }

  /** @internal */
  arm(check: HostCheck, due: number): void {
    this.cluster.wheel.arm(check, due)
  }

  /** @internal */
  disarm(check: HostCheck): void {
    this.cluster.wheel.disarm(check)
  }

  /** @internal Our own loop stood still. */
  get late(): boolean {
    return this.cluster.wheel.late
  }

  /** @internal */
  now(): number {
    return this.cluster.now()
  }
}

/** One check of one host, again and again: the timer of its pauses and of its timeout. */
class HostCheck extends TimerNode {
  readonly host: HostRuntime
  readonly spec: HealthCheckSpec
  /** null = no result yet. */
  healthy: boolean | null = null
  /** Results in a row that speak against `healthy`. */
  private against = 0
  private giveUp: (() => void) | null = null
  private running = 0
  private readonly owner: HealthChecks

  constructor(owner: HealthChecks, host: HostRuntime, spec: HealthCheckSpec) {
    super()
    this.owner = owner
    this.host = host
    this.spec = spec
  }

  stop(): void {
    this.running++
    this.owner.disarm(this)
    this.giveUp?.()
    this.giveUp = null
  }

  /** A pause is over, or the time of a check. */
  override fire(now: number): void {
    if (this.giveUp === null) {
      this.begin(now)
      return
    }
    this.giveUp()
    // A timeout while our own loop stood still says nothing about the host.
    if (this.owner.late) this.again(now)
    else this.found('failed', now)
  }

  private begin(now: number): void {
    const run = ++this.running
    this.giveUp = this.owner.start(this, (result) => {
      if (run === this.running && this.giveUp !== null) this.found(result, this.owner.now())
    })
    if (this.giveUp === null) this.again(now)
    else this.owner.arm(this, now + this.spec.timeoutMs)
  }

  private found(result: CheckResult, now: number): void {
    const well = result === 'healthy'
    if (well === this.healthy) this.against = 0
    else {
      this.against++
      const enough = well ? this.spec.healthyThreshold : this.spec.unhealthyThreshold
      if (this.healthy === null || result === 'unhealthy' || this.against >= enough) {
        this.healthy = well
        this.against = 0
        this.owner.judge(this.host, now)
      }
    }
    this.again(now)
  }

  private again(now: number): void {
    this.running++
    this.giveUp = null
    this.owner.arm(this, now + this.owner.pause(this.spec))
  }
}
