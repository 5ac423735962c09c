import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { DiscoveryEvents } from '../discovery/ads-stream.ts'

export interface MetricSources {
  readonly revision: () => number
  readonly endpoints: () => { held: number; waiting: number; suspect: number }
}

/** What the control plane counts about itself, in Prometheus' text form. Names start with inmesh_control_plane_. */
export class ControlPlaneMetrics {
  readonly #registry = new Registry()
  readonly #push: Histogram
  /** To be given to discovery. */
  readonly discovery: DiscoveryEvents

  constructor(sources: MetricSources) {
    const registers = [this.#registry]
    const name = (text: string) => `inmesh_control_plane_${text}`
    const streams = new Gauge({ name: name('discovery_streams'), help: 'Open discovery streams', registers })
    const responses = new Counter({
      name: name('discovery_responses_total'),
      help: 'Discovery responses sent, by resource type',
      labelNames: ['type'],
      registers,
    })
    const sent = new Counter({
      name: name('discovery_response_bytes_total'),
      help: 'Bytes of discovery responses sent, by resource type',
      labelNames: ['type'],
      registers,
    })
    const nacks = new Counter({
      name: name('discovery_nacks_total'),
      help: 'Discovery responses that clients refused, by resource type',
      labelNames: ['type'],
      registers,
    })
    this.#push = new Histogram({
      name: name('push_seconds'),
      help: 'From the first change that the control plane saw to the last response written',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
      registers,
    })
    new Gauge({
      name: name('revision'),
      help: 'Store revision that is being served',
      registers,
      collect() {
        this.set(sources.revision())
      },
    })
    new Gauge({
      name: name('endpoints'),
      help: 'Registered endpoints: held by a stream, waiting for their stream to come back, kept as suspect',
      labelNames: ['state'],
      registers,
      collect() {
        for (const [state, count] of Object.entries(sources.endpoints())) this.set({ state }, count)
      },
    })
    this.discovery = {
      streamOpened: () => streams.inc(),
      streamClosed: () => streams.dec(),
      responseSent: (type, bytes) => {
        responses.inc({ type })
        sent.inc({ type }, bytes)
      },
      nack: (type) => nacks.inc({ type }),
    }
  }

  pushed(seconds: number): void {
    this.#push.observe(seconds)
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  text(): Promise<string> {
    return this.#registry.metrics()
  }
}
