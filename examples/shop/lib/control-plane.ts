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

  async #answers(): Promise<boolean> {
    try {
      const response = await fetch(`${this.adminUrl}/v1/status`, {
        headers: { authorization: `Bearer ${this.adminToken()}` },
        signal: AbortSignal.timeout(1_000),
      })
      return response.ok
    } catch {
      // Not listening yet, or no token written yet: the caller asks again.
      return false
    }
  }
}
