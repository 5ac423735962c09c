import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Mesh } from 'inmesh'

/** How badly a service is to behave. Set by the demo's driver through IPC: no header of a request is involved. */
export interface Fault {
  /** ms before each answer. */
  delayMs: number
  /** Share of requests that are answered with 503, 0 to 1. */
  failShare: number
}

export interface Request {
  id: number
  verb: string
  argument: unknown
}
export type Reply = { id: number; result: unknown } | { id: number; error: string } | { ready: { port: number } }

type Verb = (argument: never) => unknown

/** The service's end of the wire to the driver. */
export class RemoteControl {
  /** Requests that reached the handler. */
  received = 0
  /** Of these, answered 503 on command. */
  failed = 0
  #fault: Fault = { delayMs: 0, failShare: 0 }
  readonly #verbs: Record<string, Verb>

  constructor(mesh: Mesh, verbs: Record<string, Verb> = {}) {
    this.#verbs = {
      fault: (fault: Fault) => {
        this.#fault = fault
      },
      counts: () => ({ received: this.received, failed: this.failed }),
      ...verbs,
    }
    process.on('message', (request: Request) => void this.#answer(request))
    // Whoever loses its driver has nothing left to do.
    process.on('disconnect', () => process.exit(0))
    process.on('SIGTERM', () => void mesh.close().finally(() => process.exit(0)))
    process.on('SIGINT', () => undefined)
  }

  /** Behaves as badly as it was told. @returns true = answer 503 */
  async misbehave(): Promise<boolean> {
    const { delayMs, failShare } = this.#fault
    this.received++
    if (delayMs > 0) await sleep(delayMs)
    if (Math.random() >= failShare) return false
    this.failed++
    return true
  }

  /** To be called when calls may come, with the server if there is one. */
  ready(server?: { address(): AddressInfo | string | null }): void {
    const address = server?.address()
    this.#send({ ready: { port: typeof address === 'object' && address !== null ? address.port : 0 } })
  }

  async #answer({ id, verb, argument }: Request): Promise<void> {
    try {
      const work = this.#verbs[verb]
      if (work === undefined) throw new Error(`${process.env.INMESH_SERVICE} does not know "${verb}"`)
      this.#send({ id, result: await work(argument as never) })
    } catch (error) {
      this.#send({ id, error: error instanceof Error ? error.message : String(error) })
    }
  }

  #send(reply: Reply): void {
    if (process.connected) process.send?.(reply)
  }
}
