import { Metadata, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import {
  type GrpcTestClient,
  grpcClient,
  type RawClient,
  type RawHandlers,
  serveRaw,
} from '../../test/support/grpc-client.ts'
import type { ServiceSpec } from '../../test/support/mesh-client.ts'
import { weightedRoundRobinDefaults } from '../model/cluster.ts'
import { LoadMeter } from '../orca/load-meter.ts'
import { grpcLoadInterceptor } from './report-load.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function serve(handlers: Partial<RawHandlers>): Promise<number> {
  const server = await serveRaw(handlers, { 'grpc.server_call_metric_recording': 1 })
  closing.push(() => server.close())
  return server.port
}

function mesh(service: ServiceSpec): GrpcTestClient {
  const made = grpcClient({ payments: service })
  closing.push(() => made.close())
  return made
}

/** Status, answer and the headers of the answer. */
function ask(client: RawClient, metadata = new Metadata()) {
  return new Promise<{ code: number; text: string; head: Metadata }>((resolve) => {
    let head = new Metadata()
    const call = client.unary(Buffer.from('x'), metadata, {}, (error, answer) =>
      resolve({ code: error?.code ?? status.OK, text: answer?.toString() ?? '', head }),
    )
    call.on('metadata', (got: Metadata) => {
      head = got
    })
  })
}

const answering = (text: string): Pick<RawHandlers, 'unary'> => ({
  unary: (_call, done) => done(null, Buffer.from(text)),
})

describe('calls of gRPC', () => {
  it('bring the load reports of grpc-js servers, which move calls to the host that can take more', async () => {
    const reporting = (text: string, cpu: number) => ({
      unary(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
        const recorder = (call as unknown as Recording).getMetricsRecorder()
        recorder.recordQpsMetric(100)
        recorder.recordCPUUtilizationMetric(cpu)
        done(null, Buffer.from(text))
      },
    })
    const endpoints = [await serve(reporting('busy', 0.8)), await serve(reporting('idle', 0.2))]
    const lb = { ...weightedRoundRobinDefaults, blackoutMs: 0, updateMs: 100 }
    const { engine, client: clientOf } = mesh({ endpoints, cluster: { lb } })
    const client = clientOf()
    const [cluster] = engine.clusters.values()
    for (let i = 0; i < 2; i++) await ask(client)
    const weights = cluster!.hosts.map((host) => host.load?.weightAt(lb, engine.clock.now()))
    expect(weights).toEqual([125, 500])
    const update = engine.clock.now() + 100
    while (engine.clock.now() < update) await ask(client)
    const seen = { busy: 0, idle: 0 }
    for (let i = 0; i < 100; i++) seen[(await ask(client)).text as keyof typeof seen]++
    expect(seen).toEqual({ busy: 20, idle: 80 })
  })

  it('bring what a server measures of itself, where it has the interceptor', async () => {
    let now = 0
    const loop = () => ({ idle: 0, active: 0, utilization: 0.5 })
    const meter = new LoadMeter({ now: () => now }, { cpuMs: () => 0, loop })
    const server = await serveRaw(answering('ok'), { interceptors: [grpcLoadInterceptor(meter)] })
    closing.push(() => server.close())
    const lb = { ...weightedRoundRobinDefaults, blackoutMs: 0 }
    const { engine, client: clientOf } = mesh({ endpoints: [server.port], cluster: { lb } })
    const client = clientOf()
    const [cluster] = engine.clusters.values()
    for (let i = 0; i < 4; i++) expect((await ask(client)).text).toBe('ok')
    expect(cluster!.hosts[0]!.load).toBeNull()
    now = 2_000
    await ask(client)
    // Four calls in two seconds, at half of what the loop can take.
    expect(cluster!.hosts[0]!.load?.latestWeight).toBe(4)
  })

  it('count for LRS by the status of their trailers', async () => {
    let next: number = status.OK
    const port = await serve({
      unary(_call, done) {
        if (next === status.OK) done(null, Buffer.from('ok'))
        else done({ code: next, details: 'as asked' })
      },
      expand(call) {
        call.write(Buffer.from('a'))
        call.emit('error', { code: status.DATA_LOSS, details: 'later' })
      },
    })
    const { engine, client: clientOf } = mesh({
      endpoints: [port],
      cluster: { loadReporting: { serviceName: 'eds', metrics: [] } },
    })
    const client = clientOf()
    await ask(client)
    await ask(client)
    next = status.NOT_FOUND
    expect((await ask(client)).code).toBe(status.NOT_FOUND)
    const late = client.expand(Buffer.from('x'))
    late.on('data', () => undefined)
    await new Promise((resolve) => late.on('error', resolve))
    expect(engine.takeLoads(null)).toMatchObject([
      { serviceName: 'eds', localities: [{ issued: 4, succeeded: 2, failed: 2, inProgress: 0 }] },
    ])
  })

  it('stay with the host that a cookie in their metadata names', async () => {
    const endpoints = await Promise.all(['a', 'b', 'c'].map((text) => serve(answering(text))))
    const { client: clientOf } = mesh({ endpoints, route: { session: { cookie: 'seat', ttlMs: 0, path: '' } } })
    const client = clientOf()
    const first = await ask(client)
    const [cookie] = first.head.get('set-cookie')
    expect(String(cookie)).toMatch(/^seat=[\w+/]+=*; HttpOnly$/)
    const metadata = new Metadata()
    metadata.set('cookie', String(cookie).split(';')[0]!)
    for (let i = 0; i < 9; i++) {
      const { text, head } = await ask(client, metadata)
      expect([text, head.get('set-cookie')]).toEqual([first.text, []])
    }
  })
})

interface Recording {
  getMetricsRecorder(): { recordQpsMetric(value: number): void; recordCPUUtilizationMetric(value: number): void }
}
