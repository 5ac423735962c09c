/** What an {@link UnderWay} keeps: it knows its own place. */
export interface Placed {
  place: number
}

/**
 * The requests that are under way, in no order; adding and removing are O(1). An array, because the garbage collector
 * copes badly with the alternatives at these rates: through a linked list or the tables of a Set, requests that ended
 * keep later ones alive, and five times as much is promoted to the old generation.
 */
export class UnderWay<T extends Placed> {
  private readonly items: T[] = []

  get size(): number {
    return this.items.length
  }

  /** One of them. */
  get any(): T | undefined {
    return this.items.at(-1)
  }

  add(item: T): void {
    item.place = this.items.length
    this.items.push(item)
  }

  delete(item: T): void {
    const last = this.items.pop()!
    if (last === item) return
    last.place = item.place
    this.items[item.place] = last
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.items[Symbol.iterator]()
  }
}
