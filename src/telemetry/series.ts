/** Upper bounds of istio_request_duration_milliseconds, ms; Istio's own, so that its dashboards fit. */
export const DURATION_BOUNDS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
  3_600_000,
]

export type Labels = Readonly<Record<string, string>>

/** `request_protocol` of Istio's metrics. */
export type Protocol = 'http' | 'grpc'

/** Counts and durations of the requests of one label set and one (code, flags): all that a request costs is here. */
export class CodeSeries {
  /** HTTP status, or that of gRPC in a series of gRPC. */
  readonly code: number
  readonly flags: string
  count = 0
  sumMs = 0
  /** Per bucket, not cumulative; the last one is +Inf. */
  readonly buckets = new Float64Array(DURATION_BOUNDS.length + 1)

  constructor(code: number, flags: string) {
    this.code = code
    this.flags = flags
  }

  record(ms: number): void {
    this.count++
    this.sumMs += ms
    let i = 0
    while (i < DURATION_BOUNDS.length && ms > DURATION_BOUNDS[i]!) i++
    this.buckets[i]!++
  }
}

/** The requests of one label set, by code and flags. Lives as long as the process: a counter never goes back. */
export class RequestSeries {
  readonly labels: Labels
  readonly protocol: Protocol
  readonly #byCode: (CodeSeries | undefined)[] = new Array(600)
  readonly #flagged = new Map<string, CodeSeries>()

  constructor(labels: Labels, protocol: Protocol) {
    this.labels = { ...labels, request_protocol: protocol }
    this.protocol = protocol
  }

  /** Labels of one of its codes; Istio's server of gRPC answers 200 whatever the call's own status is. */
  codeLabels({ code, flags }: CodeSeries): Labels {
    const response_flags = flags === '' ? '-' : flags
    return this.protocol === 'http'
      ? { response_code: String(code), response_flags }
      : { response_code: '200', grpc_response_status: String(code), response_flags }
  }

  /** Neither allocates nor hashes but for the first time of a code. */
  record(code: number, flags: string, ms: number): void {
    if (flags === '' && code >= 0 && code < 600) {
      let series = this.#byCode[code]
      if (series === undefined) {
        series = new CodeSeries(code, '')
        this.#byCode[code] = series
      }
      series.record(ms)
      return
    }
    const key = `${code} ${flags}`
    let series = this.#flagged.get(key)
    if (series === undefined) {
      series = new CodeSeries(code, flags)
      this.#flagged.set(key, series)
    }
    series.record(ms)
  }

  *[Symbol.iterator](): Generator<CodeSeries> {
    for (const series of this.#byCode) if (series !== undefined) yield series
    yield* this.#flagged.values()
  }
}

/** One RequestSeries per distinct label set, so that hosts which come and go add to the same counters. */
export class SeriesTable {
  readonly #byKey = new Map<string, RequestSeries>()

  of(labels: Labels, protocol: Protocol): RequestSeries {
    const key = protocol + JSON.stringify(labels)
    let series = this.#byKey.get(key)
    if (series === undefined) {
      series = new RequestSeries(labels, protocol)
      this.#byKey.set(key, series)
    }
    return series
  }

  [Symbol.iterator](): IterableIterator<RequestSeries> {
    return this.#byKey.values()
  }
}
