/** How far a count may be from n*p before chance stops being an explanation: 5 standard deviations, 1 in 1.7 million. */
const SIGMAS = 5

/** The counts that a share `p` of `n` independent draws may give. */
export function binomialBounds(n: number, p: number): { low: number; high: number } {
  const spread = SIGMAS * Math.sqrt(n * p * (1 - p))
  return { low: Math.max(0, Math.ceil(n * p - spread)), high: Math.min(n, Math.floor(n * p + spread)) }
}

/** The value that a share `q` of `values` does not exceed; 0 without values. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0
}

export function countBy<T>(items: Iterable<T>, key: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const item of items) counts[key(item)] = (counts[key(item)] ?? 0) + 1
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => a.localeCompare(b)))
}

/** "200 x 1990, 503 x 10" */
export function showCounts(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).map(([name, n]) => `${name} x ${n}`)
  return parts.length === 0 ? 'none' : parts.join(', ')
}

export const ms = (value: number): string => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`
export const percent = (part: number, whole: number): string =>
  whole === 0 ? '-' : `${((100 * part) / whole).toFixed(2)} %`
