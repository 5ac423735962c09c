import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Harness } from '../testing/harness.ts'
import { run } from './program.ts'

const harness = new Harness()
afterEach(async () => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  await harness.cleanUp()
})

/** Runs the command in this process. */
async function inmesh(...args: string[]) {
  const out: string[] = []
  const err: string[] = []
  const writer = (into: string[]) => (text: string | Uint8Array) => into.push(String(text)) > 0
  vi.spyOn(process.stdout, 'write').mockImplementation(writer(out))
  vi.spyOn(process.stderr, 'write').mockImplementation(writer(err))
  const code = await run(['node', 'inmesh', ...args])
  vi.restoreAllMocks()
  return { code, stdout: out.join(''), stderr: err.join('') }
}

const service = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payments }
spec:
  hosts: [payments]
  http:
    - name: gone
      match: [{ uri: { prefix: /old } }]
      route: [{ destination: { host: payments } }]
`

describe('inmesh explain', () => {
  it('asks the control plane for a client of that name', async () => {
    const controlPlane = await harness.start()
    await controlPlane.apply(service)
    await vi.waitFor(() => expect(controlPlane.revision().revision).toBeGreaterThan(0))
    vi.stubEnv('INMESH_ADMIN_TOKEN', controlPlane.adminToken)
    const url = ['--admin-url', controlPlane.adminUrl]
    const text = await inmesh('explain', 'http://payments/old?x=1', '--client', 'orders', ...url)
    expect(text).toMatchObject({ code: 0, stderr: '' })
    expect(text.stdout).toContain('=> [0] gone (VirtualService/default/payments): matches')
    const json = await inmesh('explain', 'http://payments/y', '-X', 'POST', '-o', 'json', ...url)
    expect(JSON.parse(json.stdout)).toMatchObject({
      method: 'POST',
      outcome: 'no-route',
      rules: [{ name: 'gone', matched: false, why: 'asks that path begins with "/old"; it is "/y"' }],
    })
  })

  it('asks a live process with --admin, and says so when nobody answers', async () => {
    const asked: string[] = []
    const server = createServer((req, res) => {
      asked.push(req.url!)
      const nothing = { routeTable: null, virtualHost: null, rules: [], destinations: [], notes: [] }
      res.end(
        JSON.stringify({
          method: 'GET',
          authority: 'a',
          path: '/',
          outcome: 'not-configured',
          summary: 'none',
          ...nothing,
        }),
      )
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const result = await inmesh('explain', 'http://a/', '-H', 'x-user: beta', '--admin', String(port))
    expect(result.stdout).toBe('GET http://a/\n  none\n')
    expect(new URL(asked[0]!, 'http://x').searchParams.get('header')).toBe('x-user: beta')
    await new Promise((resolve) => server.close(resolve))
    const failed = await inmesh('explain', 'http://a/', '--admin', `127.0.0.1:${port}`)
    expect(failed.code).toBe(1)
    expect(failed.stderr).toContain(`no process answers at 127.0.0.1:${port}`)
  })

  it('refuses what is no URL or no header', async () => {
    expect((await inmesh('explain', 'payments')).code).toBe(2)
    expect((await inmesh('explain', 'http://payments/', '-H', 'nothing')).code).toBe(2)
  })
})
