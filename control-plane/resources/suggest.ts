/** The one of `known` that was probably meant: case and underscores aside, at most 2 edits (1 for short words). */
export function suggest(word: string, known: Iterable<string>): string | undefined {
  const wanted = fold(word)
  let best: string | undefined
  let bestDistance = wanted.length <= 4 ? 1 : 2
  for (const candidate of known) {
    const distance = editDistance(wanted, fold(candidate), bestDistance + 1)
    if (distance > bestDistance || (distance === bestDistance && best !== undefined)) continue
    best = candidate
    bestDistance = distance
  }
  return best
}

function fold(text: string): string {
  return text.slice(0, 64).toLowerCase().replace(/[_-]/g, '')
}

/** Edits (insert, delete, replace, swap of neighbours) from `a` to `b`, or `limit` when there are that many or more. */
export function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let twoBack: number[] = []
  let back = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(back[j]! + 1, row[j - 1]! + 1, back[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, twoBack[j - 2]! + 1)
      row.push(cost)
    }
    twoBack = back
    back = row
  }
  return Math.min(back[b.length]!, limit)
}
