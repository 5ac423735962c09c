import { createWriteStream } from 'node:fs'
import type { Writable } from 'node:stream'
import type { CallEvents } from './engine/events.ts'
import type { RequestView } from './engine/exchange.ts'
import type { WorkloadInfo } from './model/workload.ts'
import { isSecretName } from './telemetry/redact.ts'

export interface RecordOptions {
  /** Share of the calls, 0 to 1; default 1. */
  readonly share?: number
  /** Names of headers to leave out besides those that hold secrets (authorization, cookie, x-api-key and the like). */
  readonly without?: readonly string[]
}

export interface Recording {
  /** Lines that were written. */
  readonly recorded: number
  /** Calls that were left out because the stream did not keep up. */
  readonly dropped: number
  /** Ends it; resolves when what was recorded is written. */
  stop(): Promise<void>
}

/** What `inmesh replay` reads: request metadata as JSON lines, never bodies, without secrets in headers and queries. */
export class Recorder implements Recording {
  recorded = 0
  dropped = 0
  private readonly out: Writable
  private readonly own: boolean
  private readonly client: Pick<WorkloadInfo, 'service' | 'namespace' | 'labels'>
  private readonly share: number
  private readonly without: ReadonlySet<string>
  private readonly ended: () => void
  private stopped: Promise<void> | null = null

  /** @param to a file to add to, or a stream, which stays open */
  constructor(to: string | Writable, workload: WorkloadInfo, options: RecordOptions, ended: () => void) {
    const { service, namespace, labels } = workload
    this.client = { service, namespace, labels }
    this.own = typeof to === 'string'
    this.out = typeof to === 'string' ? createWriteStream(to, { flags: 'a', mode: 0o600 }) : to
    this.share = options.share ?? 1
    this.without = new Set((options.without ?? []).map((name) => name.toLowerCase()))
    this.ended = ended
    if (this.own) this.out.on('error', () => void this.stop())
  }

  /** What the engine tells. */
  readonly events: CallEvents = {
    callStart: () => undefined,
    attemptStart: () => undefined,
    attemptEnd: () => undefined,
    callEnd: (call) => {
      if (!call.route.shadow) this.write(call.exchange, call.status)
    },
    localReply: (request, target) => this.write(request, target.rejection.status),
  }

  stop(): Promise<void> {
    this.stopped ??= new Promise((resolve) => {
      this.ended()
      if (!this.own || this.out.destroyed) resolve()
      else this.out.end(() => resolve())
    })
    return this.stopped
  }

  private write(request: RequestView, status: number): void {
    if (this.stopped !== null || (this.share < 1 && Math.random() >= this.share)) return
    // A disk that is slow must not fill the memory.
    if (this.out.writableNeedDrain) {
      this.dropped++
      return
    }
    this.recorded++
    const { method, authority, path } = request
    const line = {
      time: new Date().toISOString(),
      client: this.client,
      ...{ method, url: `http://${authority}${withoutSecrets(path)}`, headers: this.headersOf(request), status },
    }
    this.out.write(`${JSON.stringify(line)}\n`)
  }

  private headersOf(request: RequestView): Record<string, string> {
    const names = [...new Set(request.headerNames?.() ?? [])].filter((n) => !isSecretName(n) && !this.without.has(n))
    return Object.fromEntries(names.map((name) => [name, request.header(name) ?? '']))
  }
}

/** Values of query parameters whose names say that they are secret are left out. */
function withoutSecrets(path: string): string {
  const at = path.indexOf('?')
  if (at < 0) return path
  const query = path.slice(at + 1).split('&')
  const shown = query.map((pair) => {
    const name = pair.split('=', 1)[0]!
    return isSecretName(name) ? `${name}=redacted` : pair
  })
  return `${path.slice(0, at)}?${shown.join('&')}`
}
