import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../model/clock.ts'
import type { Peer } from '../model/peer.ts'
import { callContext } from './context.ts'
import { newTraceparent } from './ids.ts'
import { Metrics } from './metrics.ts'
import { createServerTelemetry, type RequestHead } from './server-telemetry.ts'
import { isTraceparent } from './traceparent.ts'

const workload = {
  service: 's',
  namespace: 'default',
  serviceAccount: 's',
  trustDomain: 'cluster.local',
  labels: { app: 's' },
  locality: '',
  instanceId: 's-1',
}
const peer: Peer = {
  spiffeId: 'spiffe://cluster.local/ns/default/sa/caller',
  trustDomain: 'cluster.local',
  namespace: 'default',
  serviceAccount: 'caller',
  serialNumber: '0a',
  notAfter: 0,
  tlsVersion: 'TLSv1.3',
}
const setup = () => {
  const metrics = new Metrics(workload)
  return { metrics, telemetry: createServerTelemetry(metrics, systemClock) }
}
const head = (headers: Record<string, string>, from: Peer | null = peer): RequestHead => ({
  method: 'GET',
  authority: 's',
  path: '/',
  peer: from,
  remoteAddress: '127.0.0.1',
  header: (name) => headers[name],
})

describe('an inbound request', () => {
  const { telemetry } = setup()

  it('is carried on verbatim', () => {
    const headers = {
      traceparent: newTraceparent(false),
      tracestate: 'vendor=1,other=2',
      baggage: 'user=7',
      'x-request-id': 'r-1',
    }
    expect(telemetry.start(head(headers))).toMatchObject({
      traceparent: headers.traceparent,
      tracestate: 'vendor=1,other=2',
      baggage: 'user=7',
      requestId: 'r-1',
      b3: null,
      otel: null,
    })
  })

  it('gets a new request id when it has none, or comes from outside the mesh', () => {
    const given = { 'x-request-id': 'chosen-by-the-caller' }
    expect(telemetry.start(head({})).requestId).toMatch(/^[0-9a-f-]{36}$/)
    expect(telemetry.start(head(given, null)).requestId).toMatch(/^[0-9a-f-]{36}$/)
    expect(telemetry.start(head(given)).requestId).toBe('chosen-by-the-caller')
    expect(telemetry.start(head({ 'x-request-id': 'x'.repeat(129) })).requestId).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('with B3 headers gives a traceparent and keeps them as they are', () => {
    const id = '4bf92f3577b34da6a3ce929d0e0e4736'
    const b3 = { 'x-b3-traceid': id, 'x-b3-spanid': '00f067aa0ba902b7', 'x-b3-sampled': '0' }
    expect(telemetry.start(head(b3))).toMatchObject({
      traceparent: `00-${id}-00f067aa0ba902b7-00`,
      b3: ['x-b3-traceid', id, 'x-b3-spanid', '00f067aa0ba902b7', 'x-b3-sampled', '0'],
    })
  })

  it('loses a tracestate without a valid traceparent, and oversized baggage', () => {
    const seen = telemetry.start(head({ traceparent: 'garbage', tracestate: 'a=b', baggage: 'x'.repeat(8_193) }))
    expect(seen).toMatchObject({ traceparent: '', tracestate: '', baggage: '' })
  })

  it('never throws, whatever its headers say', () => {
    const names = ['traceparent', 'tracestate', 'baggage', 'b3', 'x-b3-traceid', 'x-b3-spanid', 'x-request-id']
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), fc.string({ unit: 'binary' })), (headers) => {
        const seen = telemetry.start(head(headers))
        expect(seen.traceparent === '' || isTraceparent(seen.traceparent)).toBe(true)
        telemetry.end(seen, 200, '-')
      }),
    )
  })

  it('is counted once, with the peer that was verified', () => {
    const { metrics, telemetry: own } = setup()
    const seen = own.start(head({}))
    own.end(seen, 403, '-')
    const [series] = [...metrics.inbound(peer)]
    expect(series).toMatchObject({ code: 403, flags: '', count: 1 })
  })
})

describe('the context of a handler', () => {
  const closing: (() => void)[] = []
  afterEach(() => {
    for (const close of closing.splice(0)) close()
  })

  it('is its own under 400 requests at once, through timers, promises and events', async () => {
    const { telemetry } = setup()
    let wrong = 0
    const handler = async (req: IncomingMessage, res: ServerResponse) => {
      const check = () => {
        if (callContext.getStore()?.traceparent !== req.headers.traceparent) wrong++
      }
      check()
      await sleep(Math.random() * 20)
      check()
      await Promise.all([nextTurn().then(check), sleep(Math.random() * 5).then(check)])
      req.on('end', check)
      for await (const chunk of req) if (chunk.length > 0) check()
      res.on('finish', check)
      res.end('ok')
    }
    const server = createServer((req, res) => {
      const seen = telemetry.start(head(req.headers as Record<string, string>))
      res.once('close', () => telemetry.end(seen, res.statusCode, ''))
      telemetry.run(seen, (a: IncomingMessage, b: ServerResponse) => void handler(a, b), req, res)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => server.close().closeAllConnections())
    const { port } = server.address() as AddressInfo

    const call = () =>
      new Promise<void>((resolve, reject) => {
        const headers = { traceparent: newTraceparent(true), 'content-type': 'text/plain' }
        const req = request({ host: '127.0.0.1', port, method: 'POST', headers }, (res) => {
          res.resume().on('end', resolve)
        })
        req.on('error', reject).end('some body')
      })
    await Promise.all(Array.from({ length: 400 }, call))
    expect(wrong).toBe(0)
    expect(callContext.getStore()).toBeUndefined()
  })
})
