const DIGIT = 2_048

/**
 * Sorts indexes by their 64-bit hashes: by radix over the upper half, in linear time, then the few that share it. A sort by
 * comparison would hold up the loop when a ring has millions of entries.
 */
export function sortHashes(hi: Uint32Array, lo: Uint32Array): Uint32Array {
  const count = hi.length
  let from: Uint32Array = Uint32Array.from({ length: count }, (_, i) => i)
  let to: Uint32Array = new Uint32Array(count)
  for (let shift = 0; shift < 32; shift += 11) {
    const starts = new Uint32Array(DIGIT + 1)
    for (let i = 0; i < count; i++) starts[((hi[i]! >>> shift) & (DIGIT - 1)) + 1]!++
    for (let i = 1; i < DIGIT; i++) starts[i]! += starts[i - 1]!
    for (let i = 0; i < count; i++) {
      const index = from[i]!
      to[starts[(hi[index]! >>> shift) & (DIGIT - 1)]!++] = index
    }
    const swap = from
    from = to
    to = swap
  }
  for (let i = 1; i < count; i++) {
    const index = from[i]!
    let at = i
    for (; at > 0; at--) {
      const before = from[at - 1]!
      if (hi[before] !== hi[index] || lo[before]! <= lo[index]!) break
      from[at] = before
    }
    from[at] = index
  }
  return from
}
