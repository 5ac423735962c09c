import { addAdminServicesToServer, compressionAlgorithms, Metadata, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { type EchoClient, echoService, plainEcho, secureEcho } from '../../../test/support/grpc-echo.ts'
import { openPort, overload, type TestPort, type TestPortOptions } from '../../../test/support/grpc-port.ts'
import { meshClient } from '../../../test/support/mesh-client.ts'
import { identityOf, spiffe } from '../../../test/support/mesh-http.ts'
import { createTestCa } from '../../../test/support/test-ca.ts'
import { shedDefaults } from '../../model/inbound.ts'
import { GrpcHealth } from './health.ts'

const ca = createTestCa('cluster.local')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function open(options: Partial<TestPortOptions> = {}): Promise<TestPort> {
  const port = await openPort({ identity: identityOf(ca, 'payments'), ...options })
  closing.push(() => port.close())
  return port
}

function known(client: EchoClient): EchoClient {
  closing.push(() => client.client.close())
  return client
}

function same(value: Buffer): Buffer {
  return value
}

describe('what apps do with a server of grpc-js goes on working', () => {
  it('metadata and trailers, binary ones too', async () => {
    const binary = Buffer.from([0, 255, 128])
    const port = await open({
      handlers: {
        unary: (call, done) => {
          const head = new Metadata()
          head.set('x-head-bin', call.metadata.get('x-sent-bin')[0]!)
          head.add('x-many', 'a')
          head.add('x-many', 'b')
          call.sendMetadata(head)
          const trailers = new Metadata()
          trailers.set('x-trailer', String(call.metadata.get('x-sent')[0]))
          trailers.set('x-trailer-bin', binary)
          done(null, `${call.getHost()} ${call.getPath()}`, trailers)
        },
      },
    })
    const { client } = known(plainEcho(port.number, { 'grpc.default_authority': 'payments:50051' }))
    const sent = new Metadata()
    sent.set('x-sent', 'text')
    sent.set('x-sent-bin', binary)
    const { path, requestSerialize, responseDeserialize } = echoService.unary
    const seen = { head: new Metadata(), trailers: new Metadata() }
    const text = await new Promise((resolve, reject) => {
      const call = client.makeUnaryRequest(path, requestSerialize, responseDeserialize, 'x', sent, (error, answer) => {
        if (error === null) call.on('status', () => resolve(answer))
        else reject(error)
      })
      call.on('metadata', (metadata: Metadata) => {
        seen.head = metadata
      })
      call.on('status', ({ metadata }: { metadata: Metadata }) => {
        seen.trailers = metadata
      })
    })
    expect(text).toBe('payments:50051 /test.Echo/Unary')
    expect(seen.head.get('x-head-bin')).toEqual([binary])
    expect(seen.head.get('x-many')).toEqual(['a, b'])
    expect([seen.trailers.get('x-trailer'), seen.trailers.get('x-trailer-bin')]).toEqual([['text'], [binary]])
  })

  it('compressed requests, and limits of size', async () => {
    const port = await open({ server: { 'grpc.max_receive_message_length': 1_000 } })
    const client = known(plainEcho(port.number, { 'grpc.default_compression_algorithm': compressionAlgorithms.gzip }))
    expect(await client.ask('unary', 'a'.repeat(900))).toMatchObject({ code: status.OK, text: 'a'.repeat(900) })
    expect((await client.ask('unary', 'a'.repeat(2_000))).code).toBe(status.RESOURCE_EXHAUSTED)
  })

  it('keepalive of both sides, and a limit of the age of connections', async () => {
    const port = await open({
      server: { 'grpc.keepalive_time_ms': 30, 'grpc.keepalive_timeout_ms': 5_000, 'grpc.max_connection_age_ms': 60 },
    })
    let connections = 0
    port.port.server.on('connection', () => connections++)
    const client = known(
      plainEcho(port.number, { 'grpc.keepalive_time_ms': 30, 'grpc.keepalive_permit_without_calls': 1 }),
    )
    const codes = new Set<number>()
    while (connections < 3) codes.add((await client.ask('unary')).code)
    expect([...codes]).toEqual([status.OK])
  })

  it('channelz, over the port that it shows', async () => {
    const port = await open({ spec: { tlsMode: 'STRICT' } })
    addAdminServicesToServer(port.server)
    const { client } = known(secureEcho(port.number, ca, 'orders'))
    const servers = await new Promise<Buffer | undefined>((resolve, reject) =>
      client.makeUnaryRequest('/grpc.channelz.v1.Channelz/GetServers', same, same, Buffer.alloc(0), (error, answer) =>
        error === null ? resolve(answer) : reject(error),
      ),
    )
    expect(servers!.length).toBeGreaterThan(0)
  })

  it('the certificate of the caller, as grpc-js shows it', async () => {
    const port = await open({
      spec: { tlsMode: 'STRICT' },
      handlers: {
        unary: (call, done) => done(null, call.getAuthContext().sslPeerCertificate?.subjectaltname ?? 'none'),
      },
    })
    expect((await known(secureEcho(port.number, ca, 'orders')).ask('unary')).text).toBe(`URI:${spiffe(ca, 'orders')}`)
  })

  it('methods that it does not have are UNIMPLEMENTED', async () => {
    const port = await open()
    const { client } = known(plainEcho(port.number))
    const code = await new Promise((resolve) =>
      client.makeUnaryRequest('/test.Echo/None', same, same, Buffer.from('x'), (error) => resolve(error?.code)),
    )
    expect(code).toBe(status.UNIMPLEMENTED)
  })

  it('health checks of the mesh, also while load is shed', async () => {
    const port = await open({ spec: { tlsMode: 'STRICT', shed: shedDefaults } })
    const health = new GrpcHealth(port.server)
    overload(port)
    const check = {
      ...{ timeoutMs: 2_000, intervalMs: 20, intervalJitterPercent: 0, noTrafficIntervalMs: 20 },
      ...{ unhealthyThreshold: 1, healthyThreshold: 1, how: { kind: 'grpc' as const, serviceName: '' } },
    }
    const waiting: (() => void)[] = []
    const events = {
      callStart: none,
      attemptStart: none,
      attemptEnd: none,
      callEnd: none,
      hostChecked: () => {
        for (const go of waiting.splice(0)) go()
      },
    }
    const client = meshClient({}, { events, identity: identityOf(ca, 'orders') })
    closing.push(() => client.close())
    client.apply({
      payments: {
        endpoints: [{ port: port.number, spiffeId: spiffe(ca, 'payments'), tlsMode: 'mtls' }],
        cluster: { healthChecks: [check] },
      },
    })
    const host = [...client.engine.clusters.values()][0]!.hosts[0]!
    health.set('', false)
    while (!host.checkFailed) await new Promise<void>((resolve) => waiting.push(resolve))
    health.set('', true)
    while (host.checkFailed) await new Promise<void>((resolve) => waiting.push(resolve))
  })
})

const none = () => undefined
