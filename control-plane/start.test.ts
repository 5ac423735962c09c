import { connect as connectTcp } from 'node:net'
import { connect } from 'node:tls'
import { status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { TypeUrl } from '../src/xds/proto.ts'
import type { ControlPlane } from './start.ts'
import { Harness } from './testing/harness.ts'

const harness = new Harness()
afterEach(() => harness.cleanUp())

/** Until what is stored is what is served. */
async function served(controlPlane: ControlPlane): Promise<void> {
  const { revision } = await controlPlane.store.snapshot()
  await expect.poll(() => controlPlane.revision()).toMatchObject({ revision, error: '' })
}

const node = { id: 'n', userAgentName: 'inmesh' }

describe('who may do what on the TLS port', () => {
  it('a workload with a certificate gets its configuration', async () => {
    const controlPlane = await harness.start()
    const client = harness.ads(await harness.channel(controlPlane, 'orders'))
    client.send({ node, typeUrl: TypeUrl.listener, resourceNames: ['payments'] })
    const response = await client.response(0)
    expect(response.typeUrl).toBe(TypeUrl.listener)
    expect(response.resources).toHaveLength(1)
    expect(controlPlane.clients()).toMatchObject([
      { spiffeId: 'spiffe://cluster.local/ns/default/sa/orders', service: 'orders', clientClass: 'inmesh' },
    ])
  })

  it('nobody without a certificate gets configuration or registers', async () => {
    const controlPlane = await harness.start()
    const anonymous = await harness.channel(controlPlane)
    const ads = harness.ads(anonymous)
    ads.send({ node, typeUrl: TypeUrl.listener, resourceNames: ['payments'] })
    expect(await ads.ended).toMatchObject({ code: status.UNAUTHENTICATED })
    const registry = harness.registry(anonymous)
    await expect(registry.register({ instanceId: 'i' })).rejects.toThrow(/stream ended: 16/)
  })

  it('a workload that says it is another one is refused', async () => {
    const controlPlane = await harness.start()
    const client = harness.ads(await harness.channel(controlPlane, 'orders'))
    const liar = { id: 'sidecar~127.0.0.1~payments-1.prod~prod.svc.cluster.local', userAgentName: 'inmesh' }
    client.send({ node: liar, typeUrl: TypeUrl.listener, resourceNames: ['payments'] })
    expect(await client.ended).toMatchObject({ code: status.PERMISSION_DENIED })
  })

  it('a certificate of another authority ends the connection, even to call the certificate authority', async () => {
    const controlPlane = await harness.start()
    const foreign = await harness.start()
    const { certPem, privateKeyPem } = await foreign.issueCertificate('orders', 'default', 'orders')
    const socket = connect({
      ...{ port: controlPlane.ports.listen, host: '127.0.0.1', ALPNProtocols: ['h2'] },
      ...{ cert: certPem, key: privateKeyPem, ca: [controlPlane.trustBundlePem] },
      checkServerIdentity: () => undefined,
    })
    socket.on('error', () => undefined)
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'
    socket.on('secureConnect', () => socket.write(preface))
    let received = 0
    socket.on('data', (chunk) => {
      received += chunk.length
    })
    await new Promise((resolve) => socket.on('close', resolve))
    expect(received).toBe(0)
  })

  it('TLS 1.2 is refused', async () => {
    const controlPlane = await harness.start()
    const error = await new Promise<NodeJS.ErrnoException>((resolve, reject) => {
      const socket = connect({
        ...{
          port: controlPlane.ports.listen,
          host: '127.0.0.1',
          maxVersion: 'TLSv1.2',
          ca: [controlPlane.trustBundlePem],
        },
        checkServerIdentity: () => undefined,
      })
      socket.on('error', resolve)
      socket.on('secureConnect', () => reject(new Error('connected')))
    })
    expect(error.code).toMatch(/PROTOCOL_VERSION/)
  })

  it('garbage instead of a handshake harms nobody', async () => {
    const controlPlane = await harness.start()
    for (const garbage of ['GET / HTTP/1.1\r\n\r\n', '\x16\x03\x01\xff\xff', '\0'.repeat(10_000)]) {
      const socket = connectTcp({ port: controlPlane.ports.listen, host: '127.0.0.1' })
      socket.on('error', () => undefined)
      socket.resume().end(garbage)
      await new Promise((resolve) => socket.on('close', resolve))
    }
    const client = harness.ads(await harness.channel(controlPlane, 'orders'))
    client.send({ node, typeUrl: TypeUrl.listener, resourceNames: ['payments'] })
    await client.response(0)
  })

  it('a connection ends when the certificate of the peer does', async () => {
    const controlPlane = await harness.start({ certTtlMs: 2_000 })
    const client = harness.ads(await harness.channel(controlPlane, 'orders'))
    client.send({ node, typeUrl: TypeUrl.listener, resourceNames: ['payments'] })
    await client.response(0)
    expect((await client.ended).code).not.toBe(status.OK)
  })

  it('the plaintext port must be loopback', async () => {
    await expect(harness.start({ insecureXds: '0.0.0.0:0' })).rejects.toThrow(/loopback/)
  })
})

describe('registration', () => {
  const endpoint = { address: '127.0.0.1', port: 8080 }

  it('lives as long as its stream plus the grace time', async () => {
    const controlPlane = await harness.start({ registrationGraceMs: 100 })
    const stream = harness.registry(await harness.channel(controlPlane, 'payments'))
    const { revision, grace } = await stream.register({ instanceId: 'i', endpoints: [endpoint] })
    expect(grace).toMatchObject({ nanos: 100_000_000 })
    const stored = await controlPlane.store.snapshot()
    expect(BigInt(stored.revision)).toBe(revision)
    expect(stored.endpoints).toMatchObject([{ service: 'payments', namespace: 'default', port: 8080 }])
    stream.close()
    await expect.poll(async () => (await controlPlane.store.snapshot()).endpoints).toEqual([])
    expect((await controlPlane.store.snapshot()).services).toMatchObject([{ service: 'payments' }])
  })

  it('ends at once when the workload says goodbye', async () => {
    const controlPlane = await harness.start()
    const stream = harness.registry(await harness.channel(controlPlane, 'payments'))
    await stream.register({ instanceId: 'i', endpoints: [endpoint] })
    // The goodbye is a registration of nothing; an end alone could be a connection that broke.
    await stream.register({ instanceId: 'i', endpoints: [] })
    await stream.register({ instanceId: 'i', endpoints: [] })
    expect((await controlPlane.store.snapshot()).endpoints).toEqual([])
    stream.call.end()
    expect(await stream.ended).toMatchObject({ code: status.OK })
  })

  it('does not end with a stream that merely ends', async () => {
    const controlPlane = await harness.start()
    const stream = harness.registry(await harness.channel(controlPlane, 'payments'))
    await stream.register({ instanceId: 'i', endpoints: [endpoint] })
    stream.call.end()
    expect(await stream.ended).toMatchObject({ code: status.OK })
    expect(controlPlane.registrations()).toEqual({ held: 0, waiting: 1, suspect: 0 })
  })

  it('survives a reconnect without a new revision', async () => {
    const controlPlane = await harness.start()
    const channel = await harness.channel(controlPlane, 'payments')
    const first = harness.registry(channel)
    const { revision } = await first.register({ instanceId: 'i', endpoints: [endpoint] })
    first.close()
    await expect.poll(() => controlPlane.registrations()).toEqual({ held: 0, waiting: 1, suspect: 0 })
    const second = await harness.registry(channel).register({ instanceId: 'i', endpoints: [endpoint] })
    expect(second.revision).toBe(revision)
  })

  it('of a foreign service is refused and audited', async () => {
    const controlPlane = await harness.start()
    const stream = harness.registry(await harness.channel(controlPlane, 'orders'))
    await expect(
      stream.register({ instanceId: 'i', endpoints: [{ ...endpoint, service: 'payments' }] }),
    ).rejects.toThrow(/stream ended: 7/)
    expect(await controlPlane.store.audit.list(10)).toContainEqual(
      expect.objectContaining({ verb: 'register', result: 'refused', subject: 'default/payments' }),
    )
  })

  it('reaches clients: an endpoint that leaves is taken away', async () => {
    const controlPlane = await harness.start({ registrationGraceMs: 0 })
    const stream = harness.registry(await harness.channel(controlPlane, 'payments'))
    await stream.register({ instanceId: 'i', endpoints: [endpoint] })
    const name = 'outbound|8080||payments.default.svc.cluster.local'
    const client = harness.ads(await harness.channel(controlPlane, 'orders'))
    await served(controlPlane)
    client.send({ node, typeUrl: TypeUrl.endpoints, resourceNames: [name] })
    const before = await client.response(0)
    client.ack(before, name)
    stream.close()
    const after = await client.response(1)
    expect(after.resources[0]!.value.length).toBeLessThan(before.resources[0]!.value.length)
  })
})

describe('configuration', () => {
  const split = (v1: number) =>
    `{ apiVersion: inmesh.dev/v1, kind: TrafficSplit, metadata: { name: payments }, spec: { destinationService: payments, v1Weight: ${v1}, v2Weight: ${100 - v1} } }`

  it('that is applied reaches those who asked, and nobody else', async () => {
    const controlPlane = await harness.start()
    const channel = await harness.channel(controlPlane, 'orders')
    const name = 'outbound|80||payments.default.svc.cluster.local'
    const stream = harness.registry(await harness.channel(controlPlane, 'payments'))
    await stream.register({ instanceId: 'i', endpoints: [{ address: '127.0.0.1', port: 80 }] })
    const concerned = harness.ads(channel)
    concerned.send({ node, typeUrl: TypeUrl.route, resourceNames: [name] })
    concerned.ack(await concerned.response(0), name)
    const other = harness.ads(channel)
    other.send({ node, typeUrl: TypeUrl.secret, resourceNames: ['ROOTCA'] })
    other.ack(await other.response(0), 'ROOTCA')
    await controlPlane.apply(split(90))
    await concerned.response(1)
    expect(other.responses).toHaveLength(1)
  })

  it('is served with the same bytes after a restart', async () => {
    const dataDir = await harness.folder()
    const read = async () => {
      const controlPlane = await harness.start({ dataDir })
      await controlPlane.apply(split(90))
      await served(controlPlane)
      const client = harness.ads(await harness.channel(controlPlane, 'orders'))
      client.send({ node, typeUrl: TypeUrl.listener, resourceNames: ['payments', 'payments.default:8080'] })
      const { resources, versionInfo } = await client.response(0)
      await controlPlane.close(0)
      return { resources: resources.map((r) => r.value), versionInfo }
    }
    const first = await read()
    expect(first.resources).toHaveLength(2)
    expect(await read()).toEqual(first)
  })
})
