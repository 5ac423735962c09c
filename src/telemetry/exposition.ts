import type { Metric, Registry } from 'prom-client'
import type { MetricFamily } from './metric-family.ts'

/** The text that Prometheus scrapes, with its content type. */
export interface ScrapeText {
  readonly contentType: string
  readonly body: string
}

/**
 * Makes the function that answers a scrape: the mesh's metrics, then those of the app's default prom-client registry, so
 * that one port serves both (Istio's prometheusMerge). prom-client is loaded by the first scrape: a process that nobody
 * scrapes does not pay its 20 MB.
 */
export function createExposition(families: readonly MetricFamily[]): () => Promise<ScrapeText> {
  let loaded: Promise<{ own: Registry; app: Registry }> | null = null
  return async () => {
    loaded ??= load(families)
    const { own, app } = await loaded
    const bodies = [await own.metrics()]
    if (app.getMetricsAsArray().length > 0) bodies.push(await app.metrics())
    return { contentType: own.contentType, body: bodies.join('\n') }
  }
}

/** Adds the mesh's metrics to a registry of the app, for apps that serve their own /metrics. */
export function registerFamilies(families: readonly MetricFamily[], registry: Registry): void {
  // prom-client asks no more of a metric than its name and get(); its types only name its own classes.
  for (const family of families) registry.registerMetric(family as unknown as Metric)
}

async function load(families: readonly MetricFamily[]): Promise<{ own: Registry; app: Registry }> {
  const { default: prom } = await import('prom-client')
  const own = new prom.Registry()
  registerFamilies(families, own)
  return { own, app: prom.register }
}
