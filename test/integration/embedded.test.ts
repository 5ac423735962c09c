import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  ConfigError,
  createMesh,
  defineMesh,
  getPeer,
  type Mesh,
  type Problem,
  silentLogger,
  virtualService,
} from '../../src/index.ts'
import type { MeshOptions } from '../../src/options.ts'

const patience = { timeout: 10_000, interval: 10 }
const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function enter(
  service: string,
  controlPlane: MeshOptions['controlPlane'],
  more: MeshOptions = {},
): Promise<Mesh> {
  const mesh = await createMesh({ service, controlPlane, adminPort: false, logger: silentLogger, ...more })
  cleanups.push(() => mesh.close({ drainMs: 0, graceMs: 0 }))
  return mesh
}
async function serve(controlPlane: MeshOptions['controlPlane']): Promise<Mesh> {
  const mesh = await enter('payments', controlPlane)
  await mesh.createServer((req, res) => res.end(`${req.url} from ${getPeer(req)?.spiffeId}`)).listen(0, '127.0.0.1')
  await mesh.ready()
  return mesh
}
async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'inmesh-folder-'))
  cleanups.push(() => rm(path, { recursive: true, force: true }))
  return path
}
const rewriteTo = (status: number) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payments }
spec:
  hosts: [payments]
  http:
    - match: [{ uri: { exact: /gone } }]
      timeout: ${status}s
      route: [{ destination: { host: nowhere } }]
    - route: [{ destination: { host: payments } }]
`

describe('a control plane in this process', () => {
  it('is one mesh for all that share a definition, with certificates and policy', async () => {
    const definition = defineMesh({
      resources: [
        virtualService('payments', {
          hosts: ['payments'],
          http: [
            { match: [{ uri: { exact: '/gone' } }], route: [{ destination: { host: 'nowhere' } }] },
            { route: [{ destination: { host: 'payments' } }] },
          ],
        }),
      ],
    })
    await serve({ embedded: definition })
    const orders = await enter('orders', { embedded: definition })
    const answer = await orders.fetch('http://payments/charge')
    expect(await answer.text()).toBe('/charge from spiffe://cluster.local/ns/default/sa/orders')
    expect((await orders.fetch('http://payments/gone')).status).toBe(503)
  })

  it('definitions that are not the same are meshes apart', async () => {
    await serve({ embedded: defineMesh({ resources: [] }) })
    const orders = await enter('orders', { embedded: defineMesh({ resources: [] }) })
    const answer = await orders.fetch('http://payments/').then(
      (response) => response.status,
      (error: Error) => error.name,
    )
    expect(answer).not.toBe(200)
  })

  it('follows its folder; what is wrong is told with file and line and changes nothing', async () => {
    const path = await folder()
    const file = join(path, 'payments.yaml')
    await writeFile(file, rewriteTo(1))
    await serve(`embedded:${path}`)
    const orders = await enter('orders', `embedded:${path}`)
    const problems: Problem[] = []
    orders.on('problem', (problem) => problems.push(problem))
    expect((await orders.fetch('http://payments/gone')).status).toBe(503)

    await writeFile(file, rewriteTo(1).replace('timeout: 1s', 'timeout: soon'))
    await vi.waitFor(
      () => expect(problems).toMatchObject([{ severity: 'error', file, line: 8, field: 'spec.http[0].timeout' }]),
      patience,
    )
    expect((await orders.fetch('http://payments/gone')).status).toBe(503)

    await rm(file)
    await writeFile(
      join(path, 'policy.yaml'),
      'apiVersion: inmesh.dev/v1\nkind: ServicePolicy\nspec: { service: payments }\n',
    )
    await vi.waitFor(async () => expect((await orders.fetch('http://payments/gone')).status).toBe(200), patience)
  })

  it('createMesh says what a definition has wrong, and another try may work', async () => {
    const path = await folder()
    const file = join(path, 'payments.yaml')
    await writeFile(
      file,
      'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: a }\nspec: { host: a }\n',
    )
    const refused: unknown = await enter('orders', `embedded:${path}`).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(ConfigError)
    expect((refused as ConfigError).problems).toContainEqual(
      expect.objectContaining({ file, line: 4, field: 'spec.host' }),
    )
    await writeFile(file, rewriteTo(1))
    expect((await enter('orders', `embedded:${path}`)).workload.service).toBe('orders')
  })

  it('ends with its last mesh and leaves nothing behind', async () => {
    const definition = defineMesh({ resources: [] })
    const [a, b] = [await enter('a', { embedded: definition }), await enter('b', { embedded: definition })]
    const { joinEmbedded } = await import('../../control-plane/embedded.ts')
    const member = await joinEmbedded(definition, a.workload, silentLogger)
    const state = dirname(member.stateDir)
    await member.leave()
    await a.close()
    expect(existsSync(state)).toBe(true)
    await b.close()
    expect(existsSync(state)).toBe(false)
  })

  it.each([
    ['another trust domain', { trustDomain: 'other.td' }, /embedded control plane of this process has "cluster.local"/],
  ])('%s is refused', async (_, options, message) => {
    const definition = defineMesh({ resources: [] })
    await enter('a', { embedded: definition })
    await expect(enter('b', { embedded: definition }, options)).rejects.toThrow(message)
  })

  it.each([
    ['embedded:', /expected a folder/],
    ['embedded:/does/not/exist', /no such file/],
  ])('"%s" is refused', async (controlPlane, message) => {
    await expect(enter('a', controlPlane)).rejects.toThrow(message)
  })
})
