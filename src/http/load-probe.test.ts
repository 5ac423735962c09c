import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcp, type Socket } from 'node:net'
import { Server, ServerCredentials, ServerMetricRecorder } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { meshClient } from '../../test/support/mesh-client.ts'
import type { LoadWatchEnd } from '../engine/load-watch.ts'
import { weightedRoundRobinDefaults } from '../model/cluster.ts'
import type { LoadReport } from '../model/load-report.ts'
import { loadProbe, reportRequest } from './load-probe.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** A server of grpc-js; with a recorder it has the service. */
async function grpcServer(recorder?: ServerMetricRecorder): Promise<number> {
  const server = new Server()
  recorder?.addToServer(server)
  closing.push(() => server.forceShutdown())
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    ),
  )
}

/** Asks one host until its stream ends or a report has come. */
async function ask(port: number, periodMs = 50) {
  const { engine, close } = meshClient({ shop: { endpoints: [port] } })
  closing.push(close)
  const [cluster] = engine.clusters.values()
  const reports: LoadReport[] = []
  const result = Promise.withResolvers<LoadReport | LoadWatchEnd>()
  const stop = loadProbe(null)(
    cluster!,
    cluster!.hosts[0]!,
    periodMs,
    (report) => {
      reports.push(report)
      result.resolve(report)
    },
    (how) => result.resolve(how),
  )
  closing.push(() => stop?.())
  return { first: await result.promise, reports, stop: stop! }
}

describe('asking a host for load reports', () => {
  it('works with a server of grpc-js', async () => {
    const recorder = new ServerMetricRecorder()
    recorder.setQpsMetric(50)
    recorder.setApplicationUtilizationMetric(0.25)
    recorder.putUtilizationMetric('disk', 0.5)
    const { first } = await ask(await grpcServer(recorder))
    expect(first).toMatchObject({ qps: 50, applicationUtilization: 0.25, utilization: new Map([['disk', 0.5]]) })
  })

  it('of a server without the service ends with "unsupported"', async () => {
    expect((await ask(await grpcServer())).first).toBe('unsupported')
  })

  it('of a server that speaks no HTTP/2, or of nobody, fails', async () => {
    const http1 = createServer((_req, res) => res.end()).listen(0, '127.0.0.1')
    closing.push(() => http1.close())
    await once(http1, 'listening')
    expect((await ask((http1.address() as AddressInfo).port)).first).toBe('failed')
    expect((await ask(1)).first).toBe('failed')
  })

  it('of a server that never answers fails, ping and all', async () => {
    const sockets: Socket[] = []
    const silent = createTcp((socket) => sockets.push(socket.on('error', () => undefined))).listen(0, '127.0.0.1')
    closing.push(() => {
      for (const socket of sockets) socket.destroy()
      silent.close()
    })
    await once(silent, 'listening')
    expect((await ask((silent.address() as AddressInfo).port, 30)).first).toBe('failed')
  })

  it('ends when it is told to, and says nothing more', async () => {
    const recorder = new ServerMetricRecorder()
    recorder.setQpsMetric(1)
    const port = await grpcServer(recorder)
    const { reports, stop } = await ask(port)
    stop()
    const seen = reports.length
    // Somebody else who asked later has heard by then.
    await ask(port)
    expect(reports).toHaveLength(seen)
  })

  it('says how often, in seconds and nanoseconds', () => {
    expect([...reportRequest(10_000)]).toEqual([0, 0, 0, 0, 4, 0x0a, 2, 0x08, 10])
    expect([...reportRequest(1_500)]).toEqual([0, 0, 0, 0, 10, 0x0a, 8, 0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01])
  })

  it('is what a mesh does where its policy says so', async () => {
    const ports = await Promise.all(
      [0.25, 0.75].map((utilization) => {
        const recorder = new ServerMetricRecorder()
        recorder.setQpsMetric(100)
        recorder.setCpuUtilizationMetric(utilization)
        return grpcServer(recorder)
      }),
    )
    const lb = { ...weightedRoundRobinDefaults, blackoutMs: 0, oobReportingMs: 50 }
    const { engine, close } = meshClient({ shop: { endpoints: ports, cluster: { lb } } })
    closing.push(close)
    const [cluster] = engine.clusters.values()
    const weights = () => cluster!.hosts.map((host) => Math.round(host.load?.weightAt(lb, engine.clock.now()) ?? 0))
    await expect.poll(weights, { timeout: 10_000 }).toEqual([400, 133])
  })
})
