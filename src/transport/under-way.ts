/** What an {@link UnderWay} keeps: it knows its own place. */
export interface Placed {
  place: number
}

/**
 * The requests that are under way, in no order; adding and removing are O(1). An array and no Set: a Set rebuilds its
 * tables again and again at these rates, and through the old ones requests that ended live on into the old generation.
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
