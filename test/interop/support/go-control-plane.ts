import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Peer } from './foreign-client.ts'

/** A whole configuration of the control plane in ../go-control-plane/main.go. */
export interface PlaneConfig {
  readonly listeners?: readonly string[]
  readonly routes?: readonly {
    readonly prefix: string
    readonly header?: Readonly<Record<string, string>>
    readonly clusters: Readonly<Record<string, number>>
  }[]
  readonly clusters?: Readonly<
    Record<string, { readonly endpoints: readonly string[]; readonly sans?: readonly string[] }>
  >
  readonly broken?: boolean
  readonly servers?: readonly {
    readonly name: string
    readonly host: string
    readonly port: number
    readonly tls?: boolean
    readonly allow?: readonly string[]
  }[]
}

/** go-control-plane in a process of its own. */
export class GoControlPlane {
  /** Why clients refused what they got. */
  readonly nacks: string[] = []
  readonly #child: ChildProcess
  readonly #waiting: ((line: Record<string, unknown>) => void)[] = []
  #version = 0
  port = 0

  private constructor({ name, start }: Peer, port: number) {
    if ('missing' in start) throw new Error(`${name} cannot run: ${start.missing}`)
    this.#child = spawn(start.command, [...start.args, '-port', String(port)], { stdio: ['pipe', 'pipe', 'inherit'] })
    createInterface({ input: this.#child.stdout! }).on('line', (text) => {
      const line = JSON.parse(text) as Record<string, unknown>
      if (typeof line.nack === 'string') this.nacks.push(line.nack)
      else this.#waiting.shift()?.(line)
    })
  }

  static async start(peer: Peer, port = 0): Promise<GoControlPlane> {
    const plane = new GoControlPlane(peer, port)
    plane.port = (await plane.#next()).listening as number
    return plane
  }

  get target(): string {
    return `127.0.0.1:${this.port}`
  }

  /** Resolves when it is in force at the server. */
  async set(config: PlaneConfig): Promise<void> {
    const inForce = this.#next()
    this.#child.stdin!.write(`${JSON.stringify({ ...config, version: String(++this.#version) })}\n`)
    await inForce
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = new Promise((resolve) => this.#child.on('exit', resolve))
    this.#child.kill('SIGKILL')
    await ended
  }

  #next(): Promise<Record<string, unknown>> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }
}
