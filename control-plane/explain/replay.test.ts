import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { run } from '../cli/program.ts'
import { Harness } from '../testing/harness.ts'
import { imagineEndpoints } from './imagine.ts'
import { offlineTranslation } from './offline.ts'
import { parseRecording, type RecordedRequest } from './recording.ts'
import { formatReplay, replay } from './replay.ts'

const services = {
  payments: { endpoints: [{ labels: { version: 'v1' } }, { labels: { version: 'v2' } }] },
  orders: { endpoints: 1 },
}
const endpoints = imagineEndpoints(services)

const route = (weight: number, more = '') => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payments }
spec:
  hosts: [payments]
  http:
    - route:
        - { destination: { host: payments, subset: v1 }, weight: ${100 - weight} }
        - { destination: { host: payments, subset: v2 }, weight: ${weight} }
${more}
`
const denyWeb = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: payments }
spec:
  selector: { matchLabels: { app: payments } }
  action: DENY
  rules: [{ from: [{ source: { principals: [cluster.local/ns/default/sa/web] } }], to: [{ operation: { paths: [/charge] } }] }]
`

const from = (service: string, url: string, method = 'GET'): RecordedRequest => ({ client: { service }, method, url })
const requests = [
  from('web', 'http://payments/charge'),
  from('web', 'http://payments/charge'),
  from('orders', 'http://payments/charge', 'POST'),
  from('web', 'http://orders/'),
]
const of = (text: string) => offlineTranslation({ text, endpoints })

describe('a replay', () => {
  it('finds nothing where nothing changes', () => {
    const report = replay(requests, of(route(10)), of(route(10)))
    expect(report).toMatchObject({ requests: 4, changed: 0 })
    expect(formatReplay(report)).toBe('4 requests replayed, 0 decided otherwise (0 %)')
  })

  it('counts what goes elsewhere, by whom it was asked and with an example', () => {
    const report = replay(requests, of(route(10)), of(route(30)))
    expect(report.changed).toBe(3)
    expect(report.aspects.route).toMatchObject({ count: 3, examples: [{ count: 3, request: requests[0] }] })
    expect(report.aspects.route.examples[0]!.after).toContain('|v2|payments.default.svc.cluster.local 30 %')
    expect(report.aspects['newly denied'].count).toBe(0)
    expect(formatReplay(report)).toContain('route changed: 3 (75 %)')
  })

  it('tells time limits and retries apart from routes', () => {
    const report = replay(requests, of(route(10)), of(route(10, '      timeout: 7s\n      retries: { attempts: 1 }')))
    expect(report.aspects.route.count).toBe(0)
    expect(report.aspects.timeout.examples[0]!.after).toBe('7 s to the end of the answer')
    expect(report.aspects.retries.count).toBe(3)
  })

  it('finds who is newly denied, by the policies of the servers', () => {
    const report = replay(requests, of(route(10)), of(`${route(10)}---${denyWeb}`))
    expect(report.aspects['newly denied']).toMatchObject({
      count: 2,
      examples: [{ request: { client: { service: 'web' } } }],
    })
    expect(report.aspects['newly denied'].examples[0]!.after).toMatch(/^denied at payments.default.svc.cluster.local/)
    const back = replay(requests, of(`${route(10)}---${denyWeb}`), of(route(10)))
    expect(back.aspects['newly allowed'].count).toBe(2)
  })
})

describe('a recording', () => {
  it('is read line by line; what is none is told of with its line', () => {
    const good = JSON.stringify({ time: 'x', client: { service: 'a' }, method: 'GET', url: 'http://b/', status: 200 })
    const { requests: read, problems } = parseRecording(`${good}\n\nnot json\n{"method":"GET"}\n${good}\n`, 'r.jsonl')
    expect(read).toHaveLength(2)
    expect(problems.map((p) => [p.file, p.line])).toEqual([
      ['r.jsonl', 3],
      ['r.jsonl', 4],
    ])
  })
})

describe('inmesh replay', () => {
  const harness = new Harness()
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'inmesh-replay-'))
    await writeFile(join(folder, 'requests.jsonl'), requests.map((r) => JSON.stringify(r)).join('\n'))
    await writeFile(join(folder, 'before.yaml'), route(10))
    await writeFile(join(folder, 'after.yaml'), route(30))
    await writeFile(join(folder, 'services.yaml'), JSON.stringify(services))
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    vi.unstubAllEnvs()
    await harness.cleanUp()
    await rm(folder, { recursive: true, force: true })
  })

  async function inmesh(...args: string[]) {
    const out: string[] = []
    const err: string[] = []
    const writer = (into: string[]) => (text: string | Uint8Array) => into.push(String(text)) > 0
    vi.spyOn(process.stdout, 'write').mockImplementation(writer(out))
    vi.spyOn(process.stderr, 'write').mockImplementation(writer(err))
    const code = await run(['node', 'inmesh', 'replay', join(folder, 'requests.jsonl'), ...args])
    vi.restoreAllMocks()
    return { code, stdout: out.join(''), stderr: err.join('') }
  }

  it('compares two folders without anybody running', async () => {
    const files = ['-f', join(folder, 'after.yaml'), '--against', join(folder, 'before.yaml')]
    const found = await inmesh(...files, '--services', join(folder, 'services.yaml'))
    expect(found).toMatchObject({ code: 0, stderr: '' })
    expect(found.stdout).toContain('3 decided otherwise (75 %)')
    const failed = await inmesh(...files, '--services', join(folder, 'services.yaml'), '--fail-on-change', '-o', 'json')
    expect(failed.code).toBe(1)
    expect(JSON.parse(failed.stdout)).toMatchObject({ changed: 3 })
    expect((await inmesh(...files)).code).toBe(2)
  })

  it('applies the candidate over what the control plane has, without applying it', async () => {
    const controlPlane = await harness.start()
    await controlPlane.apply(route(10))
    vi.stubEnv('INMESH_ADMIN_TOKEN', controlPlane.adminToken)
    const to = ['--admin-url', controlPlane.adminUrl]
    const same = await inmesh('-f', join(folder, 'before.yaml'), ...to, '--fail-on-change')
    expect(same).toMatchObject({ code: 0, stderr: '' })
    const other = await inmesh('-f', join(folder, 'after.yaml'), ...to, '--fail-on-change')
    expect(other.code).toBe(1)
    expect((await controlPlane.store.snapshot()).objects).toHaveLength(1)
    const broken = await inmesh('-f', join(folder, 'services.yaml'), ...to)
    expect(broken.code).toBe(1)
    expect(broken.stderr).toContain('services.yaml')
  })
})
