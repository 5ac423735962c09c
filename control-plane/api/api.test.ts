import { readFile, stat } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { ControlPlane } from '../start.ts'
import { Harness } from '../testing/harness.ts'

const harness = new Harness()
afterEach(() => harness.cleanUp())

const policy = (name: string, retries: number | string = 2) =>
  `apiVersion: inmesh.dev/v1\nkind: ServicePolicy\nmetadata:\n  name: ${name}\nspec:\n  service: ${name}\n  retryAttempts: ${retries}\n`

function call(controlPlane: ControlPlane, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers)
  if (!headers.has('authorization')) headers.set('authorization', `Bearer ${controlPlane.adminToken}`)
  return fetch(new URL(path, controlPlane.adminUrl), { ...init, headers })
}

function apply(controlPlane: ControlPlane, body: string, query = ''): Promise<Response> {
  return call(controlPlane, `/v1/apply${query}`, { method: 'POST', body })
}

describe('access to the admin API', () => {
  it('needs the token, which lies in the data directory and is nobody else to read', async () => {
    const dataDir = await harness.folder()
    const controlPlane = await harness.start({ dataDir })
    const file = join(dataDir, 'admin-token')
    expect((await readFile(file, 'utf8')).trim()).toBe(controlPlane.adminToken)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700)
    for (const authorization of ['', 'Bearer', 'Bearer wrong', `Basic ${controlPlane.adminToken}`]) {
      const response = await call(controlPlane, '/v1/clients', { headers: { authorization } })
      expect(response.status).toBe(401)
      expect(response.headers.get('content-type')).toBe('application/problem+json')
    }
    expect((await call(controlPlane, '/v1/clients')).status).toBe(200)
  })

  it('is refused under names that are not its own', async () => {
    const controlPlane = await harness.start()
    const status = (host: string) =>
      new Promise((resolve, reject) => {
        const { port } = new URL(controlPlane.adminUrl)
        request({ host: '127.0.0.1', port, path: '/healthz', headers: { host } }, (res) =>
          resolve(res.resume().statusCode),
        )
          .on('error', reject)
          .end()
      })
    expect(await status('attacker.example')).toBe(421)
    expect(await status('localhost:15014')).toBe(200)
    expect(await status('[::1]:15014')).toBe(200)
  })

  it('says whether it lives, is ready, and what it counts', async () => {
    const controlPlane = await harness.start()
    const open = { headers: { authorization: 'none' } }
    expect(await (await call(controlPlane, '/healthz', open)).json()).toEqual({ status: 'ok' })
    expect(await (await call(controlPlane, '/readyz', open)).json()).toMatchObject({ status: 'ok' })
    const metrics = await (await call(controlPlane, '/metrics', open)).text()
    expect(metrics).toMatch(/^inmesh_control_plane_revision 0$/m)
    expect(metrics).toMatch(/^inmesh_control_plane_push_seconds_count 1$/m)
  })

  it('bounds bodies', async () => {
    const controlPlane = await harness.start()
    expect((await apply(controlPlane, 'x'.repeat(5 * 1024 * 1024))).status).toBe(413)
  })
})

describe('configuration objects', () => {
  it('are applied, shown, listed and deleted, and every change is audited', async () => {
    const controlPlane = await harness.start()
    const applied = await apply(controlPlane, `${policy('a')}---\n${policy('b')}`)
    expect(applied.status).toBe(200)
    expect(await applied.json()).toMatchObject({ results: [{ change: 'created' }, { change: 'created' }] })
    expect(await (await apply(controlPlane, policy('a'))).json()).toMatchObject({ results: [{ change: 'unchanged' }] })
    const one = await call(controlPlane, '/v1/servicepolicies/default/a')
    expect(await one.json()).toMatchObject({ kind: 'ServicePolicy', spec: { service: 'a', retryAttempts: 2 } })
    const yaml = await call(controlPlane, '/v1/ServicePolicy', { headers: { accept: 'application/yaml' } })
    expect((await yaml.text()).split('---')).toHaveLength(2)
    expect((await call(controlPlane, '/v1/ServicePolicy/default/a', { method: 'DELETE' })).status).toBe(200)
    expect((await call(controlPlane, '/v1/ServicePolicy/default/a', { method: 'DELETE' })).status).toBe(404)
    expect((await call(controlPlane, '/v1/ServicePolicy/default/a')).status).toBe(404)
    const audit = (await (await call(controlPlane, '/v1/audit')).json()) as {
      items: { verb: string; subject: string }[]
    }
    expect(audit.items.map((i) => `${i.verb} ${i.subject}`).sort()).toEqual([
      'apply ServicePolicy/default/a',
      'apply ServicePolicy/default/b',
      'delete ServicePolicy/default/a',
    ])
  })

  it('are applied all or not at all, and each problem has its place', async () => {
    const controlPlane = await harness.start()
    const response = await apply(controlPlane, `${policy('a')}---\n${policy('b', 'many')}`)
    expect(response.status).toBe(422)
    const { errors } = (await response.json()) as { errors: object[] }
    expect(errors).toContainEqual(
      expect.objectContaining({ severity: 'error', line: 15, subject: 'ServicePolicy/default/b' }),
    )
    expect(await (await call(controlPlane, '/v1/ServicePolicy')).json()).toMatchObject({ items: [] })
  })

  it('are only checked in a dry run', async () => {
    const controlPlane = await harness.start()
    expect(await (await apply(controlPlane, policy('a'), '?dryRun=true')).json()).toMatchObject({
      dryRun: true,
      results: [{ change: 'created' }],
    })
    expect(await (await call(controlPlane, '/v1/ServicePolicy')).json()).toMatchObject({ items: [] })
  })

  it.each([
    ['broken YAML', 'a: [', 422],
    ['an empty body', '', 422],
    ['an unknown kind', 'apiVersion: v9\nkind: Nonsense\n', 422],
  ])('%s is refused', async (_what, body, status) => {
    expect((await apply(await harness.start(), body)).status).toBe(status)
  })

  it('of an unknown kind do not exist', async () => {
    const response = await call(await harness.start(), '/v1/nonsense')
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ detail: expect.stringContaining('VirtualService') })
  })
})

describe('operations', () => {
  it('tokens are made, and their secret is stored nowhere', async () => {
    const dataDir = await harness.folder()
    const controlPlane = await harness.start({ dataDir })
    const body = JSON.stringify({ service: 'payments', namespace: 'shop', ttlSeconds: 60 })
    const response = await call(controlPlane, '/v1/tokens', { method: 'POST', body })
    expect(response.status).toBe(201)
    const { token, spiffeId } = (await response.json()) as { token: string; spiffeId: string }
    expect(spiffeId).toBe('spiffe://cluster.local/ns/shop/sa/payments')
    const stored = JSON.stringify([await controlPlane.store.tokens.list(), await controlPlane.store.audit.list(100)])
    expect(stored).not.toContain(token.split('.')[1])
  })

  it.each([{}, { service: 'UPPER' }, { service: 'a', ttlSeconds: -1 }, { service: 'a', extra: 1 }, 'text'])(
    'a token for %j is refused',
    async (body) => {
      const response = await call(await harness.start(), '/v1/tokens', { method: 'POST', body: JSON.stringify(body) })
      expect(response.status).toBe(400)
    },
  )

  it('certificates are listed without keys', async () => {
    const controlPlane = await harness.start()
    await controlPlane.issueCertificate('payments', 'default', 'payments')
    const text = await (await call(controlPlane, '/v1/certificates?service=payments')).text()
    expect(JSON.parse(text).items).toMatchObject([{ service: 'payments' }])
    expect(text).not.toContain('privateKey')
  })

  it('the trust bundle is the root', async () => {
    const controlPlane = await harness.start()
    expect(await (await call(controlPlane, '/v1/trust-bundle')).text()).toBe(controlPlane.trustBundlePem)
  })
})
