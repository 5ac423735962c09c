/** Results of one compiler that are kept; more than that and they are forgotten together. */
const MAX_KEPT = 1_000

/**
 * Compiles equal specs once. A thousand services mostly say the same, and what they have in common is then one object: in
 * memory, and in the processor's cache, where a call to any of them finds it. Only for what keeps no state.
 *
 * @param compile must go by the content of its argument alone, which is plain data
 */
export function shared<S, T extends object | null>(compile: (spec: S) => T): (spec: S) => T {
  const made = new Map<string, T>()
  return (spec) => {
    const key = JSON.stringify(spec, distinct)
    let result = made.get(key)
    if (result === undefined) {
      result = compile(spec)
      if (made.size >= MAX_KEPT) made.clear()
      made.set(key, result)
    }
    return result
  }
}

/** Longer lists are rarely the same, and looking for them takes longer. */
const MAX_LENGTH = 64

interface Shelf<T extends object> {
  list: readonly T[] | null
  readonly next: WeakMap<T, Shelf<T>>
}

/** One list for all that hold the same objects in the same order. Keeps none of them alive. */
export function sharedList<T extends object>(): (list: readonly T[]) => readonly T[] {
  const root: Shelf<T> = { list: null, next: new WeakMap() }
  return (list) => {
    if (list.length > MAX_LENGTH) return list
    let shelf = root
    for (const item of list) {
      let next = shelf.next.get(item)
      if (next === undefined) {
        next = { list: null, next: new WeakMap() }
        shelf.next.set(item, next)
      }
      shelf = next
    }
    shelf.list ??= list
    return shelf.list
  }
}

/** JSON has no words for these: Infinity must not look like null, nor absent like null. */
function distinct(_key: string, value: unknown): unknown {
  if (value === undefined) return '\0undefined'
  return typeof value === 'number' && !Number.isFinite(value) ? `\0${value}` : value
}
