import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'

/** A span as OTLP/JSON has it, with the service that its resource names. */
export interface CollectedSpan {
  service: string
  name: string
  traceId: string
  spanId: string
  parentSpanId: string
  /** 2 = server, 3 = client (OTLP SpanKind). */
  kind: number
}

interface Export {
  resourceSpans?: {
    resource?: { attributes?: { key: string; value: { stringValue?: string } }[] }
    scopeSpans?: { spans?: Omit<CollectedSpan, 'service'>[] }[]
  }[]
}

/** A small OTLP/HTTP collector: POST /v1/traces with JSON, gzipped or not. */
export class Collector {
  readonly spans: CollectedSpan[] = []
  readonly #server = createServer((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const whole = Buffer.concat(chunks)
      if (req.method !== 'POST' || req.url !== '/v1/traces') return void res.writeHead(404).end()
      const json = req.headers['content-encoding'] === 'gzip' ? gunzipSync(whole) : whole
      this.#take(JSON.parse(json.toString('utf8')) as Export)
      res.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
  })

  /** @returns the URL for OTEL_EXPORTER_OTLP_ENDPOINT */
  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  stop(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  trace(traceId: string): CollectedSpan[] {
    return this.spans.filter((span) => span.traceId === traceId)
  }

  #take(data: Export): void {
    for (const { resource, scopeSpans } of data.resourceSpans ?? []) {
      const name = resource?.attributes?.find((attribute) => attribute.key === 'service.name')
      const service = name?.value.stringValue ?? 'unknown'
      for (const span of scopeSpans?.flatMap((scope) => scope.spans ?? []) ?? [])
        this.spans.push({ ...span, parentSpanId: span.parentSpanId ?? '', service })
    }
  }
}
