import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient, type TestClient } from '../../test/support/mesh-client.ts'
import { type LbSpec, weightedRoundRobinDefaults } from '../model/cluster.ts'
import { emptyLoadReport } from '../model/load-report.ts'
import { decodeReport, encodeReport } from '../orca/binary.ts'
import { parseReport } from '../orca/header.ts'
import { LoadMeter } from '../orca/load-meter.ts'
import { reportLoad } from './report-load.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function host(listener: (req: IncomingMessage, res: ServerResponse) => void): Promise<number> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

function client(ports: readonly number[], lb: Partial<LbSpec> = {}): TestClient {
  const spec = { ...weightedRoundRobinDefaults, blackoutMs: 0, ...lb } as LbSpec
  const made = meshClient({ shop: { endpoints: ports, cluster: { lb: spec } } })
  closing.push(() => made.close())
  return made
}

/** The weight of the only host of the only cluster, after one call. */
async function weightOf(listener: (req: IncomingMessage, res: ServerResponse) => void): Promise<number> {
  const { dispatcher, engine } = client([await host(listener)])
  expect((await call(dispatcher, 'http://shop/')).text).toBe('ok')
  const [cluster] = engine.clusters.values()
  return cluster!.hosts[0]!.load?.weightAt({ ...weightedRoundRobinDefaults, blackoutMs: 0 }, engine.clock.now()) ?? 0
}

describe('answers that report the load of their host', () => {
  const binary = encodeReport({ ...emptyLoadReport, qps: 60, cpuUtilization: 0.5 }).toString('base64')

  it.each<[string, string, string]>([
    ['as text', 'endpoint-load-metrics', 'TEXT rps_fractional=60,cpu_utilization=0.5'],
    ['as JSON', 'endpoint-load-metrics', 'JSON {"rps_fractional": 60, "cpu_utilization": 0.5}'],
    ['in base64', 'endpoint-load-metrics', `BIN ${binary}`],
    ['as gRPC does', 'endpoint-load-metrics-bin', binary],
  ])('%s, in the head', async (_, name, value) => {
    expect(await weightOf((_req, res) => res.setHeader(name, value).end('ok'))).toBe(120)
  })

  it('in trailers', async () => {
    const weight = await weightOf((_req, res) => {
      res.writeHead(200, { trailer: 'endpoint-load-metrics' })
      res.write('ok')
      res.addTrailers({ 'endpoint-load-metrics': 'TEXT rps_fractional=60,cpu_utilization=0.5' })
      res.end()
    })
    expect(weight).toBe(120)
  })

  it('by reportLoad, which adds to what was said before', async () => {
    let late = true
    const weight = await weightOf((_req, res) => {
      res.setHeader('endpoint-load-metrics', 'TEXT rps_fractional=60,cpu_utilization=9')
      expect(reportLoad(res, { applicationUtilization: 0.25, namedMetrics: { queue: 3 } })).toBe(true)
      expect(res.getHeader('endpoint-load-metrics')).toContain('named_metrics.queue=3')
      expect(() => reportLoad(res, { cpuUtilization: -1 })).toThrow(/no valid load report/)
      res.flushHeaders()
      late = reportLoad(res, { cpuUtilization: 1 })
      res.end('ok')
    })
    expect(weight).toBe(240)
    expect(late).toBe(false)
  })

  it('that cannot be read count for nothing', async () => {
    expect(await weightOf((_req, res) => res.setHeader('endpoint-load-metrics', 'nonsense').end('ok'))).toBe(0)
  })

  it('move calls to the host that can take more', async () => {
    const seen = { busy: 0, idle: 0 }
    const reporting = (name: keyof typeof seen, cpuUtilization: number) =>
      host((_req, res) => {
        seen[name]++
        reportLoad(res, { qps: 100, cpuUtilization })
        res.end(name)
      })
    const ports = [await reporting('busy', 0.9), await reporting('idle', 0.1)]
    const { dispatcher, engine } = client(ports, { updateMs: 100 })
    const [cluster] = engine.clusters.values()
    for (let i = 0; i < 2; i++) await call(dispatcher, 'http://shop/')
    const update = engine.clock.now() + 100
    while (engine.clock.now() < update) await call(dispatcher, 'http://shop/')
    seen.busy = 0
    seen.idle = 0
    for (let i = 0; i < 100; i++) await call(dispatcher, 'http://shop/')
    expect(cluster!.hosts.every((h) => h.load !== null)).toBe(true)
    expect(seen).toEqual({ busy: expect.toSatisfy((n: number) => n >= 9 && n <= 11), idle: expect.any(Number) })
  })
})

describe('LoadMeter', () => {
  it('says how busy the process was since it last looked, once a second', () => {
    let now = 0
    let cpu = 0
    let active = 0
    const loop = (since?: { active: number; idle: number }) => {
      const idle = now - active
      const used = active - (since?.active ?? 0)
      const total = used + idle - (since?.idle ?? 0)
      return { active, idle, utilization: total === 0 ? 0 : used / total }
    }
    const meter = new LoadMeter({ now: () => now }, { cpuMs: () => cpu, loop })
    expect(meter.text()).toBeNull()
    for (const status of [200, 200, 404, 500, 0]) meter.answered(status)
    now = 999
    expect(meter.text()).toBeNull()
    now = 2_000
    cpu = 500
    active = 600
    const said = 'TEXT cpu_utilization=0.25,rps_fractional=2.5,eps=1,application_utilization=0.3'
    expect(meter.text()).toBe(said)
    expect(decodeReport(meter.binary()!)).toEqual(parseReport(said))
    now = 2_999
    active = 1_599
    expect(meter.text()).toBe(said)
    now = 3_000
    active = 1_600
    meter.answered(200)
    expect(meter.text()).toBe('TEXT rps_fractional=1,application_utilization=1')
  })
})
