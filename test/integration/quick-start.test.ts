/**
 * README's quick start, run to the letter by bash in an empty folder; only the package comes from `npm pack` instead of
 * the registry, and the well-known ports and the home directory are replaced so that a running mesh is not touched.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freePorts } from '../support/ports.ts'

const root = join(import.meta.dirname, '../..')
let folder = ''
let tarball = ''

function quickStart(): string {
  const block = /## Quick start[\s\S]*?```sh\n([\s\S]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1]
  if (block === undefined) throw new Error('README.md has no sh block under "## Quick start"')
  return block
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'inmesh-quick-start-'))
  // dist/ is built by `npm test`; packing must not build it again under the feet of the other tests.
  const out = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: root,
    encoding: 'utf8',
  })
  tarball = join(folder, JSON.parse(out)[0].filename)
}, 60_000)

afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

describe('the quick start of README.md', () => {
  it('splits traffic 90/10 between two versions over mTLS', { timeout: 170_000 }, async () => {
    const [tls, admin] = await freePorts(2)
    const app = join(folder, 'app')
    mkdirSync(app)
    writeFileSync(join(app, 'package.json'), '{"name":"quick-start","private":true}\n')
    const script = quickStart()
      .replace('npm i inmesh', `npm i --no-audit --no-fund ${tarball}`)
      .replace('inmesh control-plane &', `inmesh control-plane --listen 127.0.0.1:${tls} --admin 127.0.0.1:${admin} &`)
    const child = spawn('bash', ['-eo', 'pipefail', '-c', script], {
      cwd: app,
      // A group of its own: the services in the background must go when the test ends.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        HOME: folder,
        INMESH_CONTROL_PLANE: `127.0.0.1:${tls}`,
        INMESH_ADMIN_URL: `http://127.0.0.1:${admin}`,
      },
    })
    let output = ''
    let errors = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (errors += chunk))
    try {
      const code = await new Promise<number | null>((resolve, reject) => {
        child.on('error', reject)
        child.on('exit', resolve)
      })
      const seen = /\{ v[12]: (\d+), v[12]: (\d+) \}/.exec(output)
      expect({ code, seen: seen !== null, output, errors }).toMatchObject({ code: 0, seen: true })
      const counts = [Number(seen?.[1]), Number(seen?.[2])].sort((a, b) => a - b)
      expect(counts[0]! + counts[1]!).toBe(1000)
      // Binomial(1000, 0.1): six standard deviations are 57.
      expect(counts[0]).toBeGreaterThan(43)
      expect(counts[0]).toBeLessThan(157)
    } finally {
      if (child.pid !== undefined) killGroup(child.pid)
    }
  })
})

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // Nobody left in the group.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
