import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from './child.ts'
import { DemoError } from './demo-error.ts'

const cli = join(import.meta.dirname, '../../../dist/cli.js')

export interface ControlPlaneSettings {
  dataDir: string
  logDir: string
  port: number
  adminPort: number
  /** Lifetime of certificates, such as "40s": short, so that rotation can be watched. */
  certTtl: string
}

/** The bundled control plane as a process of its own, and the `inmesh` command line that talks to it. */
export class ControlPlane {
  readonly settings: ControlPlaneSettings
  #child: Child | null = null

  constructor(settings: ControlPlaneSettings) {
    this.settings = settings
    if (!existsSync(cli)) throw new DemoError('dist/cli.js is missing: run "npm run build"')
  }

  get address(): string {
    return `127.0.0.1:${this.settings.port}`
  }

  get adminUrl(): string {
    return `http://127.0.0.1:${this.settings.adminPort}`
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Starts it, on its old store when there is one, and waits until it answers. */
  async start(): Promise<void> {
    const { dataDir, logDir, port, adminPort, certTtl } = this.settings
    const child = new Child({
      name: 'control-plane',
      file: cli,
      // biome-ignore format: one flag a line
      args: [
        'control-plane',
        '--data-dir', dataDir,
        '--listen', `127.0.0.1:${port}`,
        '--admin', `127.0.0.1:${adminPort}`,
        '--cert-ttl', certTtl,
        '--registration-grace', '2s',
      ],
      execArgv: ['--import', join(import.meta.dirname, 'exit-with-parent.ts')],
      env: {},
      logDir,
    })
    this.#child = child
    const deadline = performance.now() + 15_000
    while (!(await this.#answers())) {
      if (!child.alive) throw new DemoError(`the control plane has ended\n${child.logTail()}`)
      if (performance.now() > deadline) throw new DemoError(`the control plane does not answer\n${child.logTail()}`)
      await sleep(50)
    }
  }

  /** kill -9 */
  async kill(): Promise<void> {
    await this.#child?.kill('SIGKILL')
  }

  async stop(): Promise<void> {
    await this.#child?.stop()
  }

  /**
   * Runs `inmesh ...args`.
   * @throws DemoError with what it said when it fails
   */
  run(...args: string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      execFile(
        process.execPath,
        [cli, ...args],
        { env: { ...process.env, ...this.cliEnv() } },
        (error, stdout, stderr) => {
          if (error === null) resolve(stdout)
          else reject(new DemoError(`inmesh ${args.join(' ')}: ${stderr.trim() || error.message}`))
        },
      )
    })
  }

  /** What the command line needs to know, for people too. */
  cliEnv(): { INMESH_ADMIN_URL: string; INMESH_ADMIN_TOKEN: string } {
    return { INMESH_ADMIN_URL: this.adminUrl, INMESH_ADMIN_TOKEN: this.adminToken() }
  }

  adminToken(): string {
    return readFileSync(join(this.settings.dataDir, 'admin-token'), 'utf8').trim()
  }

  /**
   * Waits until `processes` clients are connected and every one of them has acknowledged all of what the store says now.
   * @throws DemoError with the state of those that have not
   */
  async settled(processes: number, withinMs = 15_000): Promise<void> {
    const { revision } = await this.#read<{ revision: number }>('/v1/endpoints')
    const deadline = performance.now() + withinMs
    for (;;) {
      const status = await this.#read<Clients>('/v1/clients')
      const waiting = status.clients.filter((c) => c.types.length === 0 || c.types.some((t) => t.state !== 'SYNCED'))
      const connected = new Set(status.clients.map((client) => client.nodeId)).size
      if (status.revision >= revision && connected >= processes && waiting.length === 0) return
      if (performance.now() > deadline) {
        const laggards = waiting.map((c) => `${c.nodeId}: ${c.types.map((t) => `${t.state} ${t.reason}`).join(', ')}`)
        const summary = `revision ${status.revision} of ${revision}, ${connected} of ${processes} connected`
        throw new DemoError(`not in sync within ${withinMs / 1_000} s: ${summary}; ${laggards.join('; ')}`)
      }
      await sleep(25)
    }
  }

  async #read<T>(path: string): Promise<T> {
    const response = await fetch(`${this.adminUrl}${path}`, {
      headers: { authorization: `Bearer ${this.adminToken()}` },
    })
    if (!response.ok) throw new DemoError(`GET ${path} of the admin API: ${response.status}`)
    return (await response.json()) as T
  }

  async #answers(): Promise<boolean> {
    try {
      return (await fetch(`${this.adminUrl}/readyz`, { signal: AbortSignal.timeout(1_000) })).ok
    } catch {
      // Not listening yet: the caller asks again.
      return false
    }
  }
}

/** What is read of GET /v1/clients. */
interface Clients {
  revision: number
  clients: { nodeId: string; types: { state: string; reason: string }[] }[]
}
