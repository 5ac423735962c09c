import { InvalidArgumentError } from 'commander'

const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** "500ms", "10s", "5m", "24h", "7d" in ms; for commander. */
export function duration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text)
  if (match === null) throw new InvalidArgumentError('expected a duration like 500ms, 10s, 5m or 24h.')
  return Number(match[1]) * units[match[2] as keyof typeof units]
}
