import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from './child.ts'
import { Collector } from './collector.ts'
import { ControlPlane } from './control-plane.ts'
import { DemoError } from './demo-error.ts'
import { openLedger, readLedger } from './ledger.ts'
import { usablePort } from './preflight.ts'
import type { Fault } from './remote-control.ts'
import { Traffic } from './traffic.ts'

const root = join(import.meta.dirname, '..')

interface Member {
  service: string
  version?: string
  instances?: number
}

/** Who is in the shop. */
const members: readonly Member[] = [
  { service: 'inventory-service', instances: 2 },
  { service: 'payment-service', instances: 3 },
  { service: 'payment-service', version: 'v2' },
  { service: 'order-service' },
  { service: 'frontend' },
  { service: 'intruder' },
]

export interface Workload extends Child {
  readonly service: string
  readonly version: string
  readonly adminPort: number
}

/** The running shop: its processes, its control plane, the world outside. What the steps work on. */
export class Shop {
  readonly controlPlane: ControlPlane
  readonly collector = new Collector()
  readonly workloads: Workload[] = []
  readonly ledgerDir: string
  readonly #directory: string
  readonly #frontendPort: number
  #traffic: Traffic | null = null
  #otlp = ''

  private constructor(directory: string, controlPlane: ControlPlane, frontendPort: number) {
    this.#directory = directory
    this.controlPlane = controlPlane
    this.#frontendPort = frontendPort
    this.ledgerDir = join(directory, 'ledger')
  }

  /** Picks ports; starts nothing yet. `frontendPort` 0 = any. */
  static async plan(directory: string, frontendPort: number): Promise<Shop> {
    const controlPlane = new ControlPlane({
      dataDir: join(directory, 'control-plane'),
      logDir: directory,
      port: await usablePort(0, 'the control plane'),
      adminPort: await usablePort(0, 'its admin API'),
      certTtl: '30s',
    })
    return new Shop(directory, controlPlane, await usablePort(frontendPort, 'frontend'))
  }

  get traffic(): Traffic {
    if (this.#traffic === null) throw new DemoError('the shop is not open')
    return this.#traffic
  }

  get url(): string {
    return `http://127.0.0.1:${this.#frontendPort}`
  }

  async open(): Promise<void> {
    openLedger(this.ledgerDir)
    this.#otlp = await this.collector.start()
    await this.controlPlane.start()
    await this.apply('frontend-permissive.yaml')
    for (const { service, version = 'v1', instances = 1 } of members) {
      const names = Array.from({ length: instances }, (_, i) => `${service}-${version}-${i + 1}`)
      await Promise.all(names.map((name) => this.#launch(service, version, name, true)))
    }
    this.#traffic = new Traffic(this.url)
  }

  /** All processes of a service, dead ones left out. */
  of(service: string): Workload[] {
    return this.workloads.filter((workload) => workload.service === service && workload.alive)
  }

  one(service: string): Workload {
    const [first] = this.of(service)
    if (first === undefined) throw new DemoError(`${service} is not running`)
    return first
  }

  /** Starts a workload again under its old name, from its state directory: it gets no token. */
  async restart(workload: Workload): Promise<Workload> {
    this.workloads.splice(this.workloads.indexOf(workload), 1)
    return this.#launch(workload.service, workload.version, workload.name, false)
  }

  /** A file of the folder `policies`. */
  policyFile(file: string): string {
    return join(root, 'policies', file)
  }

  yaml(file: string): string {
    return readFileSync(this.policyFile(file), 'utf8')
  }

  /** `inmesh apply -f policies/<file>`; returns when every process that is subscribed to it uses it. */
  async apply(file: string): Promise<void> {
    await this.controlPlane.run('apply', '-f', this.policyFile(file))
    await this.settled()
  }

  /** `inmesh delete -f policies/<file>` */
  async delete(file: string): Promise<void> {
    await this.controlPlane.run('delete', '-f', this.policyFile(file))
    await this.settled()
  }

  /** Waits until all living processes are in sync with the store. */
  async settled(): Promise<void> {
    await this.controlPlane.settled(this.workloads.filter((workload) => workload.alive).length)
  }

  async fault(workloads: readonly Workload[], fault: Partial<Fault>): Promise<void> {
    const whole: Fault = { delayMs: 0, failShare: 0, ...fault }
    await Promise.all(workloads.map((workload) => workload.ask('fault', whole)))
  }

  /** Requests that reached the handlers of these processes so far. */
  async received(workloads: readonly Workload[]): Promise<Map<string, number>> {
    const counts = await Promise.all(
      workloads.map(async (w) => [w.name, (await w.ask<{ received: number }>('counts')).received] as const),
    )
    return new Map(counts)
  }

  charges(): Map<string, number> {
    return readLedger(this.ledgerDir)
  }

  /** A value of a process's own /metrics; labels as a text that the line must contain. */
  async metric(workload: Workload, name: string, label: string): Promise<number | undefined> {
    const response = await fetch(`http://127.0.0.1:${workload.adminPort}/metrics`)
    const lines = (await response.text()).split('\n')
    const line = lines.find((text) => text.startsWith(name) && text.includes(label))
    return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1))
  }

  /** What a process says that it was told. */
  async configDump(workload: Workload): Promise<string> {
    return (await fetch(`http://127.0.0.1:${workload.adminPort}/config_dump`)).text()
  }

  /** Asks until `what` answers, every 50 ms. @throws DemoError after `withinMs` */
  async eventually<T>(what: string, withinMs: number, ask: () => Promise<T | undefined>): Promise<T> {
    const deadline = performance.now() + withinMs
    for (;;) {
      const found = await ask()
      if (found !== undefined) return found
      if (performance.now() > deadline) throw new DemoError(`${what}: not within ${withinMs / 1_000} s`)
      await sleep(50)
    }
  }

  async close(): Promise<void> {
    await this.#traffic?.close()
    this.collector.stop()
    await Promise.all(this.workloads.map((workload) => workload.stop()))
    await this.controlPlane.stop()
  }

  /** The last lines of every log, for when something went wrong. */
  logTails(): string {
    return this.workloads.map((workload) => workload.logTail()).join('\n')
  }

  async #launch(service: string, version: string, name: string, withToken: boolean): Promise<Workload> {
    const adminPort = await usablePort(0, `the admin port of ${name}`)
    const env: Record<string, string> = {
      INMESH_SERVICE: service,
      INMESH_LABELS: `version=${version}`,
      INMESH_CONTROL_PLANE: this.controlPlane.address,
      INMESH_STATE_DIR: join(this.#directory, 'state', name),
      INMESH_ADMIN_PORT: String(adminPort),
      INMESH_ADDRESS: '127.0.0.1',
      SHOP_INSTANCE: name,
      SHOP_VERSION: version,
      SHOP_LEDGER: this.ledgerDir,
      PORT: service === 'frontend' ? String(this.#frontendPort) : '0',
      OTEL_EXPORTER_OTLP_ENDPOINT: this.#otlp,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '300',
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.02',
    }
    if (withToken) {
      env.INMESH_TOKEN = (await this.controlPlane.run('token', 'create', '--service', service)).trim()
    }
    const child = new Child({ name, file: join(root, `${service}.ts`), env, logDir: this.#directory })
    const workload = Object.assign(child, { service, version, adminPort })
    this.workloads.push(workload)
    await workload.ready()
    return workload
  }
}
