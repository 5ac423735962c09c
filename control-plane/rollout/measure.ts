import { DURATIONS, type MetricsSource, REQUESTS, type Sample } from './samples.ts'

/** What calls to one version became, in one window. */
export interface VersionStats {
  readonly requests: number
  readonly failures: number
  /** 0..1; NaN without requests. */
  readonly successRate: number
  /** ms, interpolated inside its bucket; NaN without requests. */
  readonly p99: number
}

/** Statuses of gRPC that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. */
const grpcFailures = new Set(['2', '4', '12', '13', '14', '15'])

/** HTTP: 5xx, or no answer at all unless the caller went away (DC). */
export function failed(labels: Readonly<Record<string, string>>): boolean {
  if (labels.grpc_response_status !== undefined) return grpcFailures.has(labels.grpc_response_status)
  const code = Number(labels.response_code)
  return code >= 500 || (code === 0 && labels.response_flags !== 'DC')
}

type Counters = ReadonlyMap<string, Sample>

/** Counters since a moment; those that went back started again (their process did). */
export class Window {
  readonly #sources: readonly MetricsSource[]
  readonly #labels: Readonly<Record<string, string>>
  readonly #before = new Map<MetricsSource, Counters>()
  /** Grows between two reads of one source, by version. */
  #grown: readonly Sample[] = []

  constructor(sources: readonly MetricsSource[], labels: Readonly<Record<string, string>>) {
    this.#sources = sources
    this.#labels = labels
  }

  /**
   * Reads all sources; the first read of a source is where its window starts.
   * @returns what did not answer. One that does not counts with nothing until it does.
   */
  async read(): Promise<{ answered: number; missing: string[] }> {
    const missing: string[] = []
    const grown: Sample[] = []
    await Promise.all(
      this.#sources.map(async (source) => {
        try {
          const now = keyed(await source.read(this.#labels))
          const before = this.#before.get(source)
          if (before === undefined) this.#before.set(source, now)
          else grown.push(...growth(before, now))
        } catch (error) {
          missing.push(`${source.name}: ${(error as Error).message}`)
        }
      }),
    )
    this.#grown = grown
    return { answered: this.#sources.length - missing.length, missing }
  }

  /** @param failuresOfNone calls that failed before they got to any version count here too */
  of(version: string, failuresOfNone = false): VersionStats {
    let requests = 0
    let failures = 0
    const buckets = new Map<number, number>()
    for (const { name, labels, value } of this.#grown) {
      const of = labels.destination_version
      if (name === REQUESTS) {
        const bad = failed(labels)
        if (of !== version && !(failuresOfNone && of === 'unknown' && bad)) continue
        requests += value
        if (bad) failures += value
      } else if (name === DURATIONS && of === version) {
        const le = labels.le === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels.le)
        buckets.set(le, (buckets.get(le) ?? 0) + value)
      }
    }
    return { requests, failures, successRate: 1 - failures / requests, p99: quantile(0.99, buckets) }
  }
}

function keyed(samples: readonly Sample[]): Counters {
  return new Map(samples.map((s) => [s.name + JSON.stringify(Object.entries(s.labels).sort()), s]))
}

function growth(before: Counters, now: Counters): Sample[] {
  return [...now].map(([key, sample]) => {
    const was = before.get(key)?.value ?? 0
    return { ...sample, value: sample.value >= was ? sample.value - was : sample.value }
  })
}

/** Of a cumulative histogram, as Prometheus' histogram_quantile: linear inside a bucket, the last finite bound above all. */
export function quantile(q: number, buckets: ReadonlyMap<number, number>): number {
  const sorted = [...buckets].sort(([a], [b]) => a - b)
  const total = sorted.at(-1)?.[1] ?? 0
  if (total === 0) return Number.NaN
  let low = 0
  let below = 0
  for (const [le, count] of sorted) {
    if (count >= q * total)
      return le === Number.POSITIVE_INFINITY ? low : low + ((le - low) * (q * total - below)) / (count - below)
    low = le
    below = count
  }
  return low
}
