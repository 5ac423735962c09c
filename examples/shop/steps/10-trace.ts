import { randomBytes } from 'node:crypto'
import type { CollectedSpan } from '../lib/collector.ts'
import { table } from '../lib/report.ts'
import { countBy, showCounts } from '../lib/stats.ts'
import type { Step } from '../lib/step.ts'

const SERVER = 2
const services = ['frontend', 'inventory-service', 'order-service', 'payment-service']
/** frontend: server, client; order-service: server, 2 clients; payment-service and inventory-service: server. */
const SPANS = 7

export const traceStep: Step = {
  title: 'one trace through four services, and no service forwards a header',
  async run(shop, report) {
    const traceId = randomBytes(16).toString('hex')
    const browser = randomBytes(8).toString('hex')
    await shop.traffic.shoot({ path: '/checkout', headers: { traceparent: `00-${traceId}-${browser}-01` } })
    report.did(`GET /checkout with traceparent 00-${traceId}-${browser}-01`)
    const spans = await shop.eventually('the spans arrive at the collector', 8_000, async () => {
      const found = shop.collector.trace(traceId)
      return found.length >= SPANS ? found : undefined
    })
    report.saw(draw(spans, browser))
    const seen = [...new Set(spans.map((span) => span.service))].sort()
    report.check('four services, one trace id', seen.join() === services.join(), seen.join(', '))
    report.check('a span for each side of each hop', spans.length === SPANS, `${spans.length} spans`)
    report.check('every span has its parent', isTree(spans, browser), `${spans.length} spans, 1 root`)

    report.did('400 x GET /checkout without any trace header: frontend begins 2 % of them')
    const known = new Set(shop.collector.spans.map((span) => span.traceId))
    await shop.traffic.burst(400, 8, () => ({ path: '/checkout' }))
    const whole = await shop.eventually('sampled traces are complete', 8_000, async () => {
      const ids = new Set(shop.collector.spans.map((span) => span.traceId).filter((id) => !known.has(id)))
      const traces = [...ids].map((id) => shop.collector.trace(id))
      return traces.length > 0 && traces.every((trace) => trace.length >= SPANS) ? traces : undefined
    })
    const good = whole.filter((trace) => trace.length === SPANS && isTree(trace, ''))
    report.check(
      'those traces are whole too',
      good.length === whole.length,
      `${good.length} of ${whole.length} traces with ${showCounts(countBy(whole, (trace) => `${trace.length} spans`))}`,
    )
  },
}

/** Exactly one span hangs on `root`, all others on another span of the trace. */
function isTree(spans: readonly CollectedSpan[], root: string): boolean {
  const ids = new Set(spans.map((span) => span.spanId))
  const roots = spans.filter((span) => span.parentSpanId === root)
  return roots.length === 1 && spans.every((span) => span.parentSpanId === root || ids.has(span.parentSpanId))
}

function draw(spans: readonly CollectedSpan[], root: string): string {
  const rows = (parent: string, depth: number): string[][] =>
    spans
      .filter((span) => span.parentSpanId === parent)
      .flatMap((span) => [
        [
          `${'  '.repeat(depth)}${span.service}`,
          `${span.kind === SERVER ? 'server' : 'client'} ${span.name}`,
          span.spanId,
        ],
        ...rows(span.spanId, depth + 1),
      ])
  return table([['SERVICE', 'SPAN', 'ID'], ...rows(root, 0)])
}
