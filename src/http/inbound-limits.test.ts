import { once } from 'node:events'
import { Agent, get, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import { connect } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { identityOf, until } from '../../test/support/mesh-http.ts'

import { createTestCa } from '../../test/support/test-ca.ts'
import { driveWheel } from '../engine/driver.ts'
import { Inbound } from '../engine/inbound.ts'
import { InboundRuntime } from '../engine/inbound-runtime.ts'
import { systemRandom } from '../engine/random.ts'
import { TimerWheel } from '../engine/time.ts'
import { systemClock } from '../model/clock.ts'
import { type InboundSpec, inboundDefaults, shedDefaults } from '../model/inbound.ts'
import { getAbortSignal } from './abort-signal.ts'
import { createMeshServer, type MeshServer } from './server.ts'

const ca = createTestCa('cluster.local')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

async function start(spec: Partial<InboundSpec>, listener: RequestListener) {
  const wheel = new TimerWheel()
  closing.push(driveWheel(wheel, systemClock))
  const runtime = new InboundRuntime({ clock: systemClock, random: systemRandom, wheel })
  const inbound = new Inbound({ ...inboundDefaults, name: 'test', tlsMode: 'DISABLE', rbac: [], ...spec }, runtime)
  const server: MeshServer = createMeshServer(listener, {
    identity: identityOf(ca, 'payments'),
    inbound: () => inbound,
    clock: systemClock,
  })
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  closing.push(() => server.close({ graceMs: 0 }))
  const { port } = server.address() as { port: number }
  const ask = (agent?: Agent, path = '/') =>
    new Promise<Answer>((resolve, reject) => {
      const request = get({ port, host: '127.0.0.1', path, agent: agent ?? false }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, text }))
      })
      request.on('error', reject)
    })
  return { port, ask, runtime, server }
}

const ok: RequestListener = (_req, res) => res.end('ok')
const nothing = { match: [], answerHeaders: [], overrides: [], global: false }

describe('a server', () => {
  it('says on its answers how a rate limit stands, and refuses with Retry-After', async () => {
    const bucket = { maxTokens: 2, tokensPerFill: 1, fillIntervalMs: 60_000 }
    const limit = {
      ...nothing,
      name: 'a',
      key: { kind: 'all' },
      bucket,
      status: 429,
      grpcStatus: 8,
      headers: true,
    } as const
    const { ask } = await start({ rateLimits: [limit] }, ok)
    const first = await ask()
    expect([first.status, first.text]).toEqual([200, 'ok'])
    expect(first.headers).toMatchObject({ 'x-ratelimit-limit': '2', 'x-ratelimit-remaining': '1' })
    await ask()
    const third = await ask()
    expect([third.status, third.text]).toEqual([429, 'local_rate_limited'])
    expect(third.headers).toMatchObject({ 'x-envoy-ratelimited': 'true', 'x-ratelimit-remaining': '0' })
    expect(Number(third.headers['retry-after'])).toBeGreaterThan(55)
  })

  it('takes so many requests at one time, 503 beyond, and again when one has ended', async () => {
    const open: (() => void)[] = []
    const { ask } = await start({ maxRequests: 2 }, (_req, res) => {
      open.push(() => res.end('ok'))
    })
    const two = [ask(), ask()]
    await until(() => open.length === 2)
    const third = await ask()
    expect([third.status, third.headers['x-envoy-overloaded']]).toEqual([503, 'true'])
    for (const end of open) end()
    expect((await Promise.all(two)).map((a) => a.status)).toEqual([200, 200])
    const again = ask()
    await until(() => open.length === 3)
    open[2]!()
    expect((await again).status).toBe(200)
  })

  it('takes so many connections; one more is told so and closed, many more are cut', async () => {
    const { ask, port } = await start({ maxConnections: 1 }, ok)
    const keepAlive = new Agent({ keepAlive: true })
    closing.push(() => keepAlive.destroy())
    expect((await ask(keepAlive)).status).toBe(200)
    const second = await ask()
    expect([second.status, second.headers.connection]).toEqual([503, 'close'])
    expect((await ask(keepAlive)).status).toBe(200)
    keepAlive.destroy()
    await expect.poll(async () => (await ask()).status).toBe(200)
    const idle = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
    closing.push(() => {
      for (const socket of idle) socket.destroy()
    })
    const cut = Promise.race(idle.map((socket) => once(socket, 'close')))
    for (const socket of idle) socket.on('error', () => undefined).write('GET / HTTP/1.1\r\n')
    await cut
  })

  it('tells a handler when nobody waits any more, and lets a delayed request of such a caller never reach it', async () => {
    let aborted: Promise<unknown> | null = null
    let handled = 0
    const delay = { ms: 80, perMillion: 1_000_000 }
    const path = { kind: 'exact', value: '/slow', ignoreCase: false } as const
    const fault = { delay, abort: null, headers: [], maxActive: Number.POSITIVE_INFINITY }
    const faults = [{ match: [{ path, methods: [], headers: [], principals: [] }], fault }]
    const { ask, port, runtime } = await start({ faults }, (req, res) => {
      handled++
      if (req.url === '/slow') res.end('late')
      else aborted = once(getAbortSignal(res), 'abort')
    })
    expect((await ask(undefined, '/slow')).text).toBe('late')
    const impatient = connect(port, '127.0.0.1').on('error', () => undefined)
    impatient.write('GET /slow HTTP/1.1\r\nhost: x\r\n\r\n')
    await until(() => runtime.faults === 1)
    impatient.destroy()
    await until(() => runtime.faults === 0)
    const other = connect(port, '127.0.0.1').on('error', () => undefined)
    other.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await until(() => aborted !== null)
    other.destroy()
    await aborted
    expect(handled).toBe(2)
  })

  it('gives a signal that never aborts to what is answered', async () => {
    let signal: AbortSignal | undefined
    const { ask } = await start({}, (_req, res) => {
      signal = getAbortSignal(res)
      expect(getAbortSignal(res)).toBe(signal)
      res.end('ok')
    })
    await ask()
    expect(signal?.aborted).toBe(false)
  })

  it('limits what it takes while its event loop is late, and counts no answers that have begun', async () => {
    const streams: (() => void)[] = []
    const shed = { ...shedDefaults, lagMs: 10 }
    const { ask, runtime, port } = await start({ shed }, (req, res) => {
      if (req.url === '/stream') {
        res.write('begun')
        streams.push(() => res.end())
        return
      }
      const end = performance.now() + 4
      while (performance.now() < end);
      res.end('ok')
    })
    const stream = connect(port, '127.0.0.1').on('error', () => undefined)
    closing.push(() => stream.destroy())
    stream.write('GET /stream HTTP/1.1\r\nhost: x\r\n\r\n')
    await until(() => streams.length === 1)
    expect(runtime.shed!.inFlight).toBe(1)
    const answers: number[] = []
    // Connections that are there already: of new ones a turn of the event loop takes but one.
    const agent = new Agent({ keepAlive: true, maxSockets: 100 })
    closing.push(() => agent.destroy())
    const wave = () => Promise.all(Array.from({ length: 100 }, () => ask(agent).then((a) => answers.push(a.status))))
    while (!answers.includes(503) && answers.length < 5_000) await wave()
    expect(answers).toContain(503)
    expect(answers.filter((s) => s === 200).length).toBeGreaterThan(50)
    expect(runtime.shed!.limit).toBeLessThan(100)
    await until(() => runtime.shed!.inFlight === 0)
    streams[0]!()
  })
})
