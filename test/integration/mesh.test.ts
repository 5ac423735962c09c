import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Mesh } from '../../src/mesh.ts'
import { getPeer } from '../../src/transport/peer.ts'
import { eventually, Shop } from '../support/shop.ts'

const fixture = (name: string) => readFileSync(join(import.meta.dirname, '../fixtures', `${name}.yaml`), 'utf8')

let shop: Shop
let orders: Mesh
const posts = new Map<string, number>()
let status: (version: string) => number = () => 200
const ports: Record<string, number> = {}

beforeAll(async () => {
  shop = await Shop.open()
  for (const version of ['v1', 'v2']) {
    const { port } = await shop.serve(
      'payment-service',
      (req, res) => {
        const id = req.headers['x-id']
        if (req.method === 'POST' && typeof id === 'string') posts.set(id, (posts.get(id) ?? 0) + 1)
        res.statusCode = status(version)
        res.end(
          JSON.stringify({
            version,
            url: req.url,
            peer: getPeer(req)?.spiffeId ?? null,
            trace: req.headers.traceparent,
          }),
        )
      },
      { labels: { version }, stateDir: join(shop.folder, version) },
    )
    ports[version] = port
  }
  orders = await shop.mesh('order-service')
  await orders.ready()
}, 30_000)

afterAll(() => shop.close())

interface Answer {
  version: string
  url: string
  peer: string | null
  trace: string | undefined
}

const get = async (mesh: Mesh = orders, path = '/', init: Parameters<Mesh['fetch']>[1] = {}) => {
  const response = await mesh.fetch(`http://payment-service${path}`, init)
  const text = await response.text()
  return { status: response.status, body: response.ok ? (JSON.parse(text) as Answer) : text, headers: response.headers }
}
const versions = async (count: number, headers: Record<string, string> = {}) => {
  const seen: Record<string, number> = {}
  for (let i = 0; i < count; i++) {
    const { body } = await get(orders, '/', { headers })
    const version = (body as Answer).version
    seen[version] = (seen[version] ?? 0) + 1
  }
  return seen
}
const split = (v1: number, v2: number, more = '') =>
  `apiVersion: inmesh.dev/v1\nkind: TrafficSplit\nmetadata: {name: canary}\nspec: {destinationService: payment-service, v1Weight: ${v1}, v2Weight: ${v2}${more}}\n`
const remove = async (kind: string, name: string) => {
  await shop.plane.store.apply([{ delete: { kind, namespace: 'default', name } }], { actor: 'test' })
}

describe('a meshed shop', () => {
  it('calls by name over mutual TLS, with the identity of the certificate', async () => {
    for (const host of [
      'payment-service',
      'payment-service.default',
      'payment-service.default.svc.cluster.local:8080',
    ]) {
      const response = await orders.fetch(`http://${host}/`)
      expect(await response.json()).toMatchObject({ peer: 'spiffe://cluster.local/ns/default/sa/order-service' })
    }
  })

  it('refuses plaintext when the mission says STRICT, and takes it again when that is gone', async () => {
    const plain = async () => {
      try {
        return (await fetch(`http://127.0.0.1:${ports.v1}/`)).status
      } catch {
        return 'refused'
      }
    }
    expect(await plain()).toBe(200)
    await shop.plane.apply(fixture('peerauthentication-strict'))
    expect(await eventually(plain, (s) => s === 'refused')).toBe('refused')
    expect((await get()).status).toBe(200)
    await remove('PeerAuthentication', 'default')
    expect(await eventually(plain, (s) => s === 200)).toBe(200)
  })

  it('splits by TrafficSplit, lets a header decide, and lets a VirtualService win over both', async () => {
    await shop.plane.apply(split(0, 100))
    await eventually(
      () => versions(5),
      (s) => s.v2 === 5,
    )
    expect(await versions(20)).toEqual({ v2: 20 })
    await shop.plane.apply(split(100, 0, ', headerMatch: {X-Canary: "true"}'))
    await eventually(
      () => versions(5),
      (s) => s.v1 === 5,
    )
    expect(await versions(20)).toEqual({ v1: 20 })
    expect(await versions(20, { 'x-canary': 'true' })).toEqual({ v2: 20 })
    await shop.plane.apply(fixture('virtualservice-90-10').replace('90', '0').replace('10', '100'))
    await eventually(
      () => versions(5),
      (s) => s.v2 === 5,
    )
    expect(await versions(20)).toEqual({ v2: 20 })
    await remove('VirtualService', 'payment-service')
    await remove('TrafficSplit', 'canary')
  })

  it('applies nothing of a batch with one bad document, and goes on serving', async () => {
    const before = shop.plane.revision().revision
    await expect(
      shop.plane.apply(`${split(1, 99)}---\nkind: Nonsense\napiVersion: x/v1\nmetadata: {name: a}\n`),
    ).rejects.toThrow(/Nonsense/)
    await expect(shop.plane.apply(split(1, 99).replace('v2Weight', 'v2Wieght'))).rejects.toThrow(/v2Wieght.*v2Weight/)
    expect(shop.plane.revision().revision).toBe(before)
    expect((await get()).status).toBe(200)
  })

  it("authorizes by the mission's policy as it is: only order-service may POST /process, whatever the path is dressed up as", async () => {
    const intruder = await shop.mesh('intruder')
    await shop.plane.apply(fixture('authorizationpolicy'))
    const post = (mesh: Mesh, path = '/process') => get(mesh, path, { method: 'POST' })
    await eventually(
      () => get(),
      (r) => r.status === 403,
    )
    expect((await post(orders)).status).toBe(200)
    expect((await post(orders, '/process?x=1')).status).toBe(200)
    expect(await post(intruder)).toMatchObject({ status: 403, body: 'RBAC: access denied' })
    expect((await get(orders, '/process')).status).toBe(403)
    for (const path of ['/processes', '/process/', '/Process', '/process;a=b', '/process%2f..', '//x'])
      expect([path, (await post(orders, path)).status]).toEqual([
        path,
        expect.toSatisfy((s: number) => s === 403 || s === 400),
      ])
    await remove('AuthorizationPolicy', 'payment-service-policy')
    expect(
      (
        await eventually(
          () => post(intruder),
          (r) => r.status === 200,
        )
      ).status,
    ).toBe(200)
  })

  it('retries a GET on 503 elsewhere, a POST never, unless it carries an Idempotency-Key', async () => {
    status = (version) => (version === 'v1' ? 503 : 200)
    try {
      for (let i = 0; i < 10; i++) expect((await get()).status).toBe(200)
      const statuses: number[] = []
      for (let i = 0; i < 10; i++)
        statuses.push((await get(orders, '/', { method: 'POST', headers: { 'x-id': `p${i}` } })).status)
      expect(statuses).toContain(503)
      for (let i = 0; i < 10; i++) expect(posts.get(`p${i}`)).toBe(1)
      const keyed = await get(orders, '/', { method: 'POST', headers: { 'idempotency-key': 'k' } })
      expect(keyed.status).toBe(200)
    } finally {
      status = () => 200
    }
  })

  it('carries a trace on although nobody forwards a header', async () => {
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
    const { port } = await shop.serve('frontend', async (_req, res) => {
      const answer = await get(front)
      res.end(JSON.stringify(answer.body))
    })
    const front = await shop.rejoin('frontend')
    const response = await fetch(`http://127.0.0.1:${port}/`, {
      headers: { traceparent: `00-${trace}-00f067aa0ba902b7-01` },
    })
    expect(((await response.json()) as Answer).trace).toContain(trace)
  })

  it('answers 503 for a service that lost its last endpoint, and never asks DNS', async () => {
    const { mesh } = await shop.serve('localhost', (_req, res) => res.end('meshed'))
    expect(await (await orders.fetch('http://localhost/')).text()).toBe('meshed')
    await mesh.close({ drainMs: 0 })
    const after = await eventually(
      () => orders.fetch('http://localhost/'),
      (r) => r.headers.get('x-inmesh-response-flags') === 'UH',
    )
    expect(after.status).toBe(503)
  })

  it('passes calls to hosts outside of the mesh on', async () => {
    expect((await orders.fetch(`http://127.0.0.1:${ports.v1}/`)).status).toBe(200)
  })

  it('cuts off who speaks garbage', async () => {
    const socket = connect(ports.v1!, '127.0.0.1')
    socket.write(Buffer.from([0x16, 0x03, 0x01, 0xff, 0xff, 0x00, 0x01]))
    await new Promise((resolve) => socket.once('close', resolve))
    expect((await get()).status).toBe(200)
  })

  it('says clearly why a process cannot join: a used token', async () => {
    const { token } = await shop.plane.createToken({ service: 'late' })
    await (await shop.mesh('late', { token, stateDir: join(shop.folder, 'late-1') })).ready()
    const second = await shop.mesh('late', { token, stateDir: join(shop.folder, 'late-2') })
    await expect(second.ready()).rejects.toThrow(/token/)
  })

  it('serves on without its control plane, starts without it, and follows it again', { timeout: 60_000 }, async () => {
    await shop.plane.close(0)
    for (let i = 0; i < 50; i++) expect((await get()).status).toBe(200)
    const again = await shop.rejoin('order-service')
    await again.ready()
    expect((await get(again)).status).toBe(200)
    await shop.startPlane()
    await shop.plane.apply(split(0, 100))
    const seen = await eventually(
      () => versions(5),
      (s) => s.v2 === 5,
      40_000,
    )
    expect(seen).toEqual({ v2: 5 })
    await remove('TrafficSplit', 'canary')
  })
})
