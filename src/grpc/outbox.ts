type Callback = (error?: Error | null) => void

interface Entry {
  /** null = it is being compressed. */
  frame: Buffer | null
  /** null = it has none, or it was called. */
  callback: Callback | null
}

/** Bytes of messages that are kept for another try, unless the route's retry policy says otherwise. */
export const REPLAY_LIMIT = 64 * 1024

/**
 * What the caller sends, in frames. Kept from the first message on while another try may have to send it again; each of the
 * caller's callbacks is called once, whoever sends the message.
 */
export class Outbox {
  /** The caller sends no more. */
  closed = false
  private readonly entries: Entry[] = []
  /** Number of the first message that is kept. */
  private base = 0
  private bytes = 0
  private limit = REPLAY_LIMIT
  private keep = true

  /** Could all be sent again from the start? Never true again once false. */
  get replayable(): boolean {
    return this.base === 0
  }

  /** Messages that were given, also those that are not kept any more. */
  get length(): number {
    return this.base + this.entries.length
  }

  /** Bytes that are kept. */
  get size(): number {
    return this.bytes
  }

  add(frame: Buffer | null, callback: Callback | null): Entry {
    const entry = { frame, callback }
    this.entries.push(entry)
    if (frame !== null) this.bytes += frame.length
    return entry
  }

  /** A message that was added without its frame has it now. */
  fill(entry: Entry, frame: Buffer): void {
    entry.frame = frame
    this.bytes += frame.length
  }

  /** null = it is not there (yet). */
  at(n: number): Buffer | null {
    return this.entries[n - this.base]?.frame ?? null
  }

  /** Whether somebody waits to hear that it was sent. */
  awaited(n: number): boolean {
    return (this.entries[n - this.base]?.callback ?? null) !== null
  }

  /** All frames; null = they are more than `limit` bytes, or some are not there. */
  copy(limit: number): Buffer[] | null {
    if (this.base > 0 || this.bytes > limit) return null
    const frames: Buffer[] = []
    for (const { frame } of this.entries) {
      if (frame === null) return null
      frames.push(frame)
    }
    return frames
  }

  /** A try has sent message `n`. @returns the callback to be called */
  sent(n: number): Callback | null {
    const entry = this.entries[n - this.base]
    const callback = entry?.callback ?? null
    if (entry !== undefined) entry.callback = null
    if (this.bytes > this.limit) this.keep = false
    if (!this.keep) this.drop(n + 1)
    return callback
  }

  /** Bytes that are kept for another try from now on; what is gone is gone. */
  keepUpTo(bytes: number): void {
    this.limit = bytes
  }

  /** No try will follow the one that has sent the messages before `next`. */
  commit(next: number): void {
    this.keep = false
    this.drop(next)
  }

  /** The call is over. @returns the callbacks that nobody will call */
  close(): Callback[] {
    const left: Callback[] = []
    for (const { callback } of this.entries) if (callback !== null) left.push(callback)
    this.base = this.length
    this.entries.length = 0
    this.bytes = 0
    this.closed = true
    return left
  }

  private drop(next: number): void {
    const n = Math.min(next - this.base, this.entries.length)
    if (n <= 0) return
    for (const { frame } of this.entries.splice(0, n)) this.bytes -= frame?.length ?? 0
    this.base += n
  }
}

export type { Entry as OutboxEntry }
