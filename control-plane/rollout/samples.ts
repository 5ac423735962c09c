/** One value of a scrape. */
export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Where request counters come from: what one place says now. */
export interface MetricsSource {
  readonly name: string
  /** Samples with these labels. Rejects when the place does not answer. */
  read(labels: Readonly<Record<string, string>>): Promise<readonly Sample[]>
}

export const REQUESTS = 'istio_requests_total'
export const DURATIONS = 'istio_request_duration_milliseconds_bucket'

/** The two families that rollouts go by, out of a Prometheus text exposition. Exemplars and timestamps are left out. */
export function parseSamples(text: string): Sample[] {
  const samples: Sample[] = []
  for (const line of text.split('\n')) {
    const match =
      /^(istio_requests_total|istio_request_duration_milliseconds_bucket)\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\} (\S+)/.exec(
        line,
      )
    if (match === null) continue
    const labels: Record<string, string> = {}
    for (const [, name, value] of match[2]!.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[name!] = value!.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c))
    samples.push({ name: match[1]!, labels, value: Number(match[3]) })
  }
  return samples
}

/** The /metrics of one process. */
export function scrape(url: string): MetricsSource {
  return {
    name: url,
    async read(labels) {
      const wanted = Object.entries(labels)
      return parseSamples(await (await get(url)).text()).filter((s) => wanted.every(([k, v]) => s.labels[k] === v))
    },
  }
}

/** A Prometheus server, by its HTTP API. */
export function prometheus(base: string): MetricsSource {
  return {
    name: base,
    async read(labels) {
      const selector = Object.entries(labels).map(([k, v]) => `${k}=${JSON.stringify(v)}`)
      const samples: Sample[] = []
      for (const name of [REQUESTS, DURATIONS]) {
        const query = encodeURIComponent(`${name}{${selector.join(',')}}`)
        const answer = (await (await get(`${base.replace(/\/$/, '')}/api/v1/query?query=${query}`)).json()) as Answer
        if (answer.status !== 'success' || answer.data?.resultType !== 'vector')
          throw new Error(`${base}: ${answer.error ?? 'not an answer of Prometheus'}`)
        for (const { metric, value } of answer.data.result) {
          const { __name__, ...rest } = metric
          samples.push({ name, labels: rest, value: Number(value[1]) })
        }
      }
      return samples
    },
  }
}

interface Answer {
  readonly status: string
  readonly error?: string
  readonly data?: {
    readonly resultType: string
    readonly result: readonly { metric: Record<string, string>; value: [number, string] }[]
  }
}

async function get(url: string): Promise<Response> {
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000) })
  if (!response.ok) throw new Error(`${url} answered ${response.status}`)
  return response
}
