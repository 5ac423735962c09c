import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Server, ServerCredentials, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { meshClient } from '../../test/support/mesh-client.ts'
import type { HealthCheckSpec } from '../model/cluster.ts'
import { healthRequest, servingStatus } from './grpc-health.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
})

function checkOf(how: HealthCheckSpec['how'], over: Partial<HealthCheckSpec> = {}): HealthCheckSpec {
  return {
    timeoutMs: 2_000,
    intervalMs: 50,
    intervalJitterPercent: 0,
    noTrafficIntervalMs: 50,
    unhealthyThreshold: 1,
    healthyThreshold: 1,
    how,
    ...over,
  }
}

const http: HealthCheckSpec['how'] = {
  kind: 'http',
  path: '/healthz?deep',
  method: 'GET',
  host: 'probe.example',
  expectedStatuses: [{ start: 200, end: 300 }],
}

async function serve(listener: RequestListener): Promise<number> {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanups.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** A client that checks; resolves when the state of a host has changed to `healthy`. */
function checking(ports: readonly number[], spec: HealthCheckSpec) {
  const waiting: (() => void)[] = []
  const hostChecked = () => {
    for (const go of waiting.splice(0)) go()
  }
  const client = meshClient({}, { events: { ...silent, hostChecked } })
  cleanups.push(() => client.close())
  client.apply({ svc: { endpoints: ports, cluster: { healthChecks: [spec] } } })
  const cluster = [...client.engine.clusters.values()][0]!
  const until = async (index: number, healthy: boolean) => {
    while (cluster.hosts[index]!.checkFailed === healthy) await new Promise<void>((resolve) => waiting.push(resolve))
  }
  return { cluster, until }
}

const silent = {
  callStart: () => undefined,
  attemptStart: () => undefined,
  attemptEnd: () => undefined,
  callEnd: () => undefined,
}

describe('health checks over the wire', () => {
  it('HTTP: an unexpected status takes a host out, an expected one brings it back', async () => {
    let answer = 503
    const asked: (string | undefined)[] = []
    const port = await serve((req, res) => {
      asked.push(req.url, req.headers.host)
      res.writeHead(answer).end()
    })
    const { until, cluster } = checking([port, port], checkOf(http))
    await until(0, false)
    expect(asked.slice(0, 2)).toEqual(['/healthz?deep', 'probe.example'])
    expect(cluster.usable.length).toBe(0)
    answer = 204
    await until(0, true)
    expect(cluster.usable.length).toBe(1)
  })

  it('TCP: nobody listens, then somebody does', async () => {
    const port = await serve(() => undefined)
    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const free = (closed.address() as AddressInfo).port
    closed.close()
    await once(closed, 'close')
    const { until, cluster } = checking([port, free], checkOf({ kind: 'tcp' }))
    await until(1, false)
    expect(cluster.hosts[0]!.checkFailed).toBe(false)
    const back = createServer().listen(free, '127.0.0.1')
    cleanups.push(() => back.close())
    await until(1, true)
  })

  it('a host that accepts and says nothing is out after the timeout', async () => {
    const port = await serve(() => undefined)
    const { until } = checking([port], checkOf(http, { timeoutMs: 100 }))
    await until(0, false)
  })

  it('gRPC: asks for its service by the standard protocol', async () => {
    const serving = new Map([
      ['', 1],
      ['shop', 1],
    ])
    const server = new Server()
    server.addService(
      {
        check: {
          path: '/grpc.health.v1.Health/Check',
          requestStream: false,
          responseStream: false,
          requestSerialize: (b: Buffer) => b,
          requestDeserialize: (b: Buffer) => b,
          responseSerialize: (b: Buffer) => b,
          responseDeserialize: (b: Buffer) => b,
        },
      },
      {
        check: (call: { request: Buffer }, done: (error: object | null, answer?: Buffer) => void) => {
          const state = serving.get(call.request.subarray(2).toString())
          if (state === undefined) done({ code: status.NOT_FOUND })
          else done(null, Buffer.of(0x08, state))
        },
      },
    )
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    )
    cleanups.push(() => server.forceShutdown())
    const { until, cluster } = checking([port], checkOf({ kind: 'grpc', serviceName: 'shop' }))
    serving.set('shop', 2)
    await until(0, false)
    serving.set('shop', 1)
    await until(0, true)
    serving.delete('shop')
    await until(0, false)
    expect(cluster.usable).toEqual([])
  })

  it('keeps no process alive', async () => {
    const port = await serve(() => undefined)
    const script = `
      import { meshClient } from '${new URL('../../test/support/mesh-client.ts', import.meta.url).pathname}'
      const spec = ${JSON.stringify(checkOf(http, { timeoutMs: 60_000 }))}
      meshClient({ svc: { endpoints: [${port}], cluster: { healthChecks: [spec] } } })
      setTimeout(() => console.log('checked'), 200)
    `
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], { cwd: process.cwd() })
    let out = ''
    child.stdout.on('data', (data) => (out += data))
    child.stderr.on('data', (data) => (out += data))
    const [code] = await once(child, 'exit')
    expect({ code, out: out.includes('checked') ? 'checked' : out }).toEqual({ code: 0, out: 'checked' })
  }, 20_000)
})

describe('the messages of gRPC health', () => {
  it('are framed', () => {
    expect(healthRequest('').toString('hex')).toBe('0000000000')
    expect(healthRequest('ab').toString('hex')).toBe('00000000040a026162')
    expect(healthRequest('x'.repeat(200)).subarray(5, 8).toString('hex')).toBe('0ac801')
  })

  it.each([
    ['00000000020801', 1],
    ['00000000020802', 2],
    ['0000000000', 0],
    ['01000000020801', 0],
    ['0000000002080', 0],
    ['', 0],
  ])('%s says %i', (hex, expected) => expect(servingStatus(Buffer.from(hex, 'hex'))).toBe(expected))
})
