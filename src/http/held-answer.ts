import type { Classifier } from '../engine/app-hooks.ts'
import type { Call } from '../engine/call.ts'
import type { Classified } from '../engine/outcome.ts'

type Headers = Record<string, string | string[] | undefined>

/**
 * The head of an answer whose beginning the app wants to judge before anybody acts on it, and what came of its body. An
 * attempt that breaks meanwhile has delivered nothing, so it can still be repeated.
 */
export class HeldAnswer {
  readonly status: number
  readonly headers: Headers
  readonly statusText: string | undefined
  readonly grpcStatus: number
  readonly chunks: Buffer[] = []
  private readonly limit: number
  private size = 0

  constructor(limit: number, status: number, headers: Headers, statusText: string | undefined, grpcStatus: number) {
    this.limit = limit
    this.status = status
    this.headers = headers
    this.statusText = statusText
    this.grpcStatus = grpcStatus
  }

  /** @returns whether that is enough */
  add(chunk: Buffer): boolean {
    this.chunks.push(chunk)
    this.size += chunk.length
    return this.size >= this.limit
  }

  /** @param whole the body has ended */
  judge(classifier: Classifier, call: Call, whole: boolean): Classified {
    const { status, headers, limit, size } = this
    const bodyStart = Buffer.concat(this.chunks).subarray(0, limit)
    return classifier.classify(call, { status, headers, bodyStart, whole: whole && size <= limit })
  }
}

/** JSON that is not compressed: what somebody can judge by its first bytes, and what does not live as a stream. */
export function isJudgeable(headers: Headers): boolean {
  if (headers['content-encoding'] !== undefined) return false
  return /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(String(headers['content-type'] ?? ''))
}
