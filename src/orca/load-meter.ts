import { type EventLoopUtilization, performance } from 'node:perf_hooks'
import type { Clock } from '../model/clock.ts'
import { emptyLoadReport, type LoadReport } from '../model/load-report.ts'
import { encodeReport } from './binary.ts'
import { formatReport } from './header.ts'

/** What is measured over at least so long, ms. */
const WINDOW_MS = 1_000

/** Where numbers about this process come from; tests have their own. */
export interface ProcessGauges {
  /** ms of CPU that this process has used. */
  cpuMs(): number
  loop(since?: EventLoopUtilization): EventLoopUtilization
}

const thisProcess: ProcessGauges = {
  cpuMs: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  },
  loop: (since) => performance.eventLoopUtilization(since),
}

/**
 * How loaded one server of this process is, as its answers say it: requests and failures per second, CPU, and as application
 * utilization how busy the event loop is, which is what a Node process runs out of first. Worked out with the first answer of
 * each second.
 */
export class LoadMeter {
  private readonly clock: Clock
  private readonly gauges: ProcessGauges
  private at: number
  private cpuMs: number
  private loop: EventLoopUtilization
  private requests = 0
  private errors = 0
  private latest: LoadReport | null = null
  private asText: string | null = null
  private asBytes: Buffer | null = null

  constructor(clock: Clock, gauges: ProcessGauges = thisProcess) {
    this.clock = clock
    this.gauges = gauges
    this.at = clock.now()
    this.cpuMs = gauges.cpuMs()
    this.loop = gauges.loop()
  }

  /** An answer is over. @param status 0 = it was cut off */
  answered(status: number): void {
    this.requests++
    if (status === 0 || status >= 500) this.errors++
  }

  /** For the header of an answer over HTTP; null = nothing is known yet. */
  text(): string | null {
    this.look()
    if (this.latest !== null) this.asText ??= formatReport(this.latest)
    return this.asText
  }

  /** For the trailers of gRPC; null = nothing is known yet. */
  binary(): Buffer | null {
    this.look()
    if (this.latest !== null) this.asBytes ??= encodeReport(this.latest)
    return this.asBytes
  }

  private look(): void {
    const now = this.clock.now()
    if (now - this.at >= WINDOW_MS) this.measure(now)
  }

  private measure(now: number): void {
    const elapsed = now - this.at
    const cpuMs = this.gauges.cpuMs()
    const loop = this.gauges.loop()
    this.asText = null
    this.asBytes = null
    this.latest = {
      ...emptyLoadReport,
      cpuUtilization: (cpuMs - this.cpuMs) / elapsed,
      applicationUtilization: this.gauges.loop(this.loop).utilization,
      qps: (this.requests * 1_000) / elapsed,
      eps: (this.errors * 1_000) / elapsed,
    }
    this.at = now
    this.cpuMs = cpuMs
    this.loop = loop
    this.requests = 0
    this.errors = 0
  }
}
