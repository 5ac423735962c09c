import type { AddressInfo } from 'node:net'
import { Server, status } from '@grpc/grpc-js'
import { afterEach, expect, it } from 'vitest'
import { echo, echoService, plainEcho } from '../../../test/support/grpc-echo.ts'
import { identityOf } from '../../../test/support/mesh-http.ts'
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
  const client = plainEcho(served.endpoint!.port)
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
  const served = await mesh.listen(mesh.server(), address)
  expect((served.address() as AddressInfo).port).toBeGreaterThan(0)
})

it('says that an address is taken', async () => {
  const mesh = meshOf()
  const { port } = (await mesh.listen(mesh.server(), '127.0.0.1:0')).endpoint!
  await expect(mesh.listen(mesh.server(), `127.0.0.1:${port}`)).rejects.toMatchObject({ code: 'EADDRINUSE' })
})
