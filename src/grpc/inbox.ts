/** A message that came; its bytes are not there while it is decompressed. */
export interface Received {
  bytes: Buffer | null
}

/** Messages that wait for their reader, in the order in which they came. */
export class Inbox {
  private readonly items: Received[] = []
  private head = 0

  get size(): number {
    return this.items.length - this.head
  }

  add(bytes: Buffer | null): Received {
    const item = { bytes }
    this.items.push(item)
    return item
  }

  /** The next one, if it is complete; null = it is not, or there is none. */
  take(): Buffer | null {
    if (this.head === this.items.length) return null
    const bytes = this.items[this.head]!.bytes
    if (bytes === null) return null
    this.head++
    if (this.head === this.items.length) this.clear()
    return bytes
  }

  clear(): void {
    this.items.length = 0
    this.head = 0
  }
}
