import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { HookCounters } from '../engine/app-hooks.ts'
import type { Peer } from '../model/peer.ts'
import { spiffeIdOf, type WorkloadInfo } from '../model/workload.ts'
import { MetricFamily, requestCounts, requestDurations, type Sample } from './metric-family.ts'
import { type Labels, type Protocol, type RequestSeries, SeriesTable } from './series.ts'

/** State that lives elsewhere and is read when somebody scrapes. Every part may be left out. */
export interface MetricSources {
  /** One entry per cluster that the process uses. */
  clusters?(): Iterable<ClusterGauges>
  /** Seconds since the configuration in use was confirmed by a control plane. */
  configAgeSeconds?(): number
  /** Seconds until the own certificate ends; negative when it has. */
  certificateExpirySeconds?(): number
  /** Requests that were answered with the answer to another, by cluster. */
  coalesced?(): ReadonlyMap<string, number>
  /** Code of the app that takes part in its calls. */
  hooks?(): Iterable<HookCounters>
  /** Resources refused so far. */
  xdsNacks?(): number
}

export interface ClusterGauges {
  readonly name: string
  readonly endpoints: number
  readonly ejected: number
  /** null = the cluster has no error-rate breaker. */
  readonly breaker: 'closed' | 'open' | 'half-open' | null
}

/** Whom a call went to, as far as configuration says. '' = unknown. */
export interface Destination {
  /** FQDN, or the authority as dialled for what is not in the mesh. */
  readonly service: string
  readonly serviceName: string
  readonly namespace: string
  readonly principal: string
  readonly app: string
  readonly version: string
}

/** More callers than this share one label value: addresses are the callers' choice. */
const MAX_PLAINTEXT_ADDRESSES = 100
const breakerNumber = { closed: 0, 'half-open': 1, open: 2 } as const

/** All counters of one process in the mesh. What a request does here is to add to numbers that are already there. */
export class Metrics {
  readonly families: readonly MetricFamily[]
  readonly #self: WorkloadInfo
  readonly #principal: string
  readonly #table = new SeriesTable()
  readonly #byPeer = { http: new WeakMap<Peer, RequestSeries>(), grpc: new WeakMap<Peer, RequestSeries>() }
  readonly #plaintext: Record<Protocol, RequestSeries | null> = { http: null, grpc: null }
  readonly #plaintextBy = new Map<string, number>()
  readonly #retriesBy = new Map<string, { count: number }>()
  readonly #mirrored = new Map<string, Map<string, number>>()
  readonly #mirrorCompared = new Map<string, Map<string, number>>()
  #lag: ReturnType<typeof monitorEventLoopDelay> | null = null

  constructor(self: WorkloadInfo, sources: MetricSources = {}) {
    this.#self = self
    this.#principal = spiffeIdOf(self)
    this.families = this.#build(sources)
  }

  /** The series of calls to `to`; ask once and keep it. */
  outbound(to: Destination, protocol: Protocol = 'http'): RequestSeries {
    const { service, namespace, labels } = this.#self
    return this.#table.of(
      {
        reporter: 'source',
        source_workload: service,
        source_workload_namespace: namespace,
        source_principal: this.#principal,
        source_app: labels.app ?? service,
        source_version: known(labels.version),
        destination_service: known(to.service),
        destination_service_name: known(to.serviceName),
        destination_service_namespace: known(to.namespace),
        destination_workload: known(to.app),
        destination_workload_namespace: known(to.namespace),
        destination_principal: known(to.principal),
        destination_app: known(to.app),
        destination_version: known(to.version),
        // Istio's rule: only the server knows for certain how it was called.
        connection_security_policy: 'unknown',
      },
      protocol,
    )
  }

  /** The series of requests from `peer`; null = plaintext. */
  inbound(peer: Peer | null, protocol: Protocol = 'http'): RequestSeries {
    if (peer === null) {
      this.#plaintext[protocol] ??= this.#table.of(this.#inboundLabels(null), protocol)
      return this.#plaintext[protocol]
    }
    const byPeer = this.#byPeer[protocol]
    let series = byPeer.get(peer)
    if (series === undefined) {
      series = this.#table.of(this.#inboundLabels(peer), protocol)
      byPeer.set(peer, series)
    }
    return series
  }

  /** A plaintext request, by the address it came from: who must change before STRICT can be switched on. */
  plaintextFrom(address: string): void {
    const by = this.#plaintextBy
    const key = by.has(address) || by.size < MAX_PLAINTEXT_ADDRESSES ? address : 'other'
    by.set(key, (by.get(key) ?? 0) + 1)
  }

  /** The retry counter of a service; ask once and keep it. */
  retriesTo(service: string): { count: number } {
    let counter = this.#retriesBy.get(service)
    if (counter === undefined) {
      counter = { count: 0 }
      this.#retriesBy.set(service, counter)
    }
    return counter
  }

  /** One more shadow to a service, by what became of it; `compared` null = it was not. */
  mirrored(service: string, result: string, compared: 'same' | 'different' | null): void {
    add(this.#mirrored, service, result)
    if (compared !== null) add(this.#mirrorCompared, service, compared)
  }

  /** Stops the event-loop sampling that the first scrape started. */
  close(): void {
    this.#lag?.disable()
    this.#lag = null
  }

  #inboundLabels(peer: Peer | null): Labels {
    const { service, namespace, labels } = this.#self
    return {
      reporter: 'destination',
      source_workload: known(peer?.serviceAccount),
      source_workload_namespace: known(peer?.namespace),
      source_principal: known(peer?.spiffeId),
      destination_service: `${service}.${namespace}.svc.cluster.local`,
      destination_service_name: service,
      destination_service_namespace: namespace,
      destination_workload: service,
      destination_workload_namespace: namespace,
      destination_principal: peer === null ? 'unknown' : this.#principal,
      destination_app: labels.app ?? service,
      destination_version: known(labels.version),
      connection_security_policy: peer === null ? 'none' : 'mutual_tls',
    }
  }

  #build(sources: MetricSources): MetricFamily[] {
    const clusters = () => sources.clusters?.() ?? []
    const gauge = (name: string, help: string, read: () => Iterable<Sample>) =>
      new MetricFamily(name, help, 'gauge', read)
    const single = (read: (() => number) | undefined): Iterable<Sample> =>
      read === undefined ? [] : [{ value: read(), labels: {} }]
    return [
      new MetricFamily('istio_requests_total', 'Requests by source, destination and answer', 'counter', () =>
        requestCounts(this.#table),
      ),
      new MetricFamily(
        'istio_request_duration_milliseconds',
        'Time until the end of the response, ms',
        'histogram',
        () => requestDurations(this.#table),
      ),
      new MetricFamily('inmesh_retries_total', 'Attempts beyond the first', 'counter', () =>
        samples(this.#retriesBy, 'destination_service', (c) => c.count),
      ),
      new MetricFamily('inmesh_mirror_requests_total', 'Shadows of requests, by what became of them', 'counter', () =>
        results(this.#mirrored),
      ),
      new MetricFamily('inmesh_mirror_compared_total', 'Answers to shadows beside the real ones', 'counter', () =>
        results(this.#mirrorCompared),
      ),
      new MetricFamily('inmesh_plaintext_requests_total', 'Requests without mTLS, by caller address', 'counter', () =>
        samples(this.#plaintextBy, 'source_address', (n) => n),
      ),
      new MetricFamily(
        'inmesh_coalesced_requests_total',
        'Requests answered with the answer to another',
        'counter',
        () => samples(sources.coalesced?.() ?? new Map<string, number>(), 'cluster', (n) => n),
      ),
      new MetricFamily('inmesh_interceptor_errors_total', 'Hooks of the app that threw', 'counter', () =>
        hookSamples(sources, (h) => [['', h.errors]]),
      ),
      new MetricFamily('inmesh_interceptor_slow_total', 'Hooks of the app that took longer than 5 ms', 'counter', () =>
        hookSamples(sources, (h) => [['', h.slow]]),
      ),
      new MetricFamily('inmesh_classified_responses_total', 'Answers that code of the app judged', 'counter', () =>
        hookSamples(sources, (h) => [
          ['success', h.success],
          ['failure', h.failure],
          ['retryable', h.retryable],
        ]),
      ),
      gauge('inmesh_endpoints', 'Endpoints known', () => gauges(clusters(), (c) => c.endpoints)),
      gauge('inmesh_outlier_ejections_active', 'Hosts that outlier detection keeps out now', () =>
        gauges(clusters(), (c) => c.ejected),
      ),
      gauge('inmesh_breaker_state', 'Error-rate breaker: 0 closed, 1 half-open, 2 open', () =>
        gauges(clusters(), (c) => (c.breaker === null ? null : breakerNumber[c.breaker])),
      ),
      gauge('inmesh_config_age_seconds', 'Since a control plane last confirmed the configuration in use', () =>
        single(sources.configAgeSeconds),
      ),
      gauge('inmesh_certificate_expiry_seconds', 'Until the own certificate ends', () =>
        single(sources.certificateExpirySeconds),
      ),
      new MetricFamily('inmesh_xds_nacks_total', 'Resources from the control plane that were refused', 'counter', () =>
        single(sources.xdsNacks),
      ),
      gauge('inmesh_eventloop_lag_seconds', 'Event-loop delay since the scrape before, by quantile', () =>
        this.#eventLoopLag(),
      ),
    ]
  }

  /** Sampling costs a timer, so it runs only in processes that somebody scrapes. */
  #eventLoopLag(): Sample[] {
    if (this.#lag === null) {
      this.#lag = monitorEventLoopDelay({ resolution: 50 })
      this.#lag.enable()
      return []
    }
    const lag = this.#lag
    // The histogram holds the time between two ticks; what goes beyond the 50 ms that were asked for is delay.
    const at = (ns: number) => Math.max(0, ns / 1e9 - 0.05)
    const values = [50, 90, 99, 100].map((percent) => ({
      value: at(lag.percentile(percent)),
      labels: { quantile: String(percent / 100) },
    }))
    lag.reset()
    return values
  }
}

function known(text: string | undefined): string {
  return text === undefined || text === '' ? 'unknown' : text
}

function add(counters: Map<string, Map<string, number>>, service: string, result: string): void {
  let of = counters.get(service)
  if (of === undefined) {
    of = new Map()
    counters.set(service, of)
  }
  of.set(result, (of.get(result) ?? 0) + 1)
}

function* results(counters: ReadonlyMap<string, ReadonlyMap<string, number>>): Generator<Sample> {
  for (const [service, of] of counters)
    for (const [result, value] of of) yield { value, labels: { destination_service: service, result } }
}

function* samples<T>(map: ReadonlyMap<string, T>, label: string, value: (entry: T) => number): Generator<Sample> {
  for (const [key, entry] of map) yield { value: value(entry), labels: { [label]: key } }
}

function* hookSamples(
  sources: MetricSources,
  values: (hook: HookCounters) => readonly (readonly [result: string, value: number])[],
): Generator<Sample> {
  for (const hook of sources.hooks?.() ?? [])
    for (const [result, value] of values(hook))
      yield { value, labels: result === '' ? { interceptor: hook.name } : { interceptor: hook.name, result } }
}

function* gauges(clusters: Iterable<ClusterGauges>, value: (c: ClusterGauges) => number | null): Generator<Sample> {
  for (const cluster of clusters) {
    const number = value(cluster)
    if (number !== null) yield { value: number, labels: { cluster: cluster.name } }
  }
}
