const unitMs: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
  ms: 1,
  us: 0.001,
  µs: 0.001,
  ns: 0.000_001,
}
/** 10,000 years, the largest google.protobuf.Duration. */
const maxMs = 315_576_000_000_000

/**
 * Milliseconds of a duration as Go and Kubernetes write it ("1h30m", "2.5s", "100ms"); undefined if it is not one. "0"
 * alone is allowed, a number without unit is not.
 */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0
  if (!/^(?:\d+(?:\.\d*)?(?:h|ms|us|µs|ns|m|s))+$/.test(text)) return undefined
  let ms = 0
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d*)?)(h|ms|us|µs|ns|m|s)/g))
    ms += Number(amount) * unitMs[unit!]!
  return ms <= maxMs ? ms : undefined
}
