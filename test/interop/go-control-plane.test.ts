import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { status } from '@grpc/grpc-js'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createMesh, getPeer, type Mesh, silentLogger } from '../../src/index.ts'
import { echo, RawClient, rawService, unary } from '../support/grpc-client.ts'
import { createTestCa } from '../support/test-ca.ts'
import { GoControlPlane } from './support/go-control-plane.ts'
import { goControlPlane } from './support/toolchains.ts'

// Building it for the first time takes a minute or two.
const peer = await goControlPlane()
const missing = 'missing' in peer.start ? peer.start.missing : null
if (missing !== null) console.log(`not run: ${peer.name} (${missing})`)

const eventually = (holds: () => unknown) => vi.waitFor(holds, { timeout: 20_000, interval: 30 })

describe.skipIf(missing !== null)(`go-control-plane as control plane${missing === null ? '' : ` (${missing})`}`, () => {
  let plane: GoControlPlane
  let folder: string
  const closing: (() => Promise<unknown>)[] = []

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'inmesh-gcp-'))
    plane = await GoControlPlane.start(peer)
  })

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close()
    await plane.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  const joinPlane = async (bootstrap: Record<string, unknown> = {}): Promise<Mesh> => {
    const servers = [{ server_uri: plane.target, channel_creds: [{ type: 'insecure' }], server_features: ['xds_v3'] }]
    const mesh = await createMesh({
      controlPlane: { bootstrap: { xds_servers: servers, node: { id: 'n1', cluster: 'client.demo' }, ...bootstrap } },
      adminPort: false,
      logger: silentLogger,
      handleSignals: false,
    })
    closing.push(() => mesh.close({ drainMs: 0, graceMs: 100 }))
    return mesh
  }

  const backend = async (name: string): Promise<string> => {
    const server: Server = createServer((_req, res) => res.end(name))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(
      () =>
        new Promise((resolve) => {
          server.close(resolve)
          server.closeAllConnections()
        }),
    )
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  const get = async (mesh: Mesh, headers: Record<string, string> = {}) => {
    const response = await mesh.fetch('http://echo:8080/', { headers })
    return `${response.status} ${await response.text()}`
  }

  const identity = (ca: ReturnType<typeof createTestCa>, name: string) => {
    const { certPem, keyPem } = ca.issue(`spiffe://demo/ns/demo/sa/${name}`)
    const file = (kind: string, text: string) => {
      const path = join(folder, `${name}-${kind}.pem`)
      writeFileSync(path, text)
      return path
    }
    const config = {
      certificate_file: file('cert', certPem),
      private_key_file: file('key', keyPem),
      ca_certificate_file: file('ca', ca.rootPem),
      refresh_interval: '1s',
    }
    return { files: { plugin_name: 'file_watcher', config } }
  }

  it('routes, splits, and changes while calls are made', async () => {
    const clusters = { a: { endpoints: [await backend('a')] }, b: { endpoints: [await backend('b')] } }
    const listeners = ['echo:8080']
    await plane.set({
      listeners,
      clusters,
      routes: [
        { prefix: '/', header: { 'x-user': 'beta' }, clusters: { b: 1 } },
        { prefix: '/', clusters: { a: 1 } },
      ],
    })
    const mesh = await joinPlane()
    await mesh.ready()
    expect(await get(mesh)).toBe('200 a')
    expect(await get(mesh, { 'x-user': 'beta' })).toBe('200 b')

    await plane.set({ listeners, clusters, routes: [{ prefix: '/', clusters: { a: 50, b: 50 } }] })
    const seen = new Set<string>()
    await eventually(async () => {
      seen.add(await get(mesh))
      expect(seen.size).toBe(2)
    })

    // No call fails while an endpoint is replaced.
    const answers: string[] = []
    let changing = true
    const calls = (async () => {
      while (changing) answers.push(await get(mesh))
    })()
    const moved = { a: { endpoints: [await backend('moved')] } }
    await plane.set({ listeners, clusters: moved, routes: [{ prefix: '/', clusters: { a: 1 } }] })
    await eventually(() => expect(answers.at(-1)).toBe('200 moved'))
    changing = false
    await calls
    expect(new Set(answers.map((answer) => answer.slice(0, 3)))).toEqual(new Set(['200']))
    expect(plane.nacks).toEqual([])
  })

  it('goes on with the last good version of what is refused', async () => {
    const good = { listeners: ['echo:8080'], clusters: { a: { endpoints: [await backend('a')] } } }
    const routes = [{ prefix: '/', clusters: { a: 1 } }]
    await plane.set({ ...good, routes })
    const mesh = await joinPlane()
    expect(await get(mesh)).toBe('200 a')
    await plane.set({ ...good, routes, broken: true })
    await eventually(() => expect(plane.nacks[0]).toContain('RouteConfiguration routes: virtual_hosts[0].domains[0]'))
    expect(await get(mesh)).toBe('200 a')
    await plane.set({ ...good, clusters: { a: { endpoints: [await backend('next')] } }, routes })
    await eventually(async () => expect(await get(mesh)).toBe('200 next'))
  })

  it('tells a server of the mesh whom to let in, and a client whom to believe, by certificates from files', async () => {
    const ca = createTestCa('demo')
    const template = 'grpc/server?xds.resource.listening_address=%s'
    const server = await joinPlane({
      certificate_providers: identity(ca, 'echo'),
      server_listener_resource_name_template: template,
    })
    const port = await freePort()
    const address = `127.0.0.1:${port}`
    const inbound = (allow: string[]) => ({
      servers: [{ name: template.replace('%s', address), host: '127.0.0.1', port, tls: true, allow }],
    })
    const outbound = (san: string) => ({
      listeners: ['echo:8080'],
      routes: [{ prefix: '/', clusters: { echo: 1 } }],
      clusters: { echo: { endpoints: [address], sans: [san] } },
    })
    const [me, echo] = ['spiffe://demo/ns/demo/sa/client', 'spiffe://demo/ns/demo/sa/echo']
    await plane.set({ ...outbound(echo), ...inbound([me]) })
    await server.createServer((req, res) => res.end(getPeer(req)?.spiffeId)).listen(port, '127.0.0.1')
    await server.ready()
    const client = await joinPlane({ certificate_providers: identity(ca, 'client') })
    expect(await get(client)).toBe(`200 ${me}`)

    await plane.set({ ...outbound(echo), ...inbound(['spiffe://demo/ns/demo/sa/other']) })
    await eventually(async () => expect((await get(client)).slice(0, 3)).toBe('403'))
    await plane.set({ ...outbound('spiffe://demo/ns/demo/sa/other'), ...inbound([me]) })
    await eventually(async () => expect((await get(client)).slice(0, 3)).toBe('503'))
    await plane.set({ ...outbound(echo), ...inbound([me]) })
    await eventually(async () => expect(await get(client)).toBe(`200 ${me}`))
    expect(plane.nacks).toEqual([])
  })

  it('is followed by clients and servers of gRPC', async () => {
    const ca = createTestCa('demo')
    const template = 'grpc/server?xds.resource.listening_address=%s'
    const provider = { certificate_providers: identity(ca, 'echo'), server_listener_resource_name_template: template }
    const served = await joinPlane(provider)
    const port = await freePort()
    const address = `127.0.0.1:${port}`
    const config = (allow: string) => ({
      listeners: ['echo:50051'],
      routes: [{ prefix: '/', clusters: { echo: 1 } }],
      clusters: { echo: { endpoints: [address], sans: ['spiffe://demo/ns/demo/sa/echo'] } },
      servers: [{ name: template.replace('%s', address), host: '127.0.0.1', port, tls: true, allow: [allow] }],
    })
    const me = 'spiffe://demo/ns/demo/sa/client'
    await plane.set(config(me))
    const server = served.grpc.server()
    server.addService(rawService, echo as never)
    await served.grpc.listen(server, address)
    await served.ready()
    const mesh = await joinPlane({ certificate_providers: identity(ca, 'client') })
    const client = mesh.grpc.client(RawClient, 'xds:///echo:50051')
    expect((await unary(client, 'hello')).text).toBe('hello')
    await plane.set(config('spiffe://demo/ns/demo/sa/other'))
    await eventually(() => expect(unary(client, 'hello')).rejects.toMatchObject({ code: status.PERMISSION_DENIED }))
    await plane.set(config(me))
    await eventually(async () => expect((await unary(client, 'again')).text).toBe('again'))
    expect(plane.nacks).toEqual([])
  })

  it('falls back to the next server until the first one answers', async () => {
    const config = async (name: string) => ({
      listeners: ['echo:8080'],
      routes: [{ prefix: '/', clusters: { a: 1 } }],
      clusters: { a: { endpoints: [await backend(name)] } },
    })
    const second = await GoControlPlane.start(peer)
    closing.push(() => second.stop())
    await second.set(await config('second'))
    const first = plane.port
    await plane.stop()
    const server = (port: number) => ({ server_uri: `127.0.0.1:${port}`, channel_creds: [{ type: 'insecure' }] })
    const mesh = await joinPlane({ xds_servers: [server(first), server(second.port)] })
    expect(await get(mesh)).toBe('200 second')
    plane = await GoControlPlane.start(peer, first)
    await plane.set(await config('first'))
    await eventually(async () => expect(await get(mesh)).toBe('200 first'))
  })
})

async function freePort(): Promise<number> {
  const server = createTcpServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
