import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TypeUrl } from '../../src/xds/proto.ts'
import { AdsClient } from '../discovery/testing/ads-client.ts'
import { type ControlPlaneProcess, controlPlaneProcess, inmesh } from '../testing/process.ts'

let folder: string
let controlPlane: ControlPlaneProcess
let env: Record<string, string>
const fixtures = join(import.meta.dirname, '../../test/fixtures')

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'inmesh-cli-'))
  controlPlane = await controlPlaneProcess(join(folder, 'data'))
  env = { INMESH_ADMIN_URL: controlPlane.adminUrl }
})
afterAll(async () => {
  await controlPlane?.stop('SIGKILL')
  await rm(folder, { recursive: true, force: true })
})

/** With the connection of the running control plane. */
function run(args: string[], stdin?: string) {
  return inmesh([...args, '--data-dir', join(folder, 'data')], { env, ...(stdin === undefined ? {} : { stdin }) })
}

const policy = (name: string) =>
  `apiVersion: inmesh.dev/v1\nkind: ServicePolicy\nmetadata:\n  name: ${name}\nspec:\n  service: ${name}\n`

describe('apply', () => {
  it('creates what a file says, and says so', async () => {
    const result = await run(['apply', '-f', join(fixtures, 'virtualservice-90-10.yaml')])
    expect(result).toMatchObject({ code: 0, stdout: 'VirtualService default/payment-service created\n' })
    const again = await run(['apply', '-f', join(fixtures, 'virtualservice-90-10.yaml')])
    expect(again.stdout).toBe('VirtualService default/payment-service unchanged\n')
  })

  it('reads standard input, and puts what has no namespace where it is told', async () => {
    const result = await run(['apply', '-f', '-', '-n', 'shop'], policy('stdin'))
    expect(result).toMatchObject({ code: 0, stdout: 'ServicePolicy shop/stdin created\n' })
  })

  it('skips workloads of Kubernetes with a notice', async () => {
    const result = await run(['apply', '-f', join(fixtures, 'deployment.yaml')])
    expect(result).toMatchObject({ code: 0, stdout: '' })
    expect(result.stderr).toMatch(/deployment\.yaml:1:1: Deployment\/payment-service: skipped/)
  })

  it('applies a folder all or not at all, and names file and line of each mistake', async () => {
    const dir = join(folder, 'mixed')
    await mkdir(dir)
    await writeFile(join(dir, 'a.yaml'), policy('first'))
    await writeFile(join(dir, 'b.yml'), `# comment\n${policy('second').replace('service:', 'servise:')}`)
    await writeFile(join(dir, 'ignored.txt'), 'not: [yaml')
    const result = await run(['apply', '-f', dir])
    expect(result).toMatchObject({ code: 1, stdout: '' })
    expect(result.stderr).toMatch(/b\.yml:7:\d+: .*servise.*did you mean "service"/)
    expect(result.stderr).toMatch(/nothing was changed/)
    expect((await run(['get', 'servicepolicy', 'first'])).code).toBe(1)
  })

  it('only checks in a dry run', async () => {
    const result = await run(['apply', '-f', '-', '--dry-run'], policy('dry'))
    expect(result).toMatchObject({ code: 0, stdout: 'ServicePolicy default/dry created (dry run)\n' })
    expect((await run(['get', 'servicepolicy', 'dry'])).code).toBe(1)
  })

  it('says in one line that a file is missing', async () => {
    const result = await run(['apply', '-f', join(folder, 'nowhere.yaml')])
    expect(result).toMatchObject({ code: 1, stderr: `inmesh: ${join(folder, 'nowhere.yaml')}: no such file\n` })
  })
})

describe('get and delete', () => {
  it('show objects as table, YAML and JSON that can be applied again', async () => {
    await run(['apply', '-f', '-'], policy('shown'))
    expect((await run(['get', 'servicepolicies'])).stdout).toMatch(/^NAMESPACE +NAME .*\n(.*\n)*default +shown /)
    const yaml = (await run(['get', 'servicepolicy', 'shown', '-o', 'yaml'])).stdout
    expect((await run(['apply', '-f', '-'], yaml)).stdout).toBe('ServicePolicy default/shown unchanged\n')
    const json = (await run(['get', 'servicepolicy', 'shown', '-o', 'json'])).stdout
    expect(JSON.parse(json)).toMatchObject({ kind: 'ServicePolicy', metadata: { name: 'shown' } })
    expect((await run(['apply', '-f', '-'], json)).stdout).toBe('ServicePolicy default/shown unchanged\n')
  })

  it('delete by name and by file', async () => {
    await run(['apply', '-f', '-'], `${policy('gone1')}---\n${policy('gone2')}`)
    expect((await run(['delete', 'ServicePolicy', 'gone1'])).stdout).toBe('ServicePolicy default/gone1 deleted\n')
    expect((await run(['delete', '-f', '-'], policy('gone2'))).stdout).toBe('ServicePolicy default/gone2 deleted\n')
    const missing = await run(['delete', 'ServicePolicy', 'gone1'])
    expect(missing).toMatchObject({ code: 1, stderr: 'inmesh: ServicePolicy/default/gone1 does not exist\n' })
  })

  it('know kinds by their names only', async () => {
    expect(await run(['get', 'nonsense'])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^inmesh: unknown kind "nonsense"/),
    })
  })
})

describe('token, status, version', () => {
  it('token create prints the token and nothing else', async () => {
    const result = await run(['token', 'create', '--service', 'payments', '--ttl', '5m'])
    expect(result).toMatchObject({ code: 0, stderr: '' })
    expect(result.stdout).toMatch(/^inmesh1\.[\w-]{43}\.[0-9a-f]{64}\n$/)
  })

  it('status shows revision and clients', async () => {
    expect((await run(['status'])).stdout).toMatch(/^revision \d+, 0 clients\n/)
    expect(JSON.parse((await run(['status', '-o', 'json'])).stdout)).toMatchObject({ clients: [] })
  })

  it('status --wait gives up after its timeout', async () => {
    const result = await run(['status', '--wait', '1', '--timeout', '200ms'])
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('0 of 1 clients') })
  })

  it('version', async () => {
    expect((await inmesh(['version'])).stdout).toMatch(/^inmesh \d+\.\d+\.\d+ \(Node v?\d/)
    expect(await inmesh(['--version'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
  })

  it('is not upset by a reader that has read enough', async () => {
    // 50 KB and more: the pipe is closed long before all of it is written.
    const result = await inmesh(['schema'], { readNothing: true })
    expect(result).toMatchObject({ code: 0, stderr: '' })
  })

  it('help says each default once, in words', async () => {
    const { stdout } = await inmesh(['control-plane', '--help'])
    expect(stdout.match(/\(default:\s+24h\)/g)).toHaveLength(1)
    expect(stdout).not.toContain('86400000')
  })
})

describe('what goes wrong is said in one line', () => {
  const oneLine = (stderr: string) => expect(stderr.trimEnd().split('\n')).toHaveLength(1)

  it('no control plane there', async () => {
    const result = await inmesh(['status'], {
      env: { INMESH_ADMIN_URL: 'http://127.0.0.1:1', INMESH_ADMIN_TOKEN: 'x' },
    })
    expect(result).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no control plane answers at http://127.0.0.1:1'),
    })
    oneLine(result.stderr)
  })

  it('a wrong token', async () => {
    const result = await inmesh(['status'], { env: { ...env, INMESH_ADMIN_TOKEN: 'wrong' } })
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('bearer token') })
    oneLine(result.stderr)
  })

  it.each(['--admin', '--listen', '--insecure-xds'])('a port in use (%s)', async (flag) => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    const free = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--insecure-xds', '127.0.0.1:0']
    const result = await inmesh([
      'control-plane',
      '--data-dir',
      join(folder, 'other'),
      ...free,
      flag,
      `127.0.0.1:${port}`,
    ])
    server.close()
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining(`127.0.0.1:${port} is in use`) })
    oneLine(result.stderr)
  })

  it('a data directory that cannot be made', async () => {
    await writeFile(join(folder, 'file'), '')
    const result = await inmesh(['control-plane', '--data-dir', join(folder, 'file/data')])
    expect(result.code).toBe(1)
    oneLine(result.stderr)
  })

  it('wrong usage has an exit code of its own', async () => {
    expect((await inmesh(['bogus'])).code).toBe(2)
    expect((await inmesh(['apply'])).code).toBe(2)
    expect((await inmesh(['--help'])).code).toBe(0)
  })
})

describe('the control plane as a process', () => {
  it('ends in order on SIGTERM', async () => {
    const other = await controlPlaneProcess(join(folder, 'sigterm'))
    expect(await other.stop('SIGTERM')).toBe(0)
  })

  it('killed with SIGKILL, it comes back with what it had acknowledged, in equal versions', async () => {
    const dataDir = join(folder, 'killed')
    const seen: unknown[] = []
    for (const round of [1, 2]) {
      const process = await controlPlaneProcess(dataDir, ['--insecure-xds', '127.0.0.1:0'])
      const flags = ['--data-dir', dataDir, '--admin-url', process.adminUrl]
      if (round === 1) {
        await inmesh(['apply', '-f', join(fixtures, 'virtualservice-90-10.yaml'), ...flags])
        await expect
          .poll(async () => JSON.parse((await inmesh(['status', '-o', 'json', ...flags])).stdout).revision, {
            timeout: 10_000,
          })
          .toBe(1)
      }
      const { stdout } = await inmesh(['get', 'virtualservices', '-o', 'yaml', ...flags])
      const client = new AdsClient(`127.0.0.1:${process.insecureXdsPort}`)
      const node = { id: 'n', userAgentName: 'inmesh' }
      client.send({ node, typeUrl: TypeUrl.listener, resourceNames: ['payment-service'] })
      const { versionInfo, resources } = await client.response(0)
      expect(resources).toHaveLength(1)
      seen.push({ stdout, versionInfo, bytes: Buffer.from(resources[0]!.value).toString('hex') })
      client.close()
      expect(await process.stop('SIGKILL')).toBeNull()
    }
    expect(seen[1]).toEqual(seen[0])
  })
})
