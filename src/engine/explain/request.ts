import type { Attempt } from '../attempt.ts'
import type { Exchange } from '../exchange.ts'
import type { ExplainRequest } from './explanation.ts'

/** A request that is only asked about: matching and policies may look at it, nothing can be sent by it. */
export class AskedRequest implements Exchange {
  readonly method: string
  readonly authority: string
  readonly path: string
  /** Lower case names. */
  readonly headers: ReadonlyMap<string, string>
  readonly idempotent = true
  readonly replayable = true
  readonly callerDeadline = Number.POSITIVE_INFINITY

  /** @throws TypeError when `url` is not absolute */
  constructor({ method = 'GET', url, headers = {} }: ExplainRequest) {
    const parsed = new URL(url)
    this.method = method
    this.authority = parsed.host
    this.path = parsed.pathname + parsed.search
    const map = new Map<string, string>()
    for (const [name, value] of Object.entries(headers)) {
      const lower = name.toLowerCase()
      const text = typeof value === 'string' ? value : value.join(',')
      const before = map.get(lower)
      map.set(lower, before === undefined ? text : `${before},${text}`)
    }
    this.headers = map
  }

  header(name: string): string | undefined {
    return this.headers.get(name)
  }

  open(): Attempt {
    throw new Error('a request that is only asked about cannot be sent')
  }

  reject(): void {}
}
