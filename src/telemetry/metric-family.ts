import { DURATION_BOUNDS, type Labels, type SeriesTable } from './series.ts'

/** One line of an exposition, in the shape that prom-client prints. */
export interface Sample {
  value: number
  labels: Labels
  /** Labels that many samples have in common; printed once per object. */
  sharedLabels?: Labels
  /** When it differs from the family's name (`_bucket`, `_sum`, `_count`). */
  metricName?: string
}

/**
 * A metric whose samples are read when somebody scrapes. prom-client's registries take it as one of their own
 * (`registry.registerMetric`), which spares a request all hashing of labels.
 */
export class MetricFamily {
  /** Mutable: an OpenMetrics registry takes the `_total` off. */
  name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly aggregator = 'sum'
  readonly #read: () => Iterable<Sample>

  constructor(name: string, help: string, type: 'counter' | 'gauge' | 'histogram', read: () => Iterable<Sample>) {
    this.name = name
    this.help = help
    this.type = type
    this.#read = read
  }

  async get(): Promise<{ name: string; help: string; type: string; aggregator: string; values: Sample[] }> {
    const { name, help, type, aggregator } = this
    return { name, help, type, aggregator, values: [...this.#read()] }
  }
}

/** istio_requests_total of a table. */
export function* requestCounts(table: SeriesTable): Generator<Sample> {
  for (const series of table)
    for (const code of series)
      yield {
        value: code.count,
        labels: series.codeLabels(code),
        sharedLabels: series.labels,
      }
}

/** istio_request_duration_milliseconds of a table. */
export function* requestDurations(table: SeriesTable): Generator<Sample> {
  const name = 'istio_request_duration_milliseconds'
  for (const series of table) {
    for (const code of series) {
      const sharedLabels = { ...series.labels, ...series.codeLabels(code) }
      let below = 0
      for (let i = 0; i < code.buckets.length; i++) {
        below += code.buckets[i]!
        const le = i < DURATION_BOUNDS.length ? String(DURATION_BOUNDS[i]) : '+Inf'
        yield { value: below, labels: { le }, sharedLabels, metricName: `${name}_bucket` }
      }
      yield { value: code.sumMs, labels: {}, sharedLabels, metricName: `${name}_sum` }
      yield { value: code.count, labels: {}, sharedLabels, metricName: `${name}_count` }
    }
  }
}
