import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Peer } from './foreign-client.ts'

/**
 * A foreign xDS server in a process of its own. It gets its bootstrap by GRPC_XDS_BOOTSTRAP_CONFIG and its port as last
 * argument, writes the line "serving" once it listens, and answers test.Echo/WhoAreYou and /Other with the SPIFFE id of its
 * caller, "nobody" in plaintext.
 */
export class ForeignServer {
  readonly port: number
  readonly #child: ChildProcess
  #output = ''
  /** Rejects when it ends before. */
  readonly serving: Promise<void>

  constructor({ name, start }: Peer, bootstrap: object, port: number) {
    if ('missing' in start) throw new Error(`${name} cannot run: ${start.missing}`)
    this.port = port
    this.#child = spawn(start.command, [...start.args, String(port)], {
      env: {
        ...process.env,
        GRPC_XDS_BOOTSTRAP_CONFIG: JSON.stringify(bootstrap),
        GRPC_XDS_EXPERIMENTAL_RBAC: 'true',
        GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS: '50',
      },
      stdio: 'pipe',
    })
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text
    })
    this.serving = new Promise((resolve, reject) => {
      createInterface({ input: this.#child.stdout! }).on('line', (line) => {
        if (line === 'serving') resolve()
      })
      this.#child.on('error', reject)
      this.#child.on('exit', (code, signal) =>
        reject(new Error(`${name} ended with ${signal ?? code}:\n${this.#output}`)),
      )
    })
    // Whoever does not wait for it has killed it.
    this.serving.catch(() => undefined)
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}
