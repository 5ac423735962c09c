import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials } from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ScriptedAds, type ScriptedStream } from '../../test/support/scripted-ads.ts'
import { anyOf, cluster, clusterInit, endpoints, listener, route } from '../../test/support/xds-resources.ts'
import { ClusterSchema, Cluster_LbPolicy as LbPolicy } from '../gen/envoy/config/cluster/v3/cluster_pb.js'
import { systemClock } from '../model/clock.ts'
import { silentLogger } from '../model/logger.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { ResourceCache } from './cache.ts'
import { XdsClient, type XdsClientOptions } from './client.ts'
import { grpcTransport } from './grpc-transport.ts'
import { workloadNode } from './node.ts'
import { TypeUrl } from './proto.ts'

const node = workloadNode(
  {
    service: 'orders',
    namespace: 'shop',
    serviceAccount: 'orders-sa',
    trustDomain: 'cluster.local',
    labels: { app: 'orders', version: 'v1' },
    locality: 'r1/z1/s1',
    instanceId: 'i-1',
  },
  '0.1.0',
)

describe('the client over gRPC', () => {
  let server: ScriptedAds
  let folder: string
  const clients: XdsClient[] = []
  const snapshots: Snapshot[] = []
  const events: string[] = []

  const make = (options: Partial<XdsClientOptions> = {}) => {
    const client = new XdsClient({
      node,
      transport: grpcTransport(() => ({ target: server.target, credentials: credentials.createInsecure() })),
      clock: systemClock,
      random: { u32: () => 0 },
      logger: silentLogger,
      events: {
        connection: (connected) => events.push(connected ? 'up' : 'down'),
        nack: (nack) => events.push(`nack ${nack.errors.join()}`),
        warning: ({ name, message }) => events.push(`warning ${name} ${message}`),
      },
      onSnapshot: (snapshot) => snapshots.push(snapshot),
      ...options,
    })
    clients.push(client)
    return client
  }

  const serve = async (stream: ScriptedStream, version: string, address: string) => {
    await stream.request(TypeUrl.listener)
    stream.respond(TypeUrl.listener, version, [listener('payments', 'r')])
    await stream.request(TypeUrl.route)
    stream.respond(TypeUrl.route, version, [route('r', 'c')])
    await stream.request(TypeUrl.cluster)
    stream.respond(TypeUrl.cluster, version, [cluster('c')])
    await stream.request(TypeUrl.endpoints)
    stream.respond(TypeUrl.endpoints, version, [endpoints('c', address)])
  }
  const published = (n: number) => expect.poll(() => snapshots.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(n)

  beforeEach(async () => {
    server = await ScriptedAds.start()
    folder = mkdtempSync(join(tmpdir(), 'inmesh-xds-'))
    snapshots.length = 0
    events.length = 0
  })
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.close()))
    server.close()
    await rm(folder, { recursive: true, force: true })
  })

  it('says who it is, and publishes what it was told', async () => {
    const client = make()
    client.watchAuthority('payments')
    client.start()
    const stream = await server.stream()
    await serve(stream, 'v1', '10.0.0.1:80')
    await published(1)
    expect(client.snapshot.clusters.get('c')?.endpoints[0]?.address).toBe('10.0.0.1')
    expect(stream.requests[0]?.node).toMatchObject({
      id: 'sidecar~127.0.0.1~i-1.shop~shop.svc.cluster.local',
      cluster: 'orders.shop',
      userAgentName: 'inmesh',
      userAgentVersionType: { case: 'userAgentVersion', value: '0.1.0' },
      locality: { region: 'r1', zone: 'z1', subZone: 's1' },
      metadata: {
        NAMESPACE: 'shop',
        SERVICE: 'orders',
        SERVICE_ACCOUNT: 'orders-sa',
        INSTANCE_ID: 'i-1',
        LABELS: { app: 'orders', version: 'v1' },
      },
    })
    await stream.request((r) => r.typeUrl === TypeUrl.endpoints && r.versionInfo === 'v1')
    expect(stream.rules.breaches).toEqual([])
    expect(client.status()).toMatchObject({ connected: true, lastError: '' })
    expect(client.status().lastUpdateAgeMs).toBeLessThan(5_000)
    const clusters = client.status().types.find((t) => t.typeUrl === TypeUrl.cluster)
    expect(clusters).toMatchObject({ version: 'v1', resources: [{ name: 'c', state: 'ACKED', version: 'v1' }] })
  })

  it('puts everything that comes in one turn into one snapshot', async () => {
    const client = make()
    client.watchAuthority('payments')
    client.start()
    await serve(await server.stream(), 'v1', '10.0.0.1:80')
    await published(1)
    expect(snapshots).toHaveLength(1)
  })

  it('comes back after the server was gone, asks for everything again and keeps serving meanwhile', async () => {
    const client = make()
    client.watchAuthority('payments')
    client.start()
    await serve(await server.stream(), 'v1', '10.0.0.1:80')
    await published(1)
    const before = client.snapshot
    const { port } = server
    server.close()
    await expect.poll(() => events.at(-1)).toBe('down')
    expect(client.snapshot).toBe(before)
    server = await ScriptedAds.start(undefined, port)
    const stream = await server.stream()
    const request = await stream.request(TypeUrl.endpoints)
    expect(request).toMatchObject({ resourceNames: ['c'], versionInfo: 'v1', responseNonce: '' })
    stream.respond(TypeUrl.endpoints, 'v2', [endpoints('c', '10.0.0.2:80')])
    await published(2)
    expect(client.snapshot.clusters.get('c')?.endpoints[0]?.address).toBe('10.0.0.2')
    expect(stream.rules.breaches).toEqual([])
  })

  it('opens a new stream at once when it is told to, with new credentials', async () => {
    let targets = 0
    const transport = grpcTransport(() => {
      targets++
      return { target: server.target, credentials: credentials.createInsecure() }
    })
    const client = make({ transport })
    client.watchAuthority('payments')
    client.start()
    const first = await server.stream()
    await serve(first, 'v1', '10.0.0.1:80')
    await published(1)
    client.reconnect()
    const second = await server.stream()
    await second.request(TypeUrl.cluster)
    await first.gone
    expect(targets).toBe(2)
    expect(client.snapshot).toBe(snapshots[0])
  })

  it('reports what it refuses, and why an authority cannot be called', async () => {
    const client = make()
    client.watchAuthority('payments')
    client.start()
    const stream = await server.stream()
    await stream.request(TypeUrl.listener)
    stream.respond(TypeUrl.listener, 'v1', [listener('payments', '')])
    const nack = await stream.request((r) => r.errorDetail !== undefined)
    expect(nack.errorDetail?.message).toBe(
      'Listener payments: api_listener.api_listener.rds.route_config_name: is missing',
    )
    await published(1)
    expect(client.snapshot.listeners.get('payments')?.routes.name).toBe('refused')
    expect(events).toContain(`nack ${nack.errorDetail?.message}`)
    expect(client.authorityProblem('payments')).toContain(nack.errorDetail?.message)
    expect(client.authorityProblem('payments')).toContain(node.id)
  })

  it('warns once of what has no effect', async () => {
    const client = make()
    client.watchAuthority('payments')
    client.start()
    const stream = await server.stream()
    await stream.request(TypeUrl.listener)
    stream.respond(TypeUrl.listener, 'v1', [listener('payments', 'r')])
    await stream.request(TypeUrl.route)
    stream.respond(TypeUrl.route, 'v1', [route('r', 'c')])
    await stream.request(TypeUrl.cluster)
    for (const version of ['v1', 'v2']) {
      const init = { ...clusterInit('c'), lbSubsetConfig: {}, altStatName: version }
      stream.respond(TypeUrl.cluster, version, [anyOf(ClusterSchema, init)])
      await stream.request((r) => r.versionInfo === version)
    }
    expect(events.filter((e) => e.startsWith('warning'))).toEqual([
      'warning c lb_subset_config: not supported, has no effect',
    ])
  })

  it('uses the good part of a response with a bad one', async () => {
    const client = make()
    client.watchAuthority('payments')
    client.start()
    const stream = await server.stream()
    await stream.request(TypeUrl.listener)
    stream.respond(TypeUrl.listener, 'v1', [listener('payments', 'r')])
    await stream.request(TypeUrl.route)
    stream.respond(TypeUrl.route, 'v1', [route('r', 'good', 'bad')])
    await stream.request(TypeUrl.cluster)
    const bad = anyOf(ClusterSchema, { ...clusterInit('bad'), lbPolicy: LbPolicy.CLUSTER_PROVIDED })
    stream.respond(TypeUrl.cluster, 'v1', [cluster('good'), bad])
    await stream.request(TypeUrl.endpoints)
    stream.respond(TypeUrl.endpoints, 'v1', [endpoints('good', '10.0.0.1:80')])
    await published(1)
    expect([...client.snapshot.clusters.keys()]).toEqual(['good'])
  })

  it('reads a response with a resource of 10 MiB, refuses it and stays connected', async () => {
    const client = make()
    client.watchAuthority('payments')
    client.start()
    const stream = await server.stream()
    await stream.request(TypeUrl.listener)
    const huge = listener('payments', 'r'.repeat(10 * 1024 * 1024))
    stream.respond(TypeUrl.listener, 'v1', [huge])
    const nack = await stream.request((r) => r.errorDetail !== undefined)
    expect(nack.errorDetail?.message).toContain('limit of 4 MiB')
    stream.respond(TypeUrl.listener, 'v2', [listener('payments', 'r')])
    await stream.request(TypeUrl.route)
    expect(server.opened).toBe(1)
  })

  it('drops a stream that sends garbage, and starts another', async () => {
    const client = make()
    client.watchAuthority('payments')
    client.start()
    const first = await server.stream()
    await first.request(TypeUrl.listener)
    first.raw(new Uint8Array([0xff, 0xff, 0xff]))
    await first.gone
    await serve(await server.stream(), 'v1', '10.0.0.1:80')
    await published(1)
  })

  it('is ready from disk within a second when there is no control plane, and says how old that is', async () => {
    const path = join(folder, 'snapshot.cache')
    const first = make({ cache: new ResourceCache({ path, logger: silentLogger }) })
    first.watchAuthority('payments')
    first.start()
    await serve(await server.stream(), 'v1', '10.0.0.1:80')
    await published(1)
    await first.close()
    server.close()

    const start = performance.now()
    const second = make({ cache: new ResourceCache({ path, logger: silentLogger }) })
    second.watchAuthority('payments')
    second.start()
    await published(2)
    expect(performance.now() - start).toBeLessThan(10_000)
    expect(second.snapshot.clusters.get('c')?.endpoints[0]?.address).toBe('10.0.0.1')
    expect(second.status()).toMatchObject({ connected: false })
    expect(second.status().cacheAgeMs).toBeLessThan(60_000)
    expect(second.status().lastError).toContain('14')
    expect(second.authorityProblem('orders')).toContain('not connected')
  })

  it('is silent after close', async () => {
    const client = make()
    client.watchAuthority('payments')
    client.start()
    const stream = await server.stream()
    await client.close()
    await stream.gone
    client.watchAuthority('other')
    client.reconnect()
    expect(server.opened).toBe(1)
    expect(snapshots).toEqual([])
  })
})
