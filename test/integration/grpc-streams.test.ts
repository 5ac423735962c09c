import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type ClientDuplexStream, type ClientReadableStream, Metadata, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Mesh } from '../../src/mesh.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'
import { RawClient } from '../support/grpc-client.ts'
import { eventually, Shop } from '../support/shop.ts'
import type { Order, Report } from './grpc-stream-peer.ts'

let shop: Shop
let web: Mesh
const started = new Set<ChildProcess>()

beforeAll(async () => {
  shop = await Shop.open()
  web = await shop.mesh('web')
}, 30_000)
afterAll(async () => {
  for (const child of started) child.kill('SIGKILL')
  await shop.close()
})

/** A replica in a process of its own, known to the others when it is there. Load is not shed because the machine is busy. */
async function replica(service: string): Promise<ChildProcess> {
  await shop.plane.apply(`
apiVersion: inmesh.dev/v1
kind: ServicePolicy
metadata: { name: ${service} }
spec: { service: ${service}, loadShedding: { enabled: false } }
`)
  const { token } = await shop.plane.createToken({ service })
  const child = fork(join(import.meta.dirname, 'grpc-stream-peer.ts'), {
    env: {
      ...process.env,
      INMESH_SERVICE: service,
      INMESH_CONTROL_PLANE: shop.plane.address,
      INMESH_TOKEN: token,
      INMESH_STATE_DIR: join(shop.folder, `${service}-${started.size}`),
    },
    execArgv: [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  started.add(child)
  await once(child, 'message')
  return child
}

async function order(child: ChildProcess, what: Order): Promise<Report> {
  const answer = once(child, 'message')
  child.send(what)
  return (await answer)[0]
}

interface HostStatus {
  readonly port: number
  readonly active: number
}

/** The endpoints of a service as a mesh sees them. */
function hostsOf(mesh: Mesh, service: string): HostStatus[] {
  const { clusters } = mesh.status() as { clusters: { name: string; hosts: HostStatus[] }[] }
  return clusters.filter(({ name }) => name.includes(`|${service}.`)).flatMap(({ hosts }) => hosts)
}

const activeAt = (mesh: Mesh, service: string) => hostsOf(mesh, service).reduce((sum, { active }) => sum + active, 0)

const known = async (mesh: Mesh, service: string, count: number) => {
  mesh.grpc.client(RawClient, service).waitForReady(Date.now() + 10_000, () => undefined)
  expect(
    await eventually(
      () => hostsOf(mesh, service).length,
      (n) => n === count,
    ),
  ).toBe(count)
}

/** A stream that is watched: what it brought, and how often it ended and with what. */
interface Watched<Stream> {
  readonly stream: Stream
  readonly codes: number[]
  readonly heard: string[]
  readonly ended: Promise<void>
  /** Until so many messages have come, or it has ended. */
  has(count: number): Promise<void>
}

function watch<Stream extends ClientReadableStream<Buffer>>(stream: Stream): Watched<Stream> {
  const codes: number[] = []
  const heard: string[] = []
  const end = Promise.withResolvers<void>()
  let wanted = Number.POSITIVE_INFINITY
  let reached = () => {}
  stream.on('data', (part: Buffer) => {
    heard.push(part.length < 100 ? part.toString() : '')
    if (heard.length >= wanted) reached()
  })
  stream.on('error', () => undefined)
  stream.on('status', ({ code }) => {
    codes.push(code)
    end.resolve()
    reached()
  })
  return {
    stream,
    codes,
    heard,
    ended: end.promise,
    has: (count) =>
      new Promise((resolve) => {
        wanted = count
        reached = resolve
        if (heard.length >= count || codes.length > 0) resolve()
      }),
  }
}

type Chat = Watched<ClientDuplexStream<Buffer, Buffer>>

/** Says it, and waits for its echo; the stream's first if `nth` is 1. */
async function say(chats: readonly Chat[], text: string, nth: number): Promise<void> {
  for (const { stream } of chats) stream.write(Buffer.from(text))
  for (const chat of chats) await chat.has(nth)
}

describe('streams between processes of the mesh', () => {
  // A sender that is not held up keeps nearly all of it: 1024 MiB. What is garbage but not collected yet counts, too.
  const LIMIT_MIB = 150

  it('of 1 GiB are held up by a slow reader, in both directions', async () => {
    const [client, server] = await Promise.all([replica('reader'), replica('store')])
    const transfer = async (what: 'download' | 'upload', messages: number) => {
      const { bytes, peakMiB } = await order(client, { do: what, service: 'store', messages })
      return { bytes, client: peakMiB, server: (await order(server, { do: 'look' })).peakMiB }
    }
    for (const what of ['download', 'upload'] as const) {
      const before = await transfer(what, 32)
      const after = await transfer(what, 1_024)
      expect(after.bytes).toBe(1_024 * 1024 * 1024)
      expect(after.client - before.client).toBeLessThan(LIMIT_MIB)
      expect(after.server - before.server).toBeLessThan(LIMIT_MIB)
    }
    expect((await order(client, { do: 'look' })).active).toBe(0)
  }, 120_000)

  it('are open 10,000 at a time, and leave nothing behind', async () => {
    const servers = await Promise.all([replica('crowd'), replica('crowd')])
    await known(web, 'crowd', 2)
    const client = web.grpc.client(RawClient, 'crowd')
    const chats: Chat[] = Array.from({ length: 10_000 }, () => watch(client.chat()))
    await say(chats, 'first', 1)
    expect(activeAt(web, 'crowd')).toBe(10_000)
    const open = async () =>
      (await Promise.all(servers.map((server) => order(server, { do: 'look' })))).map((r) => r.open)
    expect(await open()).toEqual([5_000, 5_000])
    await say(chats, 'second', 2)
    for (const { stream } of chats) stream.end()
    await Promise.all(chats.map(({ ended }) => ended))
    const wrong = chats.filter(({ codes, heard }) => `${codes} ${heard}` !== `${status.OK} first,second`)
    expect(wrong.map(({ codes, heard }) => ({ codes, heard }))).toEqual([])
    expect(activeAt(web, 'crowd')).toBe(0)
    expect(await eventually(open, ([a, b]) => a === 0 && b === 0)).toEqual([0, 0])
  }, 120_000)

  it('whose connection is reset end once, with a code that says so', async () => {
    const server = await replica('broken')
    await known(web, 'broken', 1)
    const proxy = await startFaultProxy(hostsOf(web, 'broken')[0]!.port)
    // The first three connections die after some of what they carry; the limits are no multiples of anything.
    proxy.plan = (index) => (index < 3 ? { response: { afterBytes: 3_000_017 * (index + 1), action: 'reset' } } : {})
    try {
      await shop.plane.store.endpoints.change(
        [
          {
            ...{ service: 'proxied', namespace: 'default', address: '127.0.0.1', port: proxy.port, locality: '' },
            ...{ labels: { app: 'proxied' }, weight: 1, health: 'HEALTHY', instanceId: 'proxied' },
            ...{ protocol: 'GRPC', spiffeId: 'spiffe://cluster.local/ns/default/sa/broken' },
          },
        ],
        [],
      )
      // What breaks so often would be kept out.
      await shop.plane.apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: proxied }
spec: { host: proxied, trafficPolicy: { outlierDetection: { consecutive5xxErrors: 0, maxEjectionPercent: 0 } } }
---
apiVersion: inmesh.dev/v1
kind: ServicePolicy
metadata: { name: proxied }
spec: { service: proxied, cbThreshold: 100 }
`)
      await known(web, 'proxied', 1)
      const client = web.grpc.client(RawClient, 'proxied')
      const counts: Record<number, number> = {}
      for (let round = 0; round < 4; round++) {
        const streams = Array.from({ length: 10 }, () => watch(client.expand(Buffer.from('2'))))
        const chats = Array.from({ length: 10 }, () => watch(client.chat()))
        for (const { stream } of chats) stream.write(Buffer.from('x'))
        await Promise.all(streams.map(({ ended }) => ended))
        for (const { stream } of chats) stream.end()
        await Promise.all(chats.map(({ ended }) => ended))
        for (const { codes, heard } of streams) {
          expect(codes).toHaveLength(1)
          if (codes[0] === status.OK) expect(heard).toHaveLength(2)
        }
        for (const { codes } of [...streams, ...chats]) {
          expect([status.OK, status.UNAVAILABLE]).toContain(codes[0])
          expect(codes).toHaveLength(1)
          counts[codes[0]!] = (counts[codes[0]!] ?? 0) + 1
        }
        expect(activeAt(web, 'proxied')).toBe(0)
      }
      expect(proxy.accepted).toBe(4)
      expect(counts[status.UNAVAILABLE]).toBeGreaterThan(0)
      expect(counts[status.OK]).toBeGreaterThanOrEqual(20)
      const open = async () => (await order(server, { do: 'look' })).open
      expect(await eventually(open, (n) => n === 0)).toBe(0)
    } finally {
      await proxy.close()
    }
  }, 60_000)

  it('go on after the GOAWAY of a server that leaves, while new ones go elsewhere', async () => {
    const [leaving] = await Promise.all([replica('parting'), replica('parting')])
    await known(web, 'parting', 2)
    const client = web.grpc.client(RawClient, 'parting')
    const old: Chat[] = Array.from({ length: 100 }, () => watch(client.chat()))
    await say(old, 'before', 1)
    let closed = false
    const leave = order(leaving!, { do: 'leave' }).then((report) => {
      closed = true
      return report
    })
    await known(web, 'parting', 1)
    const fresh: Chat[] = Array.from({ length: 50 }, () => watch(client.chat()))
    for (let n = 1; n <= 20; n++) {
      await Promise.all([say(old, 'during', n + 1), say(fresh, 'during', n)])
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    expect(closed).toBe(false)
    for (const { stream } of [...old, ...fresh]) stream.end()
    await Promise.all([...old, ...fresh].map(({ ended }) => ended))
    expect((await leave).open).toBe(0)
    for (const { codes, heard } of old) expect([codes, heard.length]).toEqual([[status.OK], 21])
    for (const { codes, heard } of fresh) expect([codes, heard.length]).toEqual([[status.OK], 20])
  }, 60_000)

  it('of a server that stands still are ended by keepalive, others go on', async () => {
    const [stopped] = await Promise.all([replica('frozen'), replica('frozen')])
    await known(web, 'frozen', 2)
    const client = web.grpc.client(RawClient, 'frozen', {
      'grpc.keepalive_time_ms': 1_000,
      'grpc.keepalive_timeout_ms': 2_000,
    })
    const chats: Chat[] = Array.from({ length: 20 }, () => watch(client.chat()))
    await say(chats, 'before', 1)
    stopped!.kill('SIGSTOP')
    const over = () => chats.filter(({ codes }) => codes.length > 0)
    await eventually(over, (ended) => ended.length === 10, 20_000)
    expect(over().map(({ codes }) => codes)).toEqual(Array.from({ length: 10 }, () => [status.UNAVAILABLE]))
    const alive = chats.filter(({ codes }) => codes.length === 0)
    await say(alive, 'after', 2)
    for (const { stream } of alive) stream.end()
    await Promise.all(alive.map(({ ended }) => ended))
    expect(alive.map(({ codes }) => codes)).toEqual(Array.from({ length: 10 }, () => [status.OK]))
    stopped!.kill('SIGKILL')
    const answer = await new Promise((resolve) =>
      client.unary(Buffer.from('x'), new Metadata(), {}, (error, bytes) => resolve(error?.code ?? String(bytes))),
    )
    expect(answer).toBe('x')
  }, 60_000)
})
