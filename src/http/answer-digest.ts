import { createHash } from 'node:crypto'
import type { MirrorDifference } from '../engine/mirror.ts'

/** Bytes of an answer's body that are looked at. */
export const DIGEST_LIMIT = 1024 * 1024

/** Framing differs from connection to connection and says nothing of the service. */
const framing = new Set(['connection', 'content-length', 'keep-alive', 'transfer-encoding'])

/** What is left of an answer for a comparison: made while it flows by, holds none of it. */
export class AnswerDigest {
  /** 0 = no answer. */
  status = 0
  /** Lower case, sorted; '' = none was seen. */
  private names = ''
  private readonly hash = createHash('sha256')
  private bytes = 0
  private text = ''
  private whole = false
  private done = false
  private readonly listeners: (() => void)[] = []

  /** The head of a peer's answer. */
  head(status: number, headers: Readonly<Record<string, unknown>>): void {
    this.status = status
    this.names = Object.keys(headers)
      .filter((name) => !framing.has(name))
      .sort()
      .join()
  }

  /** @returns there is more than anybody looks at */
  data(chunk: Uint8Array): boolean {
    if (this.bytes < DIGEST_LIMIT) this.hash.update(chunk.subarray(0, DIGEST_LIMIT - this.bytes))
    this.bytes += chunk.length
    return this.bytes > DIGEST_LIMIT
  }

  /** The answer ended whole. */
  complete(): void {
    this.whole = true
  }

  /** Nothing more will come. @param status what the caller got when there was no answer of a peer */
  finish(status: number): void {
    if (this.done) return
    this.done = true
    if (this.names === '') this.status = status
    this.text = this.hash.digest('base64')
    for (const listener of this.listeners.splice(0)) listener()
  }

  whenDone(listener: () => void): void {
    if (this.done) listener()
    else this.listeners.push(listener)
  }

  /** Of two that are done. */
  differences(other: AnswerDigest): readonly MirrorDifference[] {
    const found: MirrorDifference[] = []
    if (this.status !== other.status) found.push('status')
    if (this.names === '' || other.names === '') return found
    if (this.names !== other.names) found.push('headers')
    const long = this.bytes > DIGEST_LIMIT
    if (this.text !== other.text || long !== other.bytes > DIGEST_LIMIT || (!long && this.whole !== other.whole))
      found.push('body')
    return found
  }
}
