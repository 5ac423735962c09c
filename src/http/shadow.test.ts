import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { Readable } from 'node:stream'
import { FormData } from 'undici'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient, type ServiceSpec, type TestClient } from '../../test/support/mesh-client.ts'
import { until } from '../../test/support/mesh-http.ts'
import type { CallEvents } from '../engine/events.ts'
import type { MirrorReport } from '../engine/mirror.ts'
import { systemClock } from '../model/clock.ts'
import { silentLogger } from '../model/logger.ts'
import type { MirrorSpec } from '../model/route.ts'
import type { WorkloadInfo } from '../model/workload.ts'
import { createTelemetry } from '../telemetry/telemetry.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function serve(listener: RequestListener): Promise<number> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as { port: number }).port
}

interface Seen {
  method: string | undefined
  url: string | undefined
  headers: IncomingMessage['headers']
  body: string
}

/** A service "payments" mirrored to "canary"; each records what it gets. */
async function mirrored(options: {
  mirror?: Partial<MirrorSpec>
  real?: RequestListener
  shadow?: RequestListener
  canary?: Partial<ServiceSpec>
  events?: CallEvents
}) {
  const real: Seen[] = []
  const shadows: Seen[] = []
  const reports: MirrorReport[] = []
  const recording = (into: Seen[], answer: RequestListener): RequestListener => {
    return async (req, res) => {
      let body = ''
      for await (const chunk of req) body += chunk
      into.push({ method: req.method, url: req.url, headers: req.headers, body })
      answer(req, res)
    }
  }
  const ok: RequestListener = (_req, res) => res.end('ok')
  const realPort = await serve(recording(real, options.real ?? ok))
  const shadowPort = await serve(recording(shadows, options.shadow ?? ok))
  const mirror: MirrorSpec = {
    cluster: 'outbound|80||canary.default.svc.cluster.local',
    perMillion: 1_000_000,
    shadowSuffix: true,
    compare: false,
    maxBodyBytes: 1_000,
    ...options.mirror,
  }
  const events: CallEvents = {
    callStart() {},
    attemptStart() {},
    attemptEnd() {},
    callEnd() {},
    mirrored: (report) => reports.push(report),
  }
  const client: TestClient = meshClient(
    {
      payments: { endpoints: [realPort], route: { mirrors: [mirror] } },
      canary: { endpoints: [shadowPort], ...options.canary },
    },
    { events: options.events ?? events },
  )
  closing.push(() => client.close())
  return { client, dispatcher: client.dispatcher, real, shadows, reports }
}

const sampled = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

describe('a shadow', () => {
  it('is what the real request is, by another name and not recorded', async () => {
    const { dispatcher, real, shadows, reports } = await mirrored({})
    const headers = { 'x-a': ['1', '2'], traceparent: sampled }
    expect(await call(dispatcher, 'http://payments/p?q', { method: 'POST', headers, body: 'hello' })).toMatchObject({
      text: 'ok',
    })
    await until(() => reports.length === 1)
    expect(shadows).toMatchObject([{ method: 'POST', url: '/p?q', body: 'hello' }])
    expect(shadows[0]!.headers).toMatchObject({
      host: 'payments-shadow',
      'x-a': '1, 2',
      'content-length': '5',
      traceparent: sampled.replace(/01$/, '00'),
    })
    expect(shadows[0]!.headers['x-envoy-original-host']).toBeUndefined()
    expect(real[0]!.headers).toMatchObject({ host: 'payments', traceparent: sampled })
    expect(reports[0]).toMatchObject({ result: 'answered', status: 200, differences: null })
  })

  it('of a stream is sent when the real request has read it', async () => {
    const { dispatcher, real, shadows, reports } = await mirrored({})
    const body = Readable.from(['one ', 'two ', 'three'])
    await call(dispatcher, 'http://payments/', { method: 'PUT', body })
    await until(() => reports.length === 1)
    expect(real[0]!.body).toBe('one two three')
    expect(shadows[0]!.body).toBe('one two three')
  })

  it.each([
    ['a stream', () => Readable.from(['x'.repeat(600), 'x'.repeat(600)])],
    ['a text', () => 'x'.repeat(1_001)],
    ['a form', () => new FormData()],
  ])('is not made of %s that is larger than allowed, or of unknown size', async (_name, body) => {
    const { dispatcher, shadows, reports, real } = await mirrored({})
    const made = body() as string
    await call(dispatcher, 'http://payments/', { method: 'POST', body: made })
    await until(() => reports.length === 1)
    expect(real).toHaveLength(1)
    expect(reports[0]).toMatchObject({ result: 'skipped' })
    expect(shadows).toEqual([])
  })

  it('neither slows nor fails the call', async () => {
    const hanging = await mirrored({ shadow: () => undefined })
    expect(await call(hanging.dispatcher, 'http://payments/')).toMatchObject({ status: 200, text: 'ok' })
    const broken = await mirrored({ shadow: (req) => req.socket.destroy() })
    expect(await call(broken.dispatcher, 'http://payments/')).toMatchObject({ status: 200, text: 'ok' })
    await until(() => broken.reports.length === 1)
    expect(broken.reports[0]).toMatchObject({ result: 'failed', status: 0 })
    expect(broken.shadows).toHaveLength(1)
  })

  it('does not hold up the end of the mesh', async () => {
    const { client, dispatcher, shadows, reports } = await mirrored({ shadow: () => undefined })
    await call(dispatcher, 'http://payments/')
    await until(() => shadows.length === 1)
    await client.dispatcher.close()
    expect(reports).toMatchObject([{ result: 'failed' }])
  })

  it('that a gate of its cluster refuses is silent', async () => {
    const { dispatcher, reports } = await mirrored({ canary: { limits: { maxRequests: 0 } } })
    expect(await call(dispatcher, 'http://payments/')).toMatchObject({ status: 200 })
    await until(() => reports.length === 1)
    expect(reports[0]).toMatchObject({ result: 'refused', cluster: 'outbound|80||canary.default.svc.cluster.local' })
  })

  it('lives on when the real call is given up', async () => {
    const { dispatcher, reports } = await mirrored({ real: () => undefined })
    const controller = new AbortController()
    const pending = call(dispatcher, 'http://payments/', { signal: controller.signal })
    await until(() => reports.length === 1)
    expect(reports[0]).toMatchObject({ result: 'answered' })
    controller.abort()
    await expect(pending).rejects.toThrow(/abort/i)
  })

  it('has an answer that nobody reads to its end when it is long', async () => {
    const big = Buffer.alloc(64 * 1024)
    let ended = false
    const { dispatcher, reports } = await mirrored({
      shadow: (_req, res) => {
        res.on('close', () => {
          ended = true
        })
        const write = () => {
          while (!res.destroyed && res.write(big));
          res.once('drain', write)
        }
        write()
      },
    })
    expect(await call(dispatcher, 'http://payments/')).toMatchObject({ text: 'ok' })
    await until(() => reports.length === 1 && ended)
    expect(reports[0]).toMatchObject({ result: 'answered', status: 200 })
  })
})

describe('a compared shadow', () => {
  const answer = (status: number, headers: Record<string, string>, body: string): RequestListener => {
    return (_req, res) => {
      res.writeHead(status, headers)
      res.end(body)
    }
  }
  it.each<[string, RequestListener, RequestListener, string[]]>([
    ['nothing', answer(200, { 'x-a': '1' }, 'same'), answer(200, { 'X-A': '2' }, 'same'), []],
    ['the status', answer(200, {}, 'a'), answer(201, {}, 'a'), ['status']],
    ['a header', answer(200, { 'x-a': '1' }, 'a'), answer(200, { 'x-b': '1' }, 'a'), ['headers']],
    ['the body', answer(200, {}, 'a'), answer(200, {}, 'b'), ['body']],
    ['all', answer(200, {}, 'a'), answer(500, { 'x-b': '1' }, 'b'), ['status', 'headers', 'body']],
    ['the status alone, when one is no answer', (req) => req.socket.destroy(), answer(200, {}, 'a'), ['status']],
  ])('differs in %s', async (_name, real, shadow, differences) => {
    const { dispatcher, reports } = await mirrored({ mirror: { compare: true }, real, shadow })
    await call(dispatcher, 'http://payments/')
    await until(() => reports.length === 1)
    expect(reports[0]!.differences).toEqual(differences)
  })
})

describe('the telemetry of shadows', () => {
  it('counts them as what they are, and tells of differences at level debug', async () => {
    const logged: unknown[] = []
    const logger = { ...silentLogger, debug: (message: string, fields?: object) => logged.push({ message, ...fields }) }
    const workload: WorkloadInfo = {
      service: 'shop',
      namespace: 'default',
      serviceAccount: 'shop',
      trustDomain: 'cluster.local',
      labels: {},
      locality: '',
      instanceId: 'shop-1',
    }
    const telemetry = createTelemetry({ workload, clock: systemClock, sources: {}, logger })
    closing.push(() => telemetry.close())
    const { dispatcher } = await mirrored({
      mirror: { compare: true },
      shadow: (_req, res) => res.writeHead(500).end('ok'),
      events: telemetry.events,
    })
    await call(dispatcher, 'http://payments/p?secret')
    await until(() => logged.length === 1)
    const mirror = 'outbound|80||canary.default.svc.cluster.local'
    expect(logged).toEqual([
      {
        message: 'the answer of a mirror differs',
        request: 'GET payments/p',
        mirror,
        differences: ['status'],
        real: 200,
        shadow: 500,
      },
    ])
    const { body } = await telemetry.scrape()
    const service = 'destination_service="canary.default.svc.cluster.local"'
    expect(body).toContain(`inmesh_mirror_requests_total{${service},result="answered"} 1`)
    expect(body).toContain(`inmesh_mirror_compared_total{${service},result="different"} 1`)
    const requests = body.split('\n').filter((line) => line.startsWith('istio_requests_total{'))
    expect(requests).toHaveLength(1)
    expect(requests[0]).toContain('payments.default')
  })
})
