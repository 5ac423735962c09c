import { type ChildProcess, fork } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DemoError } from './demo-error.ts'
import type { Reply, Request } from './remote-control.ts'

const living = new Set<ChildProcess>()

/** The last resort, for `process.on('exit')`: nothing of the demo outlives it. */
export function killAll(): void {
  for (const child of living) child.kill('SIGKILL')
}

export interface ChildOptions {
  /** For people: "payment-service-v1-2". */
  name: string
  file: string
  args?: string[]
  execArgv?: string[]
  env: Record<string, string>
  logDir: string
}

/** A process of the demo, with its log in a file and a wire for commands. */
export class Child {
  readonly name: string
  readonly logFile: string
  /** Where it listens; 0 until it said so. */
  port = 0
  /** Resolves when the process has ended. */
  readonly exited: Promise<void>
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>()
  readonly #ready = Promise.withResolvers<void>()
  #lastId = 0

  constructor({ name, file, args = [], execArgv = [], env, logDir }: ChildOptions) {
    this.name = name
    this.logFile = join(logDir, `${name}.log`)
    const log = openSync(this.logFile, 'a')
    const stdio = ['ignore', log, log, 'ipc'] as ('ignore' | 'ipc' | number)[]
    this.#child = fork(file, args, { env: { ...inherited(), ...env }, execArgv, stdio })
    closeSync(log)
    living.add(this.#child)
    this.#child.on('message', (reply: Reply) => this.#receive(reply))
    // Without an 'exit' there is an 'error': the process could not be started at all.
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', () => resolve())
      this.#child.once('error', () => resolve())
    })
    void this.exited.then(() => this.#ended())
    // Nobody may be waiting for it any more when the process is ended on purpose.
    this.#ready.promise.catch(() => undefined)
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get alive(): boolean {
    return living.has(this.#child)
  }

  /** @throws DemoError with the end of its log when the process ends or takes too long. */
  async ready(withinMs = 20_000): Promise<void> {
    const timer = setTimeout(() => {
      this.#ready.reject(new DemoError(`${this.name} was not ready within ${withinMs / 1_000} s\n${this.logTail()}`))
    }, withinMs)
    try {
      await this.#ready.promise
    } finally {
      clearTimeout(timer)
    }
  }

  /** Gives a command over IPC. */
  ask<T>(verb: string, argument?: unknown): Promise<T> {
    const id = ++this.#lastId
    return new Promise<T>((resolve, reject) => {
      if (!this.alive) return reject(new DemoError(`${this.name} is not running`))
      this.#waiting.set(id, { resolve: resolve as (result: unknown) => void, reject })
      this.#child.send({ id, verb, argument } satisfies Request)
    })
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    this.#child.kill(signal)
    await this.exited
  }

  /** Asks politely, and after a second not any more. */
  async stop(): Promise<void> {
    if (!this.alive) return
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 1_500)
    await this.kill('SIGTERM')
    clearTimeout(timer)
  }

  logTail(): string {
    const lines = readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-8)
    return lines.map((line) => `    ${this.name}: ${line.slice(0, 400)}`).join('\n')
  }

  #receive(reply: Reply): void {
    if ('ready' in reply) {
      this.port = reply.ready.port
      this.#ready.resolve()
      return
    }
    const waiter = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if ('error' in reply) waiter?.reject(new DemoError(reply.error))
    else waiter?.resolve(reply.result)
  }

  #ended(): void {
    living.delete(this.#child)
    const error = new DemoError(`${this.name} has ended\n${this.logTail()}`)
    this.#ready.reject(error)
    for (const waiter of this.#waiting.values()) waiter.reject(error)
    this.#waiting.clear()
  }
}

/** Our own environment without what would steer the children: they get what the demo says and nothing else. */
function inherited(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !/^(INMESH_|OTEL_|NODE_OPTIONS$)/.test(name))
  return Object.fromEntries(kept.map(([name, value]) => [name, value ?? '']))
}
