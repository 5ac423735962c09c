import type { AddressInfo } from 'node:net'
import { Server, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { echo, echoService, plainEcho } from '../../../test/support/grpc-echo.ts'
import { identityOf, until } from '../../../test/support/mesh-http.ts'
import { createTestCa } from '../../../test/support/test-ca.ts'
import { Inbound } from '../../engine/inbound.ts'
import { systemClock } from '../../model/clock.ts'
import { type InboundSpec, inboundDefaults } from '../../model/inbound.ts'
import { GrpcServers, type ServedGrpc } from './grpc-servers.ts'

const identity = identityOf(createTestCa('cluster.local'), 'payments')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** A mesh in which each port gets the next of these policies. */
function meshOf(...specs: Partial<InboundSpec>[]): GrpcServers {
  return new GrpcServers({
    serve: (make) => {
      const inbound = new Inbound({ ...inboundDefaults, name: 'test', tlsMode: 'DISABLE', rbac: [], ...specs.shift() })
      const port = make({ inbound: () => inbound, identity, clock: systemClock })
      closing.push(() => port.close({ graceMs: 0 }))
      return {
        get endpoint() {
          return port.address() as AddressInfo
        },
        address: () => port.address(),
        drain: (ms) => port.drain(ms),
        close: (options) => port.close(options),
      }
    },
  })
}

async function ask(served: ServedGrpc): Promise<number> {
  const client = plainEcho(served.endpoint.port)
  const { code } = await client.ask('unary')
  client.client.close()
  return code
}

const nobody = { rbac: [{ filterName: 'rbac', action: 'ALLOW' as const, policies: [] }] }

it.each([
  ['made by the mesh', (mesh: GrpcServers) => mesh.server()],
  ['made elsewhere', () => new Server()],
  ['made elsewhere with the interceptor', (m: GrpcServers) => new Server({ interceptors: [m.serverInterceptor()] })],
])('one server at several ports is judged by the policy of each: %s', async (_name, make) => {
  const mesh = meshOf({}, nobody)
  const server = make(mesh)
  server.addService(echoService, echo)
  const open = await mesh.listen(server, '127.0.0.1:0')
  const closed = await mesh.listen(server, '127.0.0.1:0')
  expect(await ask(open)).toBe(status.OK)
  expect(await ask(closed)).toBe(status.PERMISSION_DENIED)
  await closed.close()
  expect(await ask(open)).toBe(status.OK)
})

it('a call is judged once, whatever interceptors there are', async () => {
  const bucket = { maxTokens: 2, tokensPerFill: 1, fillIntervalMs: 3_600_000 }
  const limit = { name: 'a', match: [], key: { kind: 'all' as const }, bucket, overrides: [], status: 429 }
  const mesh = meshOf({ rateLimits: [{ ...limit, grpcStatus: 8, answerHeaders: [], headers: false, global: false }] })
  const server = new Server({ interceptors: [mesh.serverInterceptor()] })
  server.addService(echoService, echo)
  const served = await mesh.listen(server, '127.0.0.1:0')
  expect([await ask(served), await ask(served), await ask(served)]).toEqual([0, 0, status.RESOURCE_EXHAUSTED])
})

it.each(['', 'x', '127.0.0.1', '127.0.0.1:', ':70000', 'unix:/tmp/x', 'a:b:1', -1, 1.5])(
  'refuses to listen on %j',
  async (address) => {
    const mesh = meshOf()
    await expect(mesh.listen(mesh.server(), address)).rejects.toMatchObject({ code: 'ERR_INMESH_INVALID_OPTION' })
  },
)

it.each(['127.0.0.1:0', ':0', 0, '0', 'localhost:0'])('listens on %j', async (address) => {
  const mesh = meshOf()
  const server = mesh.server()
  server.addService(echoService, echo)
  const served = await mesh.listen(server, address)
  expect((served.address() as AddressInfo).port).toBeGreaterThan(0)
  // By IPv4, also where addresses of both kinds are listened on.
  if (address !== 'localhost:0') expect(await ask(served)).toBe(status.OK)
})

it('says that an address is taken', async () => {
  const mesh = meshOf()
  const { port } = (await mesh.listen(mesh.server(), '127.0.0.1:0')).endpoint
  await expect(mesh.listen(mesh.server(), `127.0.0.1:${port}`)).rejects.toMatchObject({ code: 'EADDRINUSE' })
})

it('refuses what is no server of grpc-js', async () => {
  for (const other of [undefined, {}, { charge() {} }])
    await expect(meshOf().listen(other as never, 0)).rejects.toThrow(/no Server of @grpc\/grpc-js/)
  const foreign = { bindAsync() {}, createConnectionInjector() {} }
  await expect(meshOf().listen(foreign as never, 0)).rejects.toThrow(/another copy of @grpc\/grpc-js/)
})

describe('the health service', () => {
  const raw = (bytes: Buffer) => bytes
  const named = (service: string) => Buffer.concat([Buffer.of(0x0a, service.length), Buffer.from(service)])

  async function serve() {
    const mesh = meshOf({}, {})
    const server = mesh.server()
    const health = mesh.addHealth(server)
    const served = await mesh.listen(server, '127.0.0.1:0')
    const { client } = plainEcho(served.endpoint.port)
    closing.push(() => client.close())
    const check = (service: string) =>
      new Promise<number | string>((resolve) =>
        client.makeUnaryRequest('/grpc.health.v1.Health/Check', raw, raw, named(service), (error, answer) =>
          resolve(error === null ? answer![1]! : `error ${error.code}`),
        ),
      )
    const watch = (service: string) => {
      const seen: number[] = []
      const call = client.makeServerStreamRequest('/grpc.health.v1.Health/Watch', raw, raw, named(service))
      call.on('data', (answer: Buffer) => seen.push(answer[1]!)).on('error', () => undefined)
      const ended = new Promise<number>((resolve) => call.on('status', ({ code }) => resolve(code)))
      return { seen, call, ended }
    }
    return { mesh, server, health, served, check, watch }
  }

  it('says of the server and of services what they are', async () => {
    const { health, check } = await serve()
    expect([await check(''), await check('a.B')]).toEqual([1, `error ${status.NOT_FOUND}`])
    health.set('a.B', true)
    health.set('', false)
    expect([await check(''), await check('a.B')]).toEqual([2, 1])
  })

  it('tells those who watch, and each change once', async () => {
    const { health, watch } = await serve()
    const { seen, call } = watch('a.B')
    const other = watch('')
    await until(() => seen.length === 1 && other.seen.length === 1)
    for (const serving of [true, true, false]) health.set('a.B', serving)
    await until(() => seen.length === 3)
    expect([seen, other.seen]).toEqual([[3, 1, 2], [1]])
    call.cancel()
  })

  it('holds up no shutdown: watches end with the last port', async () => {
    const { mesh, server, served, watch } = await serve()
    const second = await mesh.listen(server, '127.0.0.1:0')
    const { seen, ended } = watch('')
    await until(() => seen.length === 1)
    await second.close()
    expect(seen).toEqual([1])
    await served.close({ graceMs: 60_000 })
    expect([await ended, seen]).toEqual([status.OK, [1, 2]])
  })

  it('is there once', async () => {
    const { mesh, server } = await serve()
    expect(() => mesh.addHealth(server)).toThrow('has a health service already')
  })
})
