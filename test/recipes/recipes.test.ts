import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { apply, stepsOf } from './recipe.ts'

const root = join(import.meta.dirname, '../..')
const contributing = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8')
const parts = ['src', 'control-plane', 'proto', 'scripts', 'test', 'docs', 'package.json', 'tsconfig.json']
const configs = ['biome.json', 'vitest.config.ts', '.gitignore']

function copy(): string {
  const folder = mkdtempSync(join(tmpdir(), 'inmesh-recipe-'))
  for (const part of [...parts, ...configs]) cpSync(join(root, part), join(folder, part), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

/** What it says, when it fails; else nothing. */
async function complaints(folder: string, command: string, ...args: string[]): Promise<string> {
  // What the surrounding test run says about itself is not for the one inside.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_ENV|TEST$)/.test(name)))
  try {
    await promisify(execFile)(join(root, 'node_modules/.bin', command), args, { cwd: folder, env })
    return ''
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    return `${command} ${args.join(' ')}\n${stdout}${stderr}`
  }
}

const recipes = ['Add a balancing policy in 5 steps', 'Add an Istio field in 5 steps'].map((heading) => ({
  heading,
  steps: stepsOf(contributing, heading),
}))

describe('the recipes of CONTRIBUTING.md', () => {
  it.each(recipes)('$heading: all but the last step change one file', ({ steps }) => {
    expect(steps.map(({ title }) => title.slice(0, 4))).toEqual(['**1.', '**2.', '**3.', '**4.', '**5.'])
    expect(steps.slice(0, -1).map(({ edits }) => edits.length)).toEqual([1, 1, 1, 1])
  })

  it('hold: types, lint, import rules, reference pages, their own tests and the nearest others', {
    timeout: 180_000,
  }, async () => {
    const folder = copy()
    try {
      const edits = recipes.flatMap(({ steps }) => steps.flatMap((step) => step.edits))
      for (const edit of edits) apply(edit, folder)
      const own = edits.map(({ file }) => file).filter((file) => file.endsWith('.test.ts'))
      expect(own.length).toBeGreaterThanOrEqual(recipes.length)
      expect(await complaints(folder, 'node', 'scripts/emit-reference.ts')).toBe('')
      const nearby = ['src/engine/balance/balancer.test.ts', 'src/xds/resources/cluster.test.ts']
      const all = await Promise.all([
        complaints(folder, 'node', 'scripts/check-imports.ts'),
        complaints(folder, 'biome', 'check', '.'),
        complaints(folder, 'tsc', '--noEmit', '-p', 'tsconfig.json'),
        complaints(folder, 'vitest', 'run', '--project', 'unit', ...own, ...nearby, 'scripts/reference.test.ts'),
      ])
      expect(all.join('')).toBe('')
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
