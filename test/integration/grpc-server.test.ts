import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Client, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getGrpcPeer, type ServedGrpc } from '../../src/index.ts'
import type { Mesh } from '../../src/mesh.ts'
import {
  askEcho,
  type EchoAnswer,
  type EchoHandlers,
  echo,
  echoService,
  kinds,
  plainEcho,
} from '../support/grpc-echo.ts'
import { eventually, Shop } from '../support/shop.ts'

let shop: Shop
let orders: Mesh
let web: Mesh

beforeAll(async () => {
  shop = await Shop.open()
  orders = await shop.mesh('orders')
  web = await shop.mesh('web')
}, 30_000)
afterAll(() => shop.close())

/** A workload that serves gRPC; ready when others can find it. */
async function serve(service: string, handlers: Partial<EchoHandlers> = {}, from = shop) {
  const mesh = await from.mesh(service)
  const server = mesh.grpc.server()
  server.addService(echoService, { ...echo, ...handlers })
  const served: ServedGrpc = await mesh.grpc.listen(server, '127.0.0.1:0')
  await mesh.ready()
  return { mesh, server, served }
}

type Rest<All> = All extends [unknown, ...infer Others] ? Others : never

/** A call through the mesh. */
const ask = (mesh: Mesh, service: string, ...call: Rest<Parameters<typeof askEcho>>) =>
  askEcho(mesh.grpc.client(Client, service), ...call)

/** Load is not shed because the machine is busy. */
const unshed = (service: string) => `
apiVersion: inmesh.dev/v1
kind: ServicePolicy
metadata: { name: ${service} }
spec: { service: ${service}, loadShedding: { enabled: false } }
`

/** Asks until the answer is as the test wants it; what it is in the end. */
const becomes = (code: number, look: () => Promise<EchoAnswer>) =>
  eventually(look, (answer) => answer.code === code).then((answer) => answer.code)

describe('gRPC servers of a mesh', () => {
  it.each(kinds)('serve %s calls of the mesh, and know who calls', async (kind) => {
    const seen: (string | undefined)[] = []
    const watch = Object.fromEntries(
      kinds.map((name) => [
        name,
        (call: never, done: never) => {
          seen.push(getGrpcPeer(call)?.serviceAccount)
          ;(echo[name] as (call: never, done: never) => void)(call, done)
        },
      ]),
    )
    await serve(`known-${kind}`, watch)
    expect(await ask(orders, `known-${kind}`, kind)).toMatchObject({ code: status.OK, text: 'hello' })
    expect(seen).toEqual(['orders'])
  })

  it('are registered as what they are: callers use HTTP/2 without being told', async () => {
    await serve('spoken')
    const answer = await orders.fetch('http://spoken/', { method: 'POST', body: 'no gRPC' })
    // Unsupported media type: this is gRPC, answered over HTTP/2.
    expect(answer.status).toBe(415)
  })

  it('stand beside servers of HTTP of the same service, at ports of their own', async () => {
    const { mesh, served } = await serve('both')
    const http = mesh.createServer((_req, res) => res.end('by HTTP'))
    await http.listen(0, '127.0.0.1')
    await mesh.ready()
    const text = async () => (await orders.fetch('http://both/')).text()
    expect(await eventually(text, (answer) => answer === 'by HTTP')).toBe('by HTTP')
    for (let i = 0; i < 10; i++) expect(await text()).toBe('by HTTP')
    const { port } = served.endpoint
    for (let i = 0; i < 10; i++) expect((await ask(orders, `both:${port}`, 'unary')).code).toBe(status.OK)
  })

  it('let in whom an AuthorizationPolicy names, to the methods that it names', async () => {
    const { mesh, served } = await serve('vault')
    await shop.plane.apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: vault }
spec:
  selector: { matchLabels: { app: vault } }
  action: ALLOW
  rules:
    - from: [{ source: { principals: [cluster.local/ns/default/sa/orders] } }]
      to: [{ operation: { paths: [/test.Echo/Unary, /test.Echo/Chat], methods: [POST] } }]
`)
    expect(await becomes(status.PERMISSION_DENIED, () => ask(web, 'vault', 'unary'))).toBe(status.PERMISSION_DENIED)
    const codes = async (from: Mesh) => {
      const all: number[] = []
      for (const kind of kinds) all.push((await ask(from, 'vault', kind)).code)
      return all
    }
    const { OK, PERMISSION_DENIED } = status
    expect(await codes(orders)).toEqual([OK, PERMISSION_DENIED, PERMISSION_DENIED, OK])
    expect(await codes(web)).toEqual([PERMISSION_DENIED, PERMISSION_DENIED, PERMISSION_DENIED, PERMISSION_DENIED])
    const why = (path: string) =>
      mesh.explainInbound(
        { path, method: 'POST', principal: 'spiffe://cluster.local/ns/default/sa/orders' },
        served.endpoint.port,
      ).admitted
    expect([why('/test.Echo/Unary'), why('/test.Echo/Upload')]).toEqual([true, false])
  })

  it('take plaintext as PeerAuthentication says', async () => {
    const { served } = await serve('strict')
    const plain = plainEcho(served.endpoint.port)
    expect((await plain.ask('unary')).code).toBe(status.OK)
    await shop.plane.apply(`
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict }
spec: { selector: { matchLabels: { app: strict } }, mtls: { mode: STRICT } }
`)
    // The connection that stands is judged by the mode of now, and closed; a new one is cut.
    expect(await becomes(status.PERMISSION_DENIED, () => plain.ask('unary'))).toBe(status.PERMISSION_DENIED)
    expect(await becomes(status.UNAVAILABLE, () => plain.ask('unary'))).toBe(status.UNAVAILABLE)
    const late = plainEcho(served.endpoint.port)
    expect((await late.ask('unary')).code).toBe(status.UNAVAILABLE)
    expect((await ask(orders, 'strict', 'unary')).code).toBe(status.OK)
    plain.client.close()
    late.client.close()
  })

  it('limit the rate of each caller', async () => {
    await serve('limited')
    await shop.plane.apply(`
apiVersion: inmesh.dev/v1
kind: RateLimit
metadata: { name: limited }
spec:
  selector: { matchLabels: { app: limited } }
  rules: [{ key: identity, requests: 2, per: 1h }]
`)
    await becomes(status.RESOURCE_EXHAUSTED, () => ask(web, 'limited', 'unary'))
    const refused = await ask(web, 'limited', 'unary')
    expect(refused).toMatchObject({ code: status.RESOURCE_EXHAUSTED, details: 'local_rate_limited' })
    expect(refused.trailers.get('x-envoy-ratelimited')).toEqual(['true'])
    expect(Number(refused.trailers.get('grpc-retry-pushback-ms')[0])).toBeGreaterThan(60_000)
    expect((await ask(orders, 'limited', 'unary')).code).toBe(status.OK)
  })

  it('tell calls out of handlers how long they may take, what trace they are of, and not to repeat what was repeated', async () => {
    const seen: { trace: string; left: number; request: string }[] = []
    let failing = 0
    await serve('bottom', {
      unary: (call, done) => {
        if (call.request === 'fail') {
          failing++
          done({ code: status.UNAVAILABLE, details: 'on purpose' })
          return
        }
        const [trace, request] = [call.metadata.get('traceparent')[0], call.metadata.get('x-request-id')[0]]
        seen.push({ trace: String(trace), left: Number(call.getDeadline()) - Date.now(), request: String(request) })
        done(null, 'x')
      },
    })
    const middle = await serve('middle', {
      unary: (call, done) => {
        const below = middle.mesh.grpc.client(Client, 'bottom')
        void askEcho(below, 'unary', call.request).then(({ code, details }) =>
          code === status.OK ? done(null, 'x') : done({ code, details }),
        )
      },
    })
    const trace = '0af7651916cd43dd8448eb211c80319c'
    const headers = { traceparent: `00-${trace}-b7ad6b7169203331-01`, 'x-request-id': 'r-17' }
    const { code } = await ask(orders, 'middle', 'unary', 'x', headers, { deadline: Date.now() + 15_000 })
    expect(code).toBe(status.OK)
    expect(seen).toMatchObject([{ trace: expect.stringContaining(trace), request: 'r-17' }])
    expect(seen[0]!.left).toBeGreaterThan(0)
    expect(seen[0]!.left).toBeLessThan(15_000)
    await shop.plane.apply(
      ['middle', 'bottom']
        .map(
          (service) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${service} }
spec:
  hosts: [${service}]
  http: [{ route: [{ destination: { host: ${service} } }], retries: { attempts: 3, retryOn: unavailable, backoff: 1ms } }]
`,
        )
        .join('---'),
    )
    // Four tries at the bottom, by the middle; none of them again from above.
    const tries = await eventually(
      async () => {
        failing = 0
        await ask(orders, 'middle', 'unary', 'fail')
        return failing
      },
      (count) => count === 4,
    )
    expect(tries).toBe(4)
  })

  it('fail no call while certificates are replaced', async () => {
    const brief = await Shop.open({ certTtlMs: 6_000 })
    try {
      const { mesh } = await serve('brief', {}, brief)
      await brief.plane.apply(unshed('brief'))
      const caller = await brief.mesh('caller')
      let renewed = 0
      mesh.on('certificate', () => renewed++)
      const client = caller.grpc.client(Client, 'brief')
      const failed: EchoAnswer[] = []
      let calls = 0
      while (renewed < 2) {
        const answers = await Promise.all(kinds.map((kind) => askEcho(client, kind)))
        failed.push(...answers.filter(({ code }) => code !== status.OK))
        calls += answers.length
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      expect(failed).toEqual([])
      expect(calls).toBeGreaterThan(50)
    } finally {
      await brief.close()
    }
  }, 60_000)
})

describe('a gRPC service whose replicas are replaced one by one', () => {
  interface Replica {
    readonly child: ChildProcess
    text: string
  }
  const replicas = new Set<Replica>()
  let started = 0
  afterAll(() => {
    for (const { child } of replicas) child.kill('SIGKILL')
  })

  async function replica(): Promise<Replica> {
    const { token } = await shop.plane.createToken({ service: 'rolling' })
    const child = spawn(process.execPath, [join(import.meta.dirname, 'grpc-drain-server.ts')], {
      env: {
        ...process.env,
        INMESH_SERVICE: 'rolling',
        INMESH_CONTROL_PLANE: shop.plane.address,
        INMESH_TOKEN: token,
        INMESH_STATE_DIR: join(shop.folder, `rolling-${started++}`),
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const made: Replica = { child, text: '' }
    replicas.add(made)
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      made.text += text
    })
    await eventually(
      () => made.text,
      (text) => text.includes('ready\n'),
      20_000,
    )
    return made
  }

  it('fails no call, and handles each exactly once', async () => {
    await shop.plane.apply(unshed('rolling'))
    const old = await Promise.all([replica(), replica()])
    const all = [...old]
    const client = web.grpc.client(Client, 'rolling')
    const failed: string[] = []
    const underWay = new Set<Promise<void>>()
    let sent = 0
    const one = async () => {
      const id = `call-${sent++}`
      const { code, text, details } = await askEcho(client, 'unary', id)
      if (code !== status.OK || text !== id) failed.push(`${id}: ${code} ${details}`)
    }
    const load = setInterval(() => {
      const call = one()
      underWay.add(call)
      void call.finally(() => underWay.delete(call))
    }, 7)
    const codes: (number | null)[] = []
    for (const leaving of old) {
      all.push(await replica())
      replicas.delete(leaving)
      const closed = once(leaving.child, 'close')
      leaving.child.kill('SIGTERM')
      const [code] = await closed
      codes.push(code)
    }
    clearInterval(load)
    await Promise.all(underWay)
    expect(failed).toEqual([])
    expect(codes).toEqual([0, 0])
    expect(sent).toBeGreaterThan(100)
    const done = all.flatMap(({ text }) => [...text.matchAll(/^did (.+)$/gm)].map(([, id]) => id))
    expect(done.length).toBe(sent)
    expect(new Set(done).size).toBe(sent)
    // Whoever left got some of it, so there was something to lose.
    for (const { text } of old) expect(text).toContain('did call-')
  }, 60_000)
})
