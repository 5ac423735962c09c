import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server as HttpServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create } from '@bufbuild/protobuf'
import {
  credentials,
  getChannelzServiceDefinition,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  status,
} from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ClusterSchema } from '../../src/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ListenerSchema } from '../../src/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../src/gen/envoy/config/route/v3/route_pb.js'
import { HttpConnectionManagerSchema } from '../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { CertificateValidationContextSchema } from '../../src/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import {
  CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../src/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { ClientStatusResponse } from '../../src/gen/envoy/service/status/v3/csds_pb.js'
import { createMesh, getPeer, type Mesh, silentLogger } from '../../src/index.ts'
import type { MeshOptions } from '../../src/options.ts'
import { clientStatusService } from '../../src/xds/csds.ts'
import { TypeUrl } from '../../src/xds/proto.ts'
import { RawClient, serveRaw, unary } from '../support/grpc-client.ts'
import { SnapshotAds } from '../support/snapshot-ads.ts'
import { createTestCa } from '../support/test-ca.ts'
import {
  anyOf,
  cluster,
  clusterInit,
  endpoints,
  listener,
  route,
  routeInit,
  routerFilter,
} from '../support/xds-resources.ts'

let ads: SnapshotAds
let folder: string
const closing: (() => Promise<unknown> | undefined)[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'inmesh-foreign-'))
  ads = await new SnapshotAds().start()
})

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
  ads.stop()
  rmSync(folder, { recursive: true, force: true })
})

const eventually = (holds: () => unknown, timeout = 15_000) => vi.waitFor(holds, { timeout, interval: 30 })

const xdsServer = (target: string, ...features: string[]) => ({
  server_uri: target,
  channel_creds: [{ type: 'insecure' }],
  server_features: ['xds_v3', ...features],
})

async function joinPlane(bootstrap: Record<string, unknown> = {}, options: MeshOptions = {}): Promise<Mesh> {
  const mesh = await createMesh({
    service: 'client',
    controlPlane: { bootstrap: { xds_servers: [xdsServer(ads.target)], node: { id: 'n1' }, ...bootstrap } },
    adminPort: false,
    logger: silentLogger,
    handleSignals: false,
    ...options,
  })
  closing.push(() => mesh.close({ drainMs: 0, graceMs: 100 }))
  return mesh
}

/** A plain backend, with TLS where asked for. @returns "address:port" */
async function backend(name: string, tls?: Parameters<typeof createTlsServer>[0]): Promise<string> {
  const answer: RequestListener = (_req, res) => res.end(name)
  const made: HttpServer = tls === undefined ? createServer(answer) : createTlsServer(tls, answer)
  await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve))
  closing.push(
    () =>
      new Promise((resolve) => {
        made.close(resolve)
        made.closeAllConnections()
      }),
  )
  return `127.0.0.1:${(made.address() as AddressInfo).port}`
}

const get = async (mesh: Mesh, url = 'http://echo/') => {
  const response = await mesh.fetch(url)
  return `${response.status} ${await response.text()}`
}

const serveEcho = (to: string) => {
  ads.set(listener('echo', 'routes'), route('routes', 'backend'), cluster('backend'), endpoints('backend', to))
}

describe('a foreign control plane', () => {
  it('is followed without certificate and registration: routes, splits, changes', async () => {
    const [a, b] = [await backend('a'), await backend('b')]
    serveEcho(a)
    const mesh = await joinPlane({ node: { id: 'node-7', cluster: 'shop.demo', metadata: { TEAM: 'x', N: 3 } } })
    await mesh.ready()
    expect(await get(mesh)).toBe('200 a')
    expect(ads.nodes[0]).toMatchObject({ id: 'node-7', cluster: 'shop.demo', metadata: { TEAM: 'x', N: 3 } })

    ads.set(cluster('other'), endpoints('other', b))
    ads.set(anyOf(RouteConfigurationSchema, routeInit('routes', { backend: 1, other: 1 })))
    const seen = new Set<string>()
    await eventually(async () => {
      seen.add(await get(mesh))
      expect(seen.size).toBe(2)
    })
    ads.set(route('routes', 'other'))
    await eventually(async () =>
      expect(await Promise.all([get(mesh), get(mesh), get(mesh)])).toEqual(Array(3).fill('200 b')),
    )
    expect(ads.nacks).toEqual([])
  })

  it('is asked by the template for what is dialled', async () => {
    ads.set(listener('svc/echo:8080', 'routes'), route('routes', 'backend'), cluster('backend'))
    ads.set(endpoints('backend', await backend('a')))
    const mesh = await joinPlane({ client_default_listener_resource_name_template: 'svc/%s' })
    expect(await get(mesh, 'http://echo:8080/')).toBe('200 a')
  })

  it('keeps the last good version of what it refuses, and of what is deleted', async () => {
    const a = await backend('a')
    serveEcho(a)
    const mesh = await joinPlane()
    expect(await get(mesh)).toBe('200 a')
    ads.set(
      anyOf(RouteConfigurationSchema, { ...routeInit('routes', { backend: 1 }), virtualHosts: [{ domains: ['a*b'] }] }),
    )
    await eventually(() => expect(ads.nacks.join()).toContain('virtual_hosts[0].domains[0]'))
    expect(await get(mesh)).toBe('200 a')
    ads.remove(TypeUrl.listener, 'echo')
    ads.remove(TypeUrl.cluster, 'backend')
    await eventually(() => {
      const xds = JSON.stringify(mesh.status())
      expect(xds).toContain('"state":"DOES_NOT_EXIST"')
    })
    expect(await get(mesh)).toBe('200 a')
  })

  it('may ask for deletions to count', async () => {
    serveEcho(await backend('a'))
    const mesh = await joinPlane({ xds_servers: [xdsServer(ads.target, 'fail_on_data_errors')] })
    expect(await get(mesh)).toBe('200 a')
    ads.remove(TypeUrl.listener, 'echo')
    await eventually(async () => expect((await get(mesh)).slice(0, 3)).toBe('502'))
  })
})

describe('an xDS server behind TLS (A65)', () => {
  it('must be who its name says, and is shown a certificate', async () => {
    const ca = createTestCa('demo')
    const [server, own] = [ca.issue('', { uris: [], dns: ['localhost'] }), ca.issue('spiffe://demo/client')]
    const write = (name: string, text: string) => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    }
    const secure = await new SnapshotAds(
      ServerCredentials.createSsl(
        Buffer.from(ca.rootPem),
        [{ cert_chain: Buffer.from(server.certPem), private_key: Buffer.from(server.keyPem) }],
        true,
      ),
    ).start()
    closing.push(async () => secure.stop())
    secure.set(listener('echo', 'routes'), route('routes', 'backend'), cluster('backend'))
    secure.set(endpoints('backend', await backend('a')))
    const config = {
      ca_certificate_file: write('ca.pem', ca.rootPem),
      certificate_file: write('own.pem', own.certPem),
      private_key_file: write('own.key', own.keyPem),
    }
    const to = (host: string) => ({
      xds_servers: [{ server_uri: `${host}:${secure.port}`, channel_creds: [{ type: 'tls', config }] }],
    })
    expect(await get(await joinPlane(to('localhost')))).toBe('200 a')
    const wrong = await joinPlane(to('127.0.0.1'))
    await eventually(() =>
      expect(JSON.stringify(wrong.status().xds)).toContain("IP: 127.0.0.1 is not in the cert's list"),
    )
  })
})

describe('admin services', () => {
  it('tell what a client holds, and about channels', async () => {
    serveEcho(await backend('a'))
    const mesh = await joinPlane()
    expect(await get(mesh)).toBe('200 a')
    const admin = new Server()
    mesh.grpc.addAdminServices(admin)
    const port = await new Promise<number>((resolve, reject) =>
      admin.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (e, bound) =>
        e ? reject(e) : resolve(bound),
      ),
    )
    closing.push(async () => admin.forceShutdown())
    const CsdsClient = makeGenericClientConstructor(clientStatusService, 'csds')
    const csds = new CsdsClient(`127.0.0.1:${port}`, credentials.createInsecure())
    closing.push(async () => csds.close())
    const [answer] = await new Promise<ClientStatusResponse[]>((resolve, reject) => {
      const seen: ClientStatusResponse[] = []
      const call = csds.StreamClientStatus!()
      call.on('data', (response: ClientStatusResponse) => seen.push(response))
      call.on('error', reject)
      call.on('end', () => resolve(seen))
      call.end({})
    })
    const resources = answer!.config[0]!.genericXdsConfigs
    expect(resources.map((r) => `${r.name} ${r.clientStatus}`)).toEqual([
      'echo 3',
      'routes 3',
      'backend 3',
      'backend 3',
    ])
    await new Promise<void>((resolve, reject) =>
      csds.FetchClientStatus!({ nodeMatchers: [{}] }, (error: { code: number } | null) =>
        error?.code === status.INVALID_ARGUMENT ? resolve() : reject(error),
      ),
    )
    const Channelz = makeGenericClientConstructor(getChannelzServiceDefinition(), 'channelz')
    const channelz = new Channelz(`127.0.0.1:${port}`, credentials.createInsecure())
    closing.push(async () => channelz.close())
    const { channel } = await new Promise<{ channel: unknown[] }>((resolve, reject) =>
      channelz.GetTopChannels!({}, (error: Error | null, response: { channel: unknown[] }) =>
        error === null ? resolve(response) : reject(error),
      ),
    )
    expect(channel.length).toBeGreaterThan(0)
  })
})

describe('further xDS servers', () => {
  it('are asked while the first is away, until it answers', async () => {
    serveEcho(await backend('primary'))
    const second = await new SnapshotAds().start()
    closing.push(async () => second.stop())
    second.set(listener('echo', 'routes'), route('routes', 'backend'), cluster('backend'))
    second.set(endpoints('backend', await backend('second')))
    const first = ads.target
    ads.stop()
    const mesh = await joinPlane({ xds_servers: [xdsServer(first), xdsServer(second.target)] })
    expect(await get(mesh)).toBe('200 second')
    await ads.start()
    await eventually(async () => expect(await get(mesh)).toBe('200 primary'), 20_000)
    await eventually(() => expect(second.streams).toBe(0))
  })

  it('are not asked while all that is needed is known', async () => {
    serveEcho(await backend('primary'))
    const second = await new SnapshotAds().start()
    closing.push(async () => second.stop())
    second.set(listener('other', 'others'), route('others', 'more'), cluster('more'))
    second.set(endpoints('more', await backend('second')))
    const mesh = await joinPlane({ xds_servers: [xdsServer(ads.target), xdsServer(second.target)] })
    expect(await get(mesh)).toBe('200 primary')
    ads.stop()
    await eventually(() => expect(mesh.status().xds).toMatchObject({ connected: false }))
    expect(await get(mesh)).toBe('200 primary')
    expect(second.nodes).toEqual([])
    // A name of which nothing is known brings the next server in.
    expect(await get(mesh, 'http://other/')).toBe('200 second')
  })
})

describe('federation', () => {
  it('asks the servers of an authority for its names', async () => {
    const other = await new SnapshotAds().start()
    closing.push(async () => other.stop())
    const name = 'xdstp://east.example/envoy.config.listener.v3.Listener/echo:80'
    const type = (kind: string, id: string) => `xdstp://east.example/envoy.config.${kind}/${id}`
    const [table, target, eds] = [
      type('route.v3.RouteConfiguration', 'r'),
      type('cluster.v3.Cluster', 'c'),
      type('endpoint.v3.ClusterLoadAssignment', 'e'),
    ]
    other.set(listener(name, table), route(table, target), cluster(target, eds), endpoints(eds, await backend('east')))
    const mesh = await joinPlane({
      authorities: { 'east.example': { xds_servers: [xdsServer(other.target)] } },
      client_default_listener_resource_name_template: 'xdstp://east.example/envoy.config.listener.v3.Listener/%s:80',
    })
    expect(await get(mesh)).toBe('200 east')
    expect(ads.nodes).toEqual([])
  })

  it('refuses what leads to an authority that the bootstrap does not have', async () => {
    ads.set(listener('echo', 'routes'), route('routes', 'xdstp://nowhere/envoy.config.cluster.v3.Cluster/c'))
    const mesh = await joinPlane()
    expect(await get(mesh)).toMatch(/^503 /)
  })

  it('is what targets of gRPC with an authority mean', async () => {
    const other = await new SnapshotAds().start()
    closing.push(async () => other.stop())
    const server = await serveRaw()
    closing.push(async () => server.close())
    const [host] = routeInit('r', { c: 1 }).virtualHosts!
    // Hosts are found by the name alone.
    const table = { name: 'r', virtualHosts: [{ ...host, domains: ['echo'] }] as never }
    other.set(listener('xdstp://west/envoy.config.listener.v3.Listener/echo', 'r'))
    ads.set(anyOf(RouteConfigurationSchema, table), cluster('c'), endpoints('c', `127.0.0.1:${server.port}`))
    const mesh = await joinPlane({
      authorities: { west: { xds_servers: [xdsServer(other.target)] } },
    })
    const client = mesh.grpc.client(RawClient, 'xds://west/echo')
    expect((await unary(client, 'hi')).text).toBe('hi')
    const nobody = mesh.grpc.client(RawClient, 'xds://nowhere/echo')
    await expect(unary(nobody, 'hi')).rejects.toMatchObject({ code: status.UNAVAILABLE })
  })
})

describe('mutual TLS from files', () => {
  const validation = (sans: string[]) => {
    const caCertificateProviderInstance = { instanceName: 'files', certificateName: 'ROOTCA' }
    const matchSubjectAltNames = sans.map((value) => ({ matchPattern: { case: 'exact' as const, value } }))
    return create(CertificateValidationContextSchema, { caCertificateProviderInstance, matchSubjectAltNames })
  }
  const inbound = (name: string) => {
    const manager = anyOf(HttpConnectionManagerSchema, {
      routeSpecifier: {
        case: 'routeConfig',
        value: create(RouteConfigurationSchema, {
          virtualHosts: [
            {
              domains: ['*'],
              routes: [
                {
                  match: { pathSpecifier: { case: 'prefix', value: '' } },
                  action: { case: 'nonForwardingAction', value: {} },
                },
              ],
            },
          ],
        }),
      },
      httpFilters: [routerFilter],
    })
    const tls = anyOf(DownstreamTlsContextSchema, {
      requireClientCertificate: true,
      commonTlsContext: create(CommonTlsContextSchema, {
        tlsCertificateProviderInstance: { instanceName: 'files' },
        validationContextType: { case: 'validationContext', value: validation([]) },
      }),
    })
    return anyOf(ListenerSchema, {
      name,
      filterChains: [
        {
          filters: [{ name: 'hcm', configType: { case: 'typedConfig', value: manager } }],
          transportSocket: { name: 'tls', configType: { case: 'typedConfig', value: tls } },
        },
      ],
    })
  }
  const upstream = (...sans: string[]) =>
    anyOf(ClusterSchema, {
      ...clusterInit('backend'),
      transportSocket: {
        name: 'envoy.transport_sockets.tls',
        configType: {
          case: 'typedConfig',
          value: anyOf(UpstreamTlsContextSchema, {
            commonTlsContext: create(CommonTlsContextSchema, {
              tlsCertificateProviderInstance: { instanceName: 'files', certificateName: 'default' },
              validationContextType: {
                case: 'validationContext',
                value: validation(sans),
              },
            }),
          }),
        },
      },
    })

  it('shows the certificate of the provider and judges the server by roots and names', async () => {
    const ca = createTestCa('demo')
    const own = ca.issue('spiffe://demo/ns/demo/sa/client')
    const peer = ca.issue('spiffe://demo/ns/demo/sa/echo')
    const write = (name: string, text: string) => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    }
    const target = await backend('secure', {
      cert: peer.certPem,
      key: peer.keyPem,
      ca: ca.rootPem,
      requestCert: true,
      rejectUnauthorized: true,
    })
    ads.set(listener('echo', 'routes'), route('routes', 'backend'), upstream('spiffe://demo/ns/demo/sa/echo'))
    ads.set(endpoints('backend', target))
    const mesh = await joinPlane({
      certificate_providers: {
        files: {
          plugin_name: 'file_watcher',
          config: {
            certificate_file: write('cert.pem', own.certPem),
            private_key_file: write('key.pem', own.keyPem),
            ca_certificate_file: write('ca.pem', ca.rootPem),
            refresh_interval: '1s',
          },
        },
      },
    })
    await mesh.ready()
    expect(await get(mesh)).toBe('200 secure')
    expect(mesh.status().certificate).toMatchObject({ spiffeId: 'spiffe://demo/ns/demo/sa/client' })

    ads.set(upstream('spiffe://demo/ns/demo/sa/somebody-else'))
    await eventually(async () => expect((await get(mesh)).slice(0, 3)).toBe('503'))
    ads.set(upstream())
    await eventually(async () => expect(await get(mesh)).toBe('200 secure'))
    expect(ads.nacks).toEqual([])
  })

  it('shows a renewed certificate on new connections, and judges by a map of SPIFFE bundles (A87)', async () => {
    const [ca, others] = [createTestCa('demo'), createTestCa('others')]
    const write = (name: string, text: string) => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    }
    const keys = ({ rootDer }: typeof ca) => [{ use: 'x509-svid', x5c: [rootDer.toString('base64')] }]
    const map = { trust_domains: { demo: { keys: keys(ca) }, others: { keys: keys(others) } } }
    const files = (name: string, leaf: ReturnType<typeof ca.issue>) => ({
      plugin_name: 'file_watcher',
      config: {
        certificate_file: write(`${name}.pem`, leaf.certPem),
        private_key_file: write(`${name}.key`, leaf.keyPem),
        spiffe_trust_bundle_map_file: write(`${name}.map`, JSON.stringify(map)),
        refresh_interval: '0.05s',
      },
    })
    const template = 'in/%s'
    const server = await joinPlane({
      certificate_providers: { files: files('echo', others.issue('spiffe://others/echo')) },
      server_listener_resource_name_template: template,
    })
    const serials: string[] = []
    const served = server.createServer((req, res) => {
      serials.push(getPeer(req)!.serialNumber)
      res.setHeader('connection', 'close').end(getPeer(req)!.spiffeId)
    })
    const { port } = await served.listen(0, '127.0.0.1')
    ads.set(inbound(`in/127.0.0.1:${port}`), listener('echo', 'routes'), route('routes', 'backend'))
    ads.set(endpoints('backend', `127.0.0.1:${port}`), upstream('spiffe://others/echo'))
    await server.ready()
    const me = 'spiffe://demo/client'
    const client = await joinPlane({ certificate_providers: { files: files('client', ca.issue(me)) } })
    expect(await get(client)).toBe(`200 ${me}`)

    const renewed = ca.issue(me)
    write('client.pem', renewed.certPem)
    write('client.key', renewed.keyPem)
    await eventually(async () => {
      expect(await get(client)).toBe(`200 ${me}`)
      expect(new Set(serials).size).toBe(2)
    })
    // Of the same root, but not by the right one for its trust domain.
    ads.set(upstream('spiffe://demo/echo'))
    await eventually(async () => expect((await get(client)).slice(0, 3)).toBe('503'))
    expect(ads.nacks).toEqual([])
  })

  it('refuses a cluster that names an instance that is not in the bootstrap', async () => {
    ads.set(listener('echo', 'routes'), route('routes', 'backend'), upstream(), endpoints('backend', '127.0.0.1:1'))
    const mesh = await joinPlane()
    expect((await get(mesh)).slice(0, 3)).toBe('503')
    await eventually(() =>
      expect(ads.nacks.join()).toContain('"files" is not in certificate_providers of the bootstrap'),
    )
  })
})
