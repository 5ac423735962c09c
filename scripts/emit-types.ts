/** Emits declarations into dist/types and turns their `.ts` import specifiers into `.js`, as consumers need them. */
import { execFileSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const out = join(root, 'dist/types')
rmSync(out, { recursive: true, force: true })
execFileSync(join(root, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.types.json'], { cwd: root, stdio: 'inherit' })
cpSync(join(root, 'src/gen'), join(out, 'src/gen'), { recursive: true, filter: (f) => !f.endsWith('.js') })
for (const entry of readdirSync(out, { recursive: true, encoding: 'utf8' })) {
  if (!entry.endsWith('.d.ts') || entry.startsWith('src/gen')) continue
  const file = join(out, entry)
  const text = readFileSync(file, 'utf8')
  const fixed = text.replace(/((?:from|import)\s*\(?\s*['"]\.{1,2}\/[^'"]*)\.ts(['"])/g, '$1.js$2')
  if (fixed !== text) writeFileSync(file, fixed)
}
