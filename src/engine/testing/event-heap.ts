interface Entry {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

/** What will happen, soonest first; what happens at the same time, in the order in which it was planned. */
export class EventHeap {
  private readonly entries: Entry[] = []
  private planned = 0

  /** Monotonic ms of the soonest; Infinity = nothing. */
  get nextAt(): number {
    return this.entries[0]?.at ?? Number.POSITIVE_INFINITY
  }

  push(at: number, run: () => void): void {
    const { entries } = this
    const entry = { at, order: this.planned++, run }
    let i = entries.push(entry) - 1
    while (i > 0) {
      const up = (i - 1) >> 1
      if (!before(entry, entries[up]!)) break
      entries[i] = entries[up]!
      i = up
    }
    entries[i] = entry
  }

  pop(): () => void {
    const { entries } = this
    const top = entries[0]!
    const last = entries.pop()!
    if (entries.length === 0) return top.run
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= entries.length) break
      if (child + 1 < entries.length && before(entries[child + 1]!, entries[child]!)) child++
      if (!before(entries[child]!, last)) break
      entries[i] = entries[child]!
      i = child
    }
    entries[i] = last
    return top.run
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
