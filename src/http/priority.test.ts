import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient, type ServiceSpec } from '../../test/support/mesh-client.ts'
import { identityOf, until } from '../../test/support/mesh-http.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { Inbound, type InboundRequest, type Verdict } from '../engine/inbound.ts'
import { systemClock } from '../model/clock.ts'
import { type InboundSpec, inboundDefaults, shedDefaults } from '../model/inbound.ts'
import type { Priority } from '../model/route.ts'
import { detach, withPriority } from '../telemetry/context.ts'
import { createMeshServer } from './server.ts'

const ca = createTestCa('cluster.local')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** Notes the class of what comes in. */
class Noting extends Inbound {
  readonly seen: (Priority | null)[] = []
  override admit(request: InboundRequest): Verdict {
    this.seen.push(request.priority)
    return super.admit(request)
  }
}

async function serve(listener: RequestListener, spec: Partial<InboundSpec> = {}) {
  const inbound = new Noting({ ...inboundDefaults, name: 'test', tlsMode: 'PERMISSIVE', rbac: [], ...spec })
  const server = createMeshServer(listener, {
    identity: identityOf(ca, 'payments'),
    inbound: () => inbound,
    clock: systemClock,
  })
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  closing.push(() => server.close({ graceMs: 0 }))
  return { port: (server.address() as AddressInfo).port, inbound }
}

function clientOf(port: number, more: Partial<ServiceSpec> = {}, tlsMode: 'mtls' | 'plaintext' = 'mtls') {
  const made = meshClient({ next: { endpoints: [{ port, tlsMode }], ...more } }, { identity: identityOf(ca, 'orders') })
  closing.push(() => made.close())
  return (headers: Record<string, string> = {}) => call(made.dispatcher, 'http://next/', { headers })
}

const ok: RequestListener = (_req, res) => res.end('ok')

describe('the class of work', () => {
  it('is what the code that calls says; no header of the caller says it', async () => {
    const { port, inbound } = await serve(ok)
    const ask = clientOf(port)
    await ask()
    await ask({ 'x-inmesh-priority': 'CRITICAL' })
    await withPriority('SHEDDABLE', () => ask())
    await withPriority('CRITICAL', () => ask())
    expect(inbound.seen).toEqual([null, null, 'SHEDDABLE', 'CRITICAL'])
  })

  it('else what the request says in whose handling the call is made, else what the route says', async () => {
    const back = await serve(ok)
    const toBack = clientOf(back.port, { route: { priority: 'SHEDDABLE' } })
    const work: Record<string, () => Promise<unknown>> = {
      plain: () => toBack(),
      own: () => withPriority('CRITICAL', () => toBack()),
      detached: () => detach(() => toBack()),
    }
    const front = await serve((req, res) => {
      void work[String(req.headers['x-work'])]!().then(() => res.end('ok'))
    })
    const toFront = clientOf(front.port)
    await toFront({ 'x-work': 'plain' })
    await withPriority('CRITICAL', () => toFront({ 'x-work': 'plain' }))
    await withPriority('SHEDDABLE', () => toFront({ 'x-work': 'own' }))
    await withPriority('CRITICAL', () => toFront({ 'x-work': 'detached' }))
    expect(front.inbound.seen).toEqual([null, 'CRITICAL', 'SHEDDABLE', 'CRITICAL'])
    expect(back.inbound.seen).toEqual(['SHEDDABLE', 'CRITICAL', 'CRITICAL', 'SHEDDABLE'])
  })

  it('is not believed of plaintext callers', async () => {
    const { port, inbound } = await serve(ok)
    await withPriority('CRITICAL', clientOf(port, {}, 'plaintext'))
    expect(inbound.seen).toEqual([null])
  })

  it('decides who is refused first', async () => {
    const open: (() => void)[] = []
    const shed = { ...shedDefaults, initialLimit: 10, minLimit: 10, maxLimit: 10 }
    const { port } = await serve((_req, res) => open.push(() => res.end('ok')), { shed })
    const ask = clientOf(port)
    const asked = (priority: Priority) => withPriority(priority, () => ask()).then((answer) => answer.status)
    const held = Array.from({ length: 8 }, () => asked('DEFAULT'))
    await until(() => open.length === 8)
    expect(await asked('SHEDDABLE')).toBe(503)
    held.push(asked('DEFAULT'), asked('DEFAULT'))
    await until(() => open.length === 10)
    expect(await asked('DEFAULT')).toBe(503)
    held.push(asked('CRITICAL'))
    await until(() => open.length === 11)
    for (const end of open) end()
    expect(new Set(await Promise.all(held))).toEqual(new Set([200]))
  })
})
