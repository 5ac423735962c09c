import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Harness } from '../testing/harness.ts'
import { run } from './program.ts'

const harness = new Harness()
afterEach(async () => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  await harness.cleanUp()
})

async function inmesh(...args: string[]) {
  const out: string[] = []
  const err: string[] = []
  const writer = (into: string[]) => (text: string | Uint8Array) => into.push(String(text)) > 0
  vi.spyOn(process.stdout, 'write').mockImplementation(writer(out))
  vi.spyOn(process.stderr, 'write').mockImplementation(writer(err))
  const code = await run(['node', 'inmesh', 'analyze', ...args])
  vi.restoreAllMocks()
  return { code, stdout: out.join(''), stderr: err.join('') }
}

const rule = (subset: string) => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payments }
spec:
  host: payments
  subsets:
    - name: ${subset}
      labels: { version: ${subset} }
`
const service = (subset: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payments }
spec:
  hosts: [payments]
  http:
    - route:
        - destination: { host: payments, subset: ${subset} }
`

describe('inmesh analyze', () => {
  it('names file and line of each finding in a folder, and exits by --fail-on', async () => {
    const folder = join(await harness.folder(), 'mesh')
    await mkdir(folder)
    await writeFile(join(folder, 'a.yaml'), `# comment\n${rule('v1')}`)
    await writeFile(join(folder, 'b.yaml'), service('v1'))
    const clean = await inmesh('-f', folder, '--fail-on', 'warning')
    expect(clean).toMatchObject({ code: 0, stdout: 'nothing found\n' })
    expect(clean.stderr).toContain('--live or --services')
    await writeFile(join(folder, 'b.yaml'), service('v2'))
    const bad = await inmesh('-f', folder)
    expect(bad.code).toBe(1)
    expect(bad.stdout).toMatch(/b\.yaml:8:50 +error IST0101 +VirtualService\/default\/payments +spec\.http/)
    expect(bad.stderr).toContain('1 error, 0 warnings')
    await writeFile(join(folder, 'b.yaml'), service('v1').replace('hosts:', 'gateways: [mesh, edge]\n  hosts:'))
    expect((await inmesh('-f', folder)).code).toBe(0)
    expect((await inmesh('-f', folder, '--fail-on', 'warning')).code).toBe(1)
  })

  it('prints JSON, with who is there as --services says', async () => {
    const folder = await harness.folder()
    await writeFile(join(folder, 'a.yaml'), rule('v9'))
    await writeFile(join(folder, 'who'), '{"payments": {"endpoints": [{"labels": {"version": "v1"}}]}}')
    const result = await inmesh('-f', join(folder, 'a.yaml'), '--services', join(folder, 'who'), '-o', 'json')
    expect(result.code).toBe(1)
    expect(JSON.parse(result.stdout)).toEqual([
      {
        code: 'IST0173',
        severity: 'error',
        subject: 'DestinationRule/default/payments',
        field: 'spec.subsets[0].labels',
        message: 'no endpoint of payments.default.svc.cluster.local has these labels now',
        file: join(folder, 'a.yaml'),
        line: 8,
        column: 15,
      },
    ])
  })

  it('reads a mesh as code, whose findings name the resource', async () => {
    const folder = await harness.folder()
    await writeFile(
      join(folder, 'mesh.mjs'),
      `export default { resources: [{ apiVersion: 'inmesh.dev/v1', kind: 'ServicePolicy', spec: { service: 'payments', retryNonIdempotent: true } }] }`,
    )
    const { stdout, code } = await inmesh('-f', join(folder, 'mesh.mjs'), '-o', 'json')
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject([
      { code: 'INM0103', file: join(folder, 'mesh.mjs'), field: 'resources[0].spec.retryNonIdempotent' },
    ])
  })

  it('looks at the live store by object name, and at files over it', async () => {
    const controlPlane = await harness.start()
    await controlPlane.apply(service('v2'))
    vi.stubEnv('INMESH_ADMIN_TOKEN', controlPlane.adminToken)
    const live = ['--live', '--admin-url', controlPlane.adminUrl]
    const stored = await inmesh(...live)
    expect(stored.code).toBe(1)
    expect(stored.stdout).toMatch(/^- +error IST0101 +VirtualService\/default\/payments .*subset "v2"/m)
    const folder = await harness.folder()
    await writeFile(join(folder, 'a.yaml'), rule('v2'))
    const both = await inmesh('-f', join(folder, 'a.yaml'), ...live)
    expect(both.code).toBe(0)
    expect(both.stdout).not.toContain('subset')
  })

  it('exits with 2 when there is nothing to look at, or it cannot be read', async () => {
    expect(await inmesh()).toMatchObject({ code: 2, stderr: expect.stringContaining('give -f, --live or both') })
    expect((await inmesh('-f', '/nowhere.yaml')).code).toBe(2)
    expect((await inmesh('-f', 'x', '--fail-on', 'never')).code).toBe(2)
    expect((await inmesh('--live', '--services', 'x')).code).toBe(2)
    vi.stubEnv('INMESH_ADMIN_TOKEN', 'x')
    expect((await inmesh('--live', '--admin-url', 'http://127.0.0.1:1')).code).toBe(2)
  })
})
