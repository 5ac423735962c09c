import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** How to start a client that speaks this file's protocol, or why this machine cannot. */
export interface Peer {
  readonly name: string
  readonly start: { readonly command: string; readonly args: readonly string[] } | { readonly missing: string }
}

/** One line to the client: calls to make on the channel of `target`, which it opens when it sees it first. */
export interface Order {
  readonly target: string
  /** Calls to make; more as long as `durationMs` is not over. Default 1 and 0. */
  readonly count?: number
  readonly durationMs?: number
  /** Between two calls (their starts if `concurrent`). Default 0. */
  readonly spacingMs?: number
  /** Start calls without waiting for those before. Default no. */
  readonly concurrent?: boolean
  readonly metadata?: Readonly<Record<string, string>>
  /** Of each call. Default 10,000. */
  readonly deadlineMs?: number
}

/** One line from the client: who answered how often, status codes (decimal), and a few of the error texts. */
export interface Result {
  readonly answers: Readonly<Record<string, number>>
  readonly codes: Readonly<Record<string, number>>
  readonly errors: readonly string[]
  /** From the first call's start to the last one's end. */
  readonly ms: number
}

/** A foreign gRPC client in a process of its own: its library reads the bootstrap once per process. */
export class ForeignClient {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve: (result: Result) => void; reject: (error: Error) => void }>()
  #orders = 0
  #stderr = ''
  #ended: Error | undefined

  constructor({ name, start }: Peer, bootstrap: object) {
    if ('missing' in start) throw new Error(`${name} cannot run: ${start.missing}`)
    this.#child = spawn(start.command, start.args, {
      // C-core looks for events of an idle process every 5 s unless told otherwise.
      env: {
        ...process.env,
        GRPC_XDS_BOOTSTRAP_CONFIG: JSON.stringify(bootstrap),
        GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS: '50',
      },
      stdio: 'pipe',
    })
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
    this.#child.stdin!.on('error', (error) => this.#end(error))
    this.#child.on('error', (error) => this.#end(error))
    this.#child.on('exit', (code, signal) =>
      this.#end(new Error(`${name} ended with ${signal ?? code}:\n${this.#stderr}`)),
    )
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const { id, ...result } = JSON.parse(line) as Result & { id: number }
      this.#waiting.get(id)?.resolve(result)
      this.#waiting.delete(id)
    })
  }

  /** Rejects when the process ends before it has answered. */
  call(order: Order): Promise<Result> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    const id = ++this.#orders
    const defaults = { count: 1, durationMs: 0, spacingMs: 0, concurrent: false, metadata: {}, deadlineMs: 10_000 }
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.stdin!.write(`${JSON.stringify({ id, ...defaults, ...order })}\n`)
    })
  }

  /** Why it is not running any more. */
  get ended(): Error | undefined {
    return this.#ended
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #end(error: Error): void {
    this.#ended ??= error
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}
